"""Contextual attention: the features of a hole are put together from patches of what surrounds it.

Yu et al. 2018, https://arxiv.org/abs/1801.07892. Every step is a convolution, a product of matrices or a sum of
slices, so that the export takes it with free N, H and W.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import autocasts

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
        if autocasts(features):
            with torch.autocast(features.device.type, enabled=False):
                return self.attend(features.float(), mask.float()).to(features.dtype)
        return self.attend(features, mask)

    def attend(self, features: Tensor, mask: Tensor) -> Tensor:
        residual_downscale = nearest_aligned if self.tensorflow else nearest
        small = residual_downscale(features, STRIDE)
        masks = residual_downscale(mask, mask.shape[-1] // small.shape[-1])
        whole = (functional.max_pool2d(masks, PATCH, stride=1, padding=PATCH // 2) == 0).to(features.dtype)

        patches = unfold(small, PATCH, 1).flatten(2)
        norms = patches.square().sum(1, keepdim=True).clamp_min(SMALLEST_NORM**2).sqrt()
        # N × places to take from × places to fill
        scores = torch.bmm((patches / norms).transpose(1, 2), patches)
        pasted = unfold(features, PASTED, STRIDE)
        paste = paste_in_little_memory if torch.compiler.is_exporting() else paste_as_published
        return paste(scores, whole, pasted, fuse=self.fuse) / (PASTED // STRIDE) ** 2


def paste_as_published(scores: Tensor, whole: Tensor, pasted: Tensor, *, fuse: bool) -> Tensor:
    """Mix and put back the patches, in the order in which the published code rounds: its results come out to the bit.

    Args:
        scores: N×L×L, places to take from × places to fill.
        whole: N×1×h×w, 0 where a patch holds something of the hole.
        pasted: N×16C×h×w, the patches to take.
    """
    height, width = whole.shape[-2:]
    if fuse:
        summed = diagonal_sums(by_columns_and_back(diagonal_sums(scores), height, width))
        scores = by_columns_and_back(summed, width, height)
    counts = whole.flatten(2).transpose(1, 2)
    # What is not whole counts in the softmax with a score of 0, and is not taken.
    weights = torch.softmax(scores * counts * SOFTMAX_SCALE, dim=1) * counts
    kernels = pasted.flatten(2).transpose(1, 2).unflatten(2, (-1, PASTED, PASTED))
    return torch.cat(
        [
            functional.conv_transpose2d(weight[None].unflatten(2, (height, width)), kernel, stride=STRIDE, padding=1)
            for weight, kernel in zip(weights, kernels, strict=True)
        ]
    )


def paste_in_little_memory(scores: Tensor, whole: Tensor, pasted: Tensor, *, fuse: bool) -> Tensor:
    """The same for any N in an exported graph, where ONNX Runtime needs half as much memory for it."""
    height, width = whole.shape[-2:]
    scale = SOFTMAX_SCALE
    if fuse:
        scores, whole, pasted = fused(scores, height, width), by_columns(whole), by_columns(pasted)
        scale *= 9  # means of three, twice, stand for sums
    whole = whole.flatten(2)
    scores = scores * (whole.transpose(1, 2) * scale)
    # The softmax written out, for which ONNX Runtime needs half the memory.
    odds = (scores - scores.amax(1, keepdim=True)).exp()
    taken = torch.bmm(pasted.flatten(2) * whole, odds / odds.sum(1, keepdim=True))
    taken = by_columns(taken.unflatten(2, (width, height))) if fuse else taken.unflatten(2, (height, width))
    return fold(taken, PASTED, STRIDE)


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


def diagonal_sums(scores: Tensor) -> Tensor:
    """Every number and its two neighbours on the diagonal, zeros outside; N×L×L → the same."""
    padded = functional.pad(scores, (1, 1, 1, 1))
    return padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]


def by_columns_and_back(scores: Tensor, height: int, width: int) -> Tensor:
    """Both kinds of places, counted along the rows of height × width ones, counted along their columns."""
    places = height * width
    return scores.reshape(-1, height, width, height, width).permute(0, 2, 1, 4, 3).reshape(-1, places, places)


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
