"""Residual generators: they add a residual to their input, and start as the identity."""

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator


class FirstChannels(nn.Module):
    """Select the first channels, N×C×H×W → N×count×H×W."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


def as_residual(generator: Generator, channels: int, *, residual_downscale: int = 1) -> Generator:
    """Turn the generator, in place, into one that adds a residual to its input; return it.

    The final tanh of the head is removed. The output of the head is added to the first `channels` channels of the
    input, and the sum is clipped to [-1, 1] (DeblurGAN, Kupyn et al. 2018, https://arxiv.org/abs/1711.07064). The
    last layer is set to zero, so that the generator starts as the identity.

    residual_downscale: compute the residual on the input averaged over blocks of this many pixels a side.

    Raises ValueError if the head does not end with tanh.
    """
    *parts, tanh = generator.head.children()
    if not isinstance(tanh, nn.Tanh):
        raise ValueError(f"a residual generator needs a head that ends with tanh, got {generator.head}")
    for parameter in parts[-1].parameters():
        nn.init.zeros_(parameter)
    # The extra nesting changes the names of the weights: those of a generator without a residual must not load here.
    generator.head = nn.Sequential(nn.Sequential(*parts))
    generator.shortcut, generator.clips = FirstChannels(channels), True
    generator.residual_downscale = residual_downscale
    generator.size_multiple *= residual_downscale
    generator.minimum_size *= residual_downscale
    generator.receptive_field *= residual_downscale
    return generator


def check_residual(residual_downscale: int, residual: bool) -> None:
    """Check the options --residual and --residual-downscale. Raises UserError if they do not fit together."""
    if residual_downscale < 1:
        raise UserError(f"residual_downscale is {residual_downscale}; it must be 1 or more")
    if residual_downscale > 1 and not residual:
        raise UserError(
            f"residual_downscale is {residual_downscale}: add --residual, "
            "only a residual can be computed at a fraction of the size"
        )
