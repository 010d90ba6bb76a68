"""Small modules and functions that generators and discriminators are built from."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.anti_alias import bilinear_upsample
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d, InstanceNorm2d, ReflectionPad2d, halves

Norm = Literal["batch", "instance", "affine-instance", "none"]
Upsampling = Literal["transposed", "resize", "bilinear"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return a normalisation layer for N×C×H×W features.

    Instance norm keeps no running statistics. It has weights and biases only as "affine-instance".
    """
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return InstanceNorm2d(channels)
        case "affine-instance":
            return InstanceNorm2d(channels, affine=True)
        case "none":
            return nn.Identity()


def needs_bias(norm: Norm) -> bool:
    """Return whether a convolution before this norm needs a bias. Batch norm has its own bias, so it does not."""
    return norm != "batch"


def double_size(upsampling: Upsampling, inputs: int, outputs: int, *, kernel: int, bias: bool) -> nn.Module:
    """Return a module that doubles the size, N×inputs×H×W → N×outputs×2H×2W.

    upsampling: "transposed" is a transposed convolution with kernel size `kernel`. "resize" is nearest-neighbour
        upsampling and a 3×3 convolution, which causes no checkerboard pattern (Odena et al. 2016,
        https://distill.pub/2016/deconv-checkerboard). "bilinear" is bilinear upsampling and a 3×3 convolution (CUT,
        Park et al. 2020, https://arxiv.org/abs/2007.15651).
    """
    if upsampling == "bilinear":
        return nn.Sequential(bilinear_upsample(), Conv2d(inputs, outputs, 3, padding=1, bias=bias))
    if upsampling == "resize":
        conv = Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=bias)
        return nn.Sequential(nn.Upsample(scale_factor=2), conv)
    return ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1, output_padding=kernel % 2, bias=bias)


class ResidualBlock(nn.Module):
    """Residual block x + conv(relu(conv(x))) with reflection padding, N×C×H×W → the same shape.

    Johnson et al. 2016, https://arxiv.org/abs/1603.08155
    """

    def __init__(self, channels: int, *, norm: Norm, dropout: bool = False) -> None:
        super().__init__()
        bias = needs_bias(norm)
        self.layers = nn.Sequential(
            ReflectionPad2d(1),
            Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5) if dropout else nn.Identity(),
            ReflectionPad2d(1),
            Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


class Residual(nn.Module):
    """Residual connection x + gain · layers(x). The layers must keep the shape."""

    def __init__(self, *layers: nn.Module, gain: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.layers(x), alpha=self.gain)


class DenseBlock(nn.Module):
    """Dense block: five 3×3 convolutions, each of which takes all earlier features; N×C×H×W → the same shape.

    ESRGAN, Wang et al. 2018, https://arxiv.org/abs/1809.00219

    growth: number of channels that each of the first four convolutions adds.
    """

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        outputs = (growth, growth, growth, growth, channels)
        self.convs = nn.ModuleList(
            Conv2d(channels + i * growth, width, 3, padding=1) for i, width in enumerate(outputs)
        )
        self.activation = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        *growing, last = self.convs
        features = x
        for conv in growing:
            features = torch.cat([features, self.activation(conv(features))], dim=1)
        return torch.add(x, last(features), alpha=0.2)


def rrdb_block(channels: int, *, growth: int) -> Residual:
    """Return the residual-in-residual dense block of ESRGAN: x + 0.2 · three dense blocks (Wang et al. 2018)."""
    return Residual(*(DenseBlock(channels, growth=growth) for _ in range(3)), gain=0.2)


class GatedConv(nn.Module):
    """Gated convolution, N×inputs×H×W → N×outputs×⌈H/stride⌉×⌈W/stride⌉.

    The output is activation(a) · sigmoid(b), where a and b are the two halves of one convolution's channels.
    Yu et al. 2019, https://arxiv.org/abs/1806.03589

    activation: ELU by default.
    tensorflow: pad with zeros as TensorFlow's SAME does: an odd amount of padding has its extra row below and its
        extra column on the right. H and W must then be multiples of the stride.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: nn.Module | None = None,
        tensorflow: bool = False,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        # TensorFlow pads before the convolution. The same order here gives the same rounding as the original model.
        self.pad = nn.ZeroPad2d(same_padding(kernel, stride, dilation)) if tensorflow else nn.Identity()
        self.conv = Conv2d(
            inputs, 2 * outputs, kernel, stride=stride, padding=0 if tensorflow else padding, dilation=dilation
        )
        self.activation = activation or nn.ELU()

    def forward(self, x: Tensor) -> Tensor:
        features, gates = halves(self.conv(self.pad(x)))
        y: Tensor = self.activation(features) * torch.sigmoid(gates)
        return y


def same_padding(kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """Return TensorFlow's SAME padding as (left, right, top, bottom), for sizes that are multiples of the stride."""
    total = dilation * (kernel - 1) + 1 - stride
    before, after = total // 2, total - total // 2
    return before, after, before, after


def pad_to_multiple(x: Tensor, multiple: int, minimum: int) -> Tensor:
    """Pad N×C×H×W at the bottom and on the right, until H and W are multiples of `multiple` and at least `minimum`.

    The padding reflects the image. An image that is too small for this has its last row and column repeated.
    """
    height, width = x.shape[-2:]
    # An export with free sizes knows the answer to the comparison, but not to that of max().
    rows, columns = (-(-side // multiple) * multiple for side in (height, width))
    below = (rows if rows >= minimum else minimum) - height
    right = (columns if columns >= minimum else minimum) - width
    if not below and not right:
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Upsample bilinearly, N×C×h×w → N×C×(factor·h)×(factor·w), computed in float32 or float64."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return functional.interpolate(precise, scale_factor=float(factor), mode="bilinear", align_corners=False)


def clipped(x: Tensor) -> Tensor:
    """Clip x to [-1, 1]. Outside this range only gradients that move x back into it pass.

    The gradient of `clamp` is 0 outside the range, so that a value that left it would stay there.
    """
    if torch.compiler.is_exporting() or not x.requires_grad:
        return x.clamp(-1, 1)
    y: Tensor = _Clipped.apply(x)  # type: ignore[no-untyped-call]
    return y


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        passes = (x.abs() <= 1) | (gradient * x > 0)
        return gradient * passes


def autocasts(x: Tensor) -> bool:
    """Return whether autocast is enabled on the tensor's device."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def init_weights(module: nn.Module) -> None:
    """Initialise as DCGAN and pix2pix do: convolutions N(0, 0.02), batch-norm weights N(1, 0.02), biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def init_as_pytorch(module: nn.Module) -> None:
    """Give convolutions PyTorch's own initial weights, as networks have that are published without others."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.reset_parameters()


def init_convs(module: nn.Module, gain: float) -> None:
    """Initialise convolutions with He et al. 2015, https://arxiv.org/abs/1502.01852, scaled by `gain`.

    With a small gain each residual block starts close to the identity.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            part.weight.data.mul_(gain)
