"""Contextual attention: compute the features of the masked region from patches of the features around it.

Yu et al. 2018, https://arxiv.org/abs/1801.07892. Every step is a convolution, a matrix product or a sum of slices, so
that the ONNX export works with free N, H and W.

"Position" means a position (row and column) in a feature map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import autocasts

PATCH = 3
"""Side of the patches that are compared, in positions at half the features' resolution."""
PASTED = 4
"""Side of the patches that are pasted, in positions at the features' full resolution."""
STRIDE = 2
"""Distance between neighbouring pasted patches, in positions at full resolution."""
SOFTMAX_SCALE = 10.0
"""Factor on the scores before the softmax."""
SMALLEST_NORM = 1e-4
"""Lower limit of the norm that a patch is divided by."""


class ContextualAttention(nn.Module):
    """Replace every feature by a weighted mean of features outside the mask, N×C×h×w → N×C×h×w.

    Inputs: features N×C×h×w with even h and w, and a mask N×1×H×W (1 = masked), where H and W are multiples of h
    and w. Each sample has its own mask.

    At half the resolution, each 3×3 patch (the target) is compared with every 3×3 patch that contains no masked
    position (the sources). The score of a pair is the dot product of the target and the normalised source. The output
    is the mean of the sources, weighted by the softmax of ten times the scores. It is 0 if everything is masked.

    The scores are a matrix of (h·w/4)² numbers per sample: 64 MiB for features of 128×128.

    Args:
        fuse: add to each score the scores of the neighbouring pairs of patches, so that large regions are copied from
            one place.
        tensorflow: downsample as TensorFlow does with aligned corners, which keeps the outermost positions.
    """

    def __init__(self, *, fuse: bool = True, tensorflow: bool = False) -> None:
        super().__init__()
        self.fuse = fuse
        self.tensorflow = tensorflow

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        # Scores are ten times a sum of products. In bf16 their rounding errors would dominate the softmax.
        if autocasts(features):
            with torch.autocast(features.device.type, enabled=False):
                return self.attend(features.float(), mask.float()).to(features.dtype)
        return self.attend(features, mask)

    def attend(self, features: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, in the precision of the inputs."""
        downsample = nearest_aligned if self.tensorflow else nearest
        small = downsample(features, STRIDE)
        masks = downsample(mask, mask.shape[-1] // small.shape[-1])
        unmasked = (functional.max_pool2d(masks, PATCH, stride=1, padding=PATCH // 2) == 0).to(features.dtype)

        patches = unfold(small, PATCH, 1).flatten(2)
        norms = patches.square().sum(1, keepdim=True).clamp_min(SMALLEST_NORM**2).sqrt()
        # N × source positions × target positions
        scores = torch.bmm((patches / norms).transpose(1, 2), patches)
        pasted = unfold(features, PASTED, STRIDE)
        paste = paste_for_export if torch.compiler.is_exporting() else paste_as_paper
        return paste(scores, unmasked, pasted, fuse=self.fuse) / (PASTED // STRIDE) ** 2


def paste_as_paper(scores: Tensor, unmasked: Tensor, pasted: Tensor, *, fuse: bool) -> Tensor:
    """Mix the patches and paste them at their target positions, N×C×(2h)×(2w).

    The order of operations is that of the authors' code, so that the result equals theirs bit by bit.

    Args:
        scores: N×L×L with L = h·w, source positions × target positions.
        unmasked: N×1×h×w, 0 if a patch contains a masked position, else 1.
        pasted: N×16C×h×w, the patches to paste.
        fuse: see `ContextualAttention`.
    """
    height, width = unmasked.shape[-2:]
    if fuse:
        summed = diagonal_sums(by_columns_and_back(diagonal_sums(scores), height, width))
        scores = by_columns_and_back(summed, width, height)
    usable = unmasked.flatten(2).transpose(1, 2)
    # Patches with masked positions take part in the softmax with a score of 0, but are not pasted.
    weights = torch.softmax(scores * usable * SOFTMAX_SCALE, dim=1) * usable
    kernels = pasted.flatten(2).transpose(1, 2).unflatten(2, (-1, PASTED, PASTED))
    return torch.cat(
        [
            functional.conv_transpose2d(weight[None].unflatten(2, (height, width)), kernel, stride=STRIDE, padding=1)
            for weight, kernel in zip(weights, kernels, strict=True)
        ]
    )


def paste_for_export(scores: Tensor, unmasked: Tensor, pasted: Tensor, *, fuse: bool) -> Tensor:
    """As `paste_as_paper`, for an exported graph: it works for any N, and ONNX Runtime needs half the memory."""
    height, width = unmasked.shape[-2:]
    scale = SOFTMAX_SCALE
    if fuse:
        scores, unmasked, pasted = fused(scores, height, width), by_columns(unmasked), by_columns(pasted)
        scale *= 9  # `fused` takes means of three scores, twice, instead of sums
    unmasked = unmasked.flatten(2)
    scores = scores * (unmasked.transpose(1, 2) * scale)
    # The softmax in single steps: ONNX Runtime needs half the memory for these.
    odds = (scores - scores.amax(1, keepdim=True)).exp()
    mixed = torch.bmm(pasted.flatten(2) * unmasked, odds / odds.sum(1, keepdim=True))
    mixed = by_columns(mixed.unflatten(2, (width, height))) if fuse else mixed.unflatten(2, (height, width))
    return fold(mixed, PASTED, STRIDE)


def nearest(x: Tensor, factor: int) -> Tensor:
    """Keep the first position of each factor×factor block, N×C×H×W → N×C×(H/factor)×(W/factor)."""
    return x[..., ::factor, ::factor]


def nearest_aligned(x: Tensor, factor: int) -> Tensor:
    """Downsample as `nearest`, but keep the outermost positions and space the others evenly between them."""
    rows, columns = (aligned_positions(size, factor, x.device) for size in x.shape[-2:])
    return x.index_select(2, rows).index_select(3, columns)


def aligned_positions(size: int, factor: int, device: torch.device) -> Tensor:
    """Return i · (size - 1) / (size / factor - 1) for i = 0, 1, …, rounded to the nearest integer, halves up.

    It is computed with integers only, so that it is exact.
    """
    steps = size // factor - 1
    indices = torch.arange(size // factor, device=device)
    nearest: Tensor = (2 * (size - 1) * indices + steps) // max(2 * steps, 1)
    return nearest


def by_columns(x: Tensor) -> Tensor:
    """Transpose N×C×H×W → N×C×W×H. When flattened, the positions are then in column-major order."""
    return x.transpose(2, 3)


def fused(scores: Tensor, height: int, width: int) -> Tensor:
    """Average each score with the scores of neighbouring pairs of positions, N×(h·w)×(h·w) → the same shape.

    In a neighbouring pair the source and the target position are both moved by one in the same direction: first along
    the rows, then along the columns. The result is in column-major order.
    """
    positions = height * width
    means = diagonal_means(scores).reshape(-1, height, width, height, width)
    return diagonal_means(means.permute(0, 2, 1, 4, 3).reshape(-1, positions, positions))


def diagonal_sums(scores: Tensor) -> Tensor:
    """Add to every number its two neighbours on the diagonal, zeros outside; N×L×L → N×L×L."""
    padded = functional.pad(scores, (1, 1, 1, 1))
    return padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]


def by_columns_and_back(scores: Tensor, height: int, width: int) -> Tensor:
    """Reorder source and target positions from row-major to column-major order, N×L×L with L = height·width.

    With height and width exchanged it does the inverse.
    """
    positions = height * width
    return scores.reshape(-1, height, width, height, width).permute(0, 2, 1, 4, 3).reshape(-1, positions, positions)


def diagonal_means(scores: Tensor) -> Tensor:
    """Average every number with its two neighbours on the diagonal, zeros outside; N×L×L → N×L×L.

    A convolution with the 3×3 identity, divided by 3, gives the same, but needs 16 times the memory in ONNX Runtime.
    """
    positions = scores.shape[1]
    padded = functional.pad(scores, (0, 1, 0, 2))
    # Reshaped with one column more, the next number of a diagonal lies one row below in the same column.
    table = padded.reshape(-1, 1, positions + 1, positions + 2)
    means = functional.avg_pool2d(table, (3, 1), stride=1, padding=(1, 0))
    return means.reshape(-1, positions + 2, positions + 1)[:, :positions, :positions]


def unfold(x: Tensor, size: int, stride: int) -> Tensor:
    """Extract patches as channels, N×C×H×W → N×(C·size²)×(H/stride)×(W/stride), with zeros outside the image."""
    return functional.conv2d(
        x, one_hot(x, x.shape[1], size), stride=stride, padding=(size - 1) // 2, groups=x.shape[1]
    )


def fold(patches: Tensor, size: int, stride: int) -> Tensor:
    """Put patches back at their positions and add them where they overlap: the transpose of `unfold`."""
    channels = patches.shape[1] // size**2
    return functional.conv_transpose2d(
        patches, one_hot(patches, channels, size), stride=stride, padding=(size - 1) // 2, groups=channels
    )


def one_hot(like: Tensor, channels: int, size: int) -> Tensor:
    """Return kernels that each select one position of a patch, (C·size²)×1×size×size."""
    kernels = torch.eye(size**2, dtype=like.dtype, device=like.device).reshape(size**2, 1, size, size)
    return kernels.repeat(channels, 1, 1, 1)
