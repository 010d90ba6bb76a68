"""Generators that add a residual to their input, and begin as the identity."""

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator


class Leading(nn.Module):
    """The first channels: N×C×H×W → N×count×H×W."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


def as_residual(generator: Generator, channels: int, *, residual_downscale: int = 1) -> Generator:
    """The generator as one that changes an image, beginning with no change at all.

    What its head makes, without tanh, is added to the first channels of the input, and the sum is clipped to [-1, 1]
    (DeblurGAN, Kupyn et al. 2018, https://arxiv.org/abs/1711.07064). The last layer begins at zero.

    reduce: the change is worked out on means over blocks of so many pixels a side.

    Raises ValueError where the head does not end with tanh.
    """
    *parts, tanh = generator.head.children()
    if not isinstance(tanh, nn.Tanh):
        raise ValueError(f"a generator that becomes a change has a head that ends with tanh, got {generator.head}")
    for parameter in parts[-1].parameters():
        nn.init.zeros_(parameter)
    # One level deeper: by its names, the head of a generator that makes whole images must not fit this one.
    generator.head = nn.Sequential(nn.Sequential(*parts))
    generator.shortcut, generator.clips = Leading(channels), True
    generator.residual_downscale = residual_downscale
    generator.size_multiple *= residual_downscale
    generator.minimum_size *= residual_downscale
    generator.receptive_field *= residual_downscale
    return generator


def check_residual(residual_downscale: int, residual: bool) -> None:
    """Raises UserError for options that do not go together."""
    if residual_downscale < 1:
        raise UserError(f"residual_downscale is {residual_downscale}; it must be 1 or more")
    if residual_downscale > 1 and not residual:
        raise UserError(
            f"residual_downscale is {residual_downscale}: add --residual, "
            "only a residual can be computed at a fraction of the size"
        )
