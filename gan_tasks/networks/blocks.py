"""Small parts that the generators and discriminators are made of."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Literal["batch", "instance", "affine-instance", "none"]
Upsampling = Literal["transposed", "resize"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Normalisation of N×C×H×W features; instance norm has no running statistics, and weights only where affine."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.InstanceNorm2d(channels)
        case "affine-instance":
            return nn.InstanceNorm2d(channels, affine=True)
        case "none":
            return nn.Identity()


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution in front of the norm has a bias: batch norm's own shift makes it redundant."""
    return norm != "batch"


def double_size(upsampling: Upsampling, inputs: int, outputs: int, *, kernel: int, bias: bool) -> nn.Module:
    """N×inputs×H×W → N×outputs×2H×2W, by a transposed convolution of this kernel, or by repeating each feature and a
    3×3 convolution, which cannot leave a checkerboard (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard).
    """
    if upsampling == "resize":
        conv = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=bias)
        return nn.Sequential(nn.Upsample(scale_factor=2), conv)
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=1, output_padding=kernel % 2, bias=bias)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), N×C×H×W → the same shape, reflection-padded (Johnson et al. 2016)."""

    def __init__(self, channels: int, *, norm: Norm, dropout: bool = False) -> None:
        super().__init__()
        bias = needs_bias(norm)
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5) if dropout else nn.Identity(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            norm_layer(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y


class Residual(nn.Module):
    """x + gain · layers(x); the layers keep the shape."""

    def __init__(self, *layers: nn.Module, gain: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.layers(x), alpha=self.gain)


class DenseBlock(nn.Module):
    """Five 3×3 convolutions, each seeing all before it; N×C×H×W → the same shape (ESRGAN, Wang et al. 2018).

    growth: channels that each of the first four adds to what the next ones see.
    """

    def __init__(self, channels: int, *, growth: int) -> None:
        super().__init__()
        outputs = (growth, growth, growth, growth, channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels + i * growth, width, 3, padding=1) for i, width in enumerate(outputs)
        )
        self.activation = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        *growing, last = self.convs
        seen = x
        for conv in growing:
            seen = torch.cat([seen, self.activation(conv(seen))], dim=1)
        return torch.add(x, last(seen), alpha=0.2)


def rrdb_block(channels: int, *, growth: int) -> Residual:
    """Residual in residual: three dense blocks, their sum scaled by 0.2 (Wang et al. 2018)."""
    return Residual(*(DenseBlock(channels, growth=growth) for _ in range(3)), gain=0.2)


class GatedConv(nn.Module):
    """activation(a) · sigmoid(b), a and b the halves of one convolution's channels (Yu et al. 2019,
    https://arxiv.org/abs/1806.03589); N×inputs×H×W → N×outputs×⌈H/stride⌉×⌈W/stride⌉.

    activation: ELU if not given.
    tensorflow: pad with zeros as TensorFlow's SAME does: where it cannot be even, one more below and to the right,
        for sizes that divide by the stride.
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
        # TensorFlow pads first, and the same here keeps even the rounding of its weights' original.
        self.pad = nn.ZeroPad2d(same_padding(kernel, stride, dilation)) if tensorflow else nn.Identity()
        self.conv = nn.Conv2d(
            inputs, 2 * outputs, kernel, stride=stride, padding=0 if tensorflow else padding, dilation=dilation
        )
        self.activation = activation or nn.ELU()

    def forward(self, x: Tensor) -> Tensor:
        features, gates = self.conv(self.pad(x)).chunk(2, dim=1)
        y: Tensor = self.activation(features) * torch.sigmoid(gates)
        return y


def same_padding(kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """Left, right, above and below, as TensorFlow's SAME pads sizes that divide by the stride."""
    total = dilation * (kernel - 1) + 1 - stride
    before, after = total // 2, total - total // 2
    return before, after, before, after


def pad_to_multiple(x: Tensor, multiple: int, minimum: int) -> Tensor:
    """Pad N×C×H×W below and to the right until both sides are ≥ minimum and divide by the multiple.

    The padding mirrors the image where it is large enough for that, and repeats its edge where not.
    """
    height, width = x.shape[-2:]
    below = max(minimum, -(-height // multiple) * multiple) - height
    right = max(minimum, -(-width // multiple) * multiple) - width
    if not below and not right:
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return functional.pad(x, (0, right, 0, below), mode=mode)


def enlarged(x: Tensor, factor: int) -> Tensor:
    """N×C×h×w → N×C×(factor·h)×(factor·w), bilinear, in float32 or float64."""
    precise = x.to(torch.promote_types(x.dtype, torch.float32))
    return functional.interpolate(precise, scale_factor=float(factor), mode="bilinear", align_corners=False)


def clipped(x: Tensor) -> Tensor:
    """x held within [-1, 1]; where it lies outside, gradients that lead back pass, or it would never come back."""
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
        leads_back = (x.abs() <= 1) | (gradient * x > 0)
        return gradient * leads_back


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on where the tensor is."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def init_weights(module: nn.Module) -> None:
    """The initialisation of DCGAN and pix2pix: convolutions N(0, 0.02), batch-norm gains N(1, 0.02), biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0.0, 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def init_convs(module: nn.Module, gain: float) -> None:
    """Normal weights of He et al. 2015 times the gain; with a small one a sum of residuals begins as its input."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            part.weight.data.mul_(gain)
