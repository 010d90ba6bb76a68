"""Convolution, normalisation and padding: PyTorch's layers, computed in the form that is fastest on a CPU.

Names, weights and results are those of PyTorch, up to rounding. GPUs, exported and compiled networks compute them in
PyTorch's own form. `benchmarks/train_step.py` measures what this saves.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_POSITIONS = 128
"""Largest number of positions, N·H·W, for which a convolution is computed as a product of matrices."""
FEWEST_WEIGHTS = 2**20
"""Smallest number of weights for this. Of fewer weights PyTorch's convolution is as fast."""


class Conv2d(nn.Conv2d):
    """Convolution, N×C_in×H×W → N×C_out×h×w.

    With many weights and few positions, as in the middle of a U-Net, its time is that of reading the weights.
    PyTorch's convolution on a CPU reorders them first, in the forward and the backward pass. As one product of
    matrices it takes a quarter of the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        if has_own_form(x) and has_many_weights(self) and self._is_plain():
            padding, stride, kernel = self.padding[0], self.stride[0], self.kernel_size[0]
            assert isinstance(padding, int)
            height, width = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[-2:])
            if 0 < len(x) * height * width <= MOST_POSITIONS:
                return self._as_product(functional.pad(x, (padding,) * 4), kernel, stride)
        y: Tensor = super().forward(x)
        return y

    def _is_plain(self) -> bool:
        square = all(len(set(pair)) == 1 for pair in (self.kernel_size, self.stride, self.padding))
        unusual = self.groups > 1 or self.dilation != (1, 1) or self.padding_mode != "zeros"
        return square and not unusual and not isinstance(self.padding, str)

    def _as_product(self, x: Tensor, kernel: int, stride: int) -> Tensor:
        weight = self.weight  # read once: spectral norm computes it anew each time
        patches = x.unfold(2, kernel, stride).unfold(3, kernel, stride)  # N×C×h×w×k×k
        n, _, height, width = patches.shape[:4]
        order = memory_order(weight)
        rows = patches.permute(0, 2, 3, *({1: 1, 2: 4, 3: 5}[axis] for axis in order)).reshape(n * height * width, -1)
        y = product(functional.linear, rows, weight.permute(0, *order).reshape(self.out_channels, -1))
        y = y.view(n, height, width, -1).permute(0, 3, 1, 2)
        return y if self.bias is None else y + self.bias.to(y.dtype).view(-1, 1, 1)


class ConvTranspose2d(nn.ConvTranspose2d):
    """Transposed convolution, N×C_in×H×W → N×C_out×h×w. See `Conv2d` for its form on a CPU."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if has_own_form(x) and has_many_weights(self) and self._is_plain() and output_size is None:
            positions = len(x) * x.shape[-2] * x.shape[-1]
            if 0 < positions <= MOST_POSITIONS:
                return self._as_product(x)
        y: Tensor = super().forward(x, output_size)
        return y

    def _is_plain(self) -> bool:
        return self.groups == 1 and self.dilation == (1, 1) and not isinstance(self.padding, str)

    def _as_product(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        weight = self.weight
        order = memory_order(weight)
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        y = product(torch.matmul, rows, weight.permute(0, *order).reshape(channels, -1))
        patches = y.view(n, height * width, *(weight.shape[axis] for axis in order))
        back = [order.index(axis) + 2 for axis in (1, 2, 3)]
        columns = patches.permute(0, *back, 1).reshape(n, -1, height * width)
        assert not isinstance(self.padding, str)
        size = tuple(
            (length - 1) * stride - 2 * padding + kernel + extra
            for length, stride, padding, kernel, extra in zip(
                x.shape[-2:], self.stride, self.padding, self.kernel_size, self.output_padding, strict=True
            )
        )
        precise = at_least_float32(columns)
        image = functional.fold(precise, size, self.kernel_size, padding=self.padding, stride=self.stride)
        image = image.to(columns.dtype)
        return image if self.bias is None else image + self.bias.to(image.dtype).view(-1, 1, 1)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance norm without running statistics, N×C×H×W → the same shape and memory layout.

    PyTorch's changes a channels-last input to NCHW, so that all convolutions beside it have to reorder their
    features. Its forward pass in NCHW takes four times as long as that of the equivalent group norm. On a CPU its
    gradient for a single image is wrong if the gradient of the result is channels-last (PyTorch 2.13).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not has_own_form(x) or x.dim() != 4 or x.shape[-2:].numel() == 1 or not len(x):
            y: Tensor = super().forward(x)
            return y
        if x.requires_grad and is_channels_last(x):
            # The gradient of group norm is very slow in channels-last, that of batch norm is quick.
            return batch_norm_of_each(x, self.weight, self.bias, self.eps)
        return functional.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)


class PReLU(nn.PReLU):
    """Parametric ReLU. PyTorch's gradient on a CPU takes five times as long as this one, which can use vectors.

    It is exported as two ReLUs: ONNX Runtime's PRelu on a CPU takes twice as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return functional.relu(x) - self.weight.view(-1, 1, 1) * functional.relu(-x)
        if not has_own_form(x) or x.dim() != 4 or not x.requires_grad:
            return super().forward(x)
        y: Tensor = _PReLU.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return y


class ReflectionPad2d(nn.ReflectionPad2d):
    """Reflection padding in the precision of its input. Autocast on CPUs would convert it to float32 and back."""

    def forward(self, x: Tensor) -> Tensor:
        if has_own_form(x) and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x)
        return super().forward(x)


def has_own_form(x: Tensor) -> bool:
    """Return whether the layers here compute x in their own form."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def has_many_weights(conv: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    return conv.in_channels * conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1] >= FEWEST_WEIGHTS


def is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split N×2C×H×W into the first and the last C channels.

    In channels-last they are copied on a CPU: activations of every other row of C values take ten times as long.
    """
    first, last = x.chunk(2, dim=1)
    if not has_own_form(x) or not is_channels_last(x):
        return first, last
    return tuple(half.contiguous(memory_format=torch.channels_last) for half in (first, last))  # type: ignore[return-value]


def memory_order(weight: Tensor) -> tuple[int, int, int]:
    """Return the axes 1 to 3 of a weight in the order of its memory, so that a matrix of it needs no copy."""
    return (2, 3, 1) if is_channels_last(weight) else (1, 2, 3)


def product(multiply: Callable[[Tensor, Tensor], Tensor], rows: Tensor, matrix: Tensor) -> Tensor:
    """Multiply rows by a matrix. A single row is multiplied in float32 despite autocast.

    To convert the matrix would take longer than the product.
    """
    if len(rows) > 1 or not torch.is_autocast_enabled("cpu"):
        return multiply(rows, matrix)
    with torch.autocast("cpu", enabled=False):
        return multiply(rows.to(matrix.dtype), matrix).to(torch.get_autocast_dtype("cpu"))


def batch_norm_of_each(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """Normalise each image of N×C×H×W with the mean and variance of its channels."""
    if len(x) == 1:
        return functional.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    y: Tensor = _BatchNormOfEach.apply(x, weight, bias, eps)  # type: ignore[no-untyped-call]
    return y


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.prelu(x, weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        above = torch.ops.aten.threshold_backward(gradient, x, 0)
        below = gradient - above  # the gradient where x is negative, else 0
        of_x = torch.addcmul(above, below, weight.to(x.dtype).view(1, -1, 1, 1))
        at_negative = (x * below).sum((0, 2, 3)).to(weight.dtype)
        return of_x, at_negative.sum().view(1) if weight.numel() == 1 else at_negative


class _BatchNormOfEach(torch.autograd.Function):
    """Batch norm image by image. Autograd's gradient of slices would write zeros over the whole batch for each."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        images = x.split(1)
        results = [torch.native_batch_norm(image, weight, bias, None, None, True, 0.0, eps) for image in images]
        ctx.save_for_backward(x, weight, *(torch.stack(each) for each in zip(*(r[1:] for r in results), strict=True)))
        ctx.eps = eps
        return torch.cat([result[0] for result in results])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        x, weight, means, scales = ctx.saved_tensors
        needed = [True, weight is not None, weight is not None]
        parts = [
            torch.ops.aten.native_batch_norm_backward(*each, weight, None, None, mean, scale, True, ctx.eps, needed)
            for *each, mean, scale in zip(gradient.split(1), x.split(1), means, scales, strict=True)
        ]
        of_x, of_weight, of_bias = zip(*parts, strict=True)
        if weight is None:
            return torch.cat(of_x), None, None, None
        return torch.cat(of_x), torch.stack(of_weight).sum(0), torch.stack(of_bias).sum(0), None


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32, and leave float64 as it is.

    Training in float64 shows whether a difference between two trainings is due to rounding or to a mistake.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
