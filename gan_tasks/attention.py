"""Contextual attention: the features of a hole are put together from patches of what surrounds it.

Yu et al. 2018, https://arxiv.org/abs/1801.07892. Every step is a convolution, a product of matrices or a sum of
slices, so that the export takes it with free N, H and W.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 3
"""Places along a side of the patches that are compared, at half the features' resolution;"""
PASTED = 4
"""of those that are pasted, at their full resolution and STRIDE places apart."""
STRIDE = 2
SOFTMAX_SCALE = 10.0
SMALLEST_NORM = 1e-4
"""What a patch is divided by at least."""


class ContextualAttention(nn.Module):
    """N×C×h×w features, N×1×H×W mask (1 = hole) → N×C×h×w features; h and w are even, H and W multiples of them.

    At half the resolution each patch of 3×3 places is compared with all that hold nothing of the hole, by the cosine
    of the angle between them times its own length. The answer is their mean, weighted by the softmax of ten times
    that. Where all is hole it is 0. Each sample has its own mask.

    The comparisons are a matrix of (h·w/4)² numbers for each sample: 64 MiB for features of 128×128.

    Args:
        fuse: add up the comparisons of neighbouring patches with their neighbours, so that large regions are taken
            from one place.
        tensorflow: halve as TensorFlow does with aligned corners: the outermost places stay.
    """

    def __init__(self, *, fuse: bool = True, tensorflow: bool = False) -> None:
        super().__init__()
        self.fuse = fuse
        self.tensorflow = tensorflow

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        # Ten times a sum of products: in bf16 the softmax would be of rounding errors.
        if features.dtype == torch.float32:
            return self.attend(features, mask)
        with torch.autocast(features.device.type, enabled=False):
            return self.attend(features.float(), mask.float()).to(features.dtype)

    def attend(self, features: Tensor, mask: Tensor) -> Tensor:
        reduce = nearest_aligned if self.tensorflow else nearest
        small = reduce(features, STRIDE)
        height, width = small.shape[-2:]
        holes = reduce(mask, mask.shape[-1] // width)
        whole = (functional.max_pool2d(holes, PATCH, stride=1, padding=PATCH // 2) == 0).to(features.dtype)

        patches = unfold(small, PATCH, 1).flatten(2)
        norms = patches.square().sum(1, keepdim=True).clamp_min(SMALLEST_NORM**2).sqrt()
        # N × places to take from × places to fill
        scores = torch.bmm((patches / norms).transpose(1, 2), patches)
        pasted = unfold(features, PASTED, STRIDE)
        scale = SOFTMAX_SCALE
        if self.fuse:
            scores, whole, pasted = fused(scores, height, width), by_columns(whole), by_columns(pasted)
            scale *= 9  # means of three, twice, stand for sums
        whole = whole.flatten(2)
        # As published, what is not whole counts in the softmax with a score of 0, and is not taken.
        scores = scores * (whole.transpose(1, 2) * scale)
        # The softmax written out, for which ONNX Runtime needs half the memory.
        odds = (scores - scores.amax(1, keepdim=True)).exp()
        taken = torch.bmm(pasted.flatten(2) * whole, odds / odds.sum(1, keepdim=True))
        taken = by_columns(taken.unflatten(2, (width, height))) if self.fuse else taken.unflatten(2, (height, width))
        return fold(taken, PASTED, STRIDE) / (PASTED // STRIDE) ** 2


def nearest(x: Tensor, factor: int) -> Tensor:
    """The first of each factor × factor places, N×C×H×W → N×C×(H/factor)×(W/factor)."""
    return x[..., ::factor, ::factor]


def nearest_aligned(x: Tensor, factor: int) -> Tensor:
    """The same with the outermost places among them, and the others as far apart as rounding to a place allows."""
    rows, columns = (aligned_places(size, factor, x.device) for size in x.shape[-2:])
    return x.index_select(2, rows).index_select(3, columns)


def aligned_places(size: int, factor: int, device: torch.device) -> Tensor:
    """i · (size - 1) / (size / factor - 1) to the nearest whole number, halves up, in whole numbers throughout."""
    steps = size // factor - 1
    places = torch.arange(size // factor, device=device)
    nearest: Tensor = (2 * (size - 1) * places + steps) // max(2 * steps, 1)
    return nearest


def by_columns(x: Tensor) -> Tensor:
    """N×C×H×W → N×C×W×H: flat, the places are then counted along the columns."""
    return x.transpose(2, 3)


def fused(scores: Tensor, height: int, width: int) -> Tensor:
    """Each score with those of the next and the last place, to be filled and taken from alike: counted along the rows
    of the image, then of the result along its columns. N×(h·w)×(h·w) → means, of the same shape, by columns."""
    places = height * width
    means = diagonal_means(scores).reshape(-1, height, width, height, width)
    return diagonal_means(means.permute(0, 2, 1, 4, 3).reshape(-1, places, places))


def diagonal_means(scores: Tensor) -> Tensor:
    """Of every number and its two neighbours on the diagonal, zeros outside; N×L×L → the same.

    A third of the convolution with an identity of 3×3, for which ONNX Runtime would take 16 times the memory.
    """
    places = scores.shape[1]
    padded = functional.pad(scores, (0, 1, 0, 2))
    # In a table that is one column wider, the next number of a diagonal is the one below.
    table = padded.reshape(-1, 1, places + 1, places + 2)
    means = functional.avg_pool2d(table, (3, 1), stride=1, padding=(1, 0))
    return means.reshape(-1, places + 2, places + 1)[:, :places, :places]


def unfold(x: Tensor, size: int, stride: int) -> Tensor:
    """Patches as channels: N×C×H×W → N×(C·size²)×(H/stride)×(W/stride), zeros outside the image."""
    return functional.conv2d(
        x, one_hot(x, x.shape[1], size), stride=stride, padding=(size - 1) // 2, groups=x.shape[1]
    )


def fold(patches: Tensor, size: int, stride: int) -> Tensor:
    """Patches back in their places and added up where they overlap; the transpose of `unfold`."""
    channels = patches.shape[1] // size**2
    return functional.conv_transpose2d(
        patches, one_hot(patches, channels, size), stride=stride, padding=(size - 1) // 2, groups=channels
    )


def one_hot(like: Tensor, channels: int, size: int) -> Tensor:
    """Kernels that pick one place each, (C·size²)×1×size×size."""
    kernels = torch.eye(size**2, dtype=like.dtype, device=like.device).reshape(size**2, 1, size, size)
    return kernels.repeat(channels, 1, 1, 1)
