"""How good a model's answers are: measures of images, of their variety, and the trivial answers to beat.

`l1`, `psnr` and `ssim` compare two float tensors N×C×H×W in [-1, 1] and give one float32 value an image. They
are computed in full precision, with or without autocast around them. Shapes that differ raise ValueError.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_tasks.datasets.pixels import fit_channels, to_float

Image: TypeAlias = NDArray[Any]
FloatImage: TypeAlias = NDArray[np.float32]

SSIM_WINDOW_PX = 11


@torch.no_grad()
def l1(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pixel values in [0, 1]: half of what it is on [-1, 1]. N values."""
    image, target = _comparable(image, target)
    return (image - target).abs().flatten(1).mean(dim=1) / 2


@torch.no_grad()
def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the whole range of 2, as 255 is on 8 bits; equal images give inf.

    N values: an average over them is the mean of the images' PSNRs, not the PSNR of their pooled error.
    """
    image, target = _comparable(image, target)
    squared_error = (image - target).square().flatten(1).mean(dim=1)
    return 10 * torch.log10(2**2 / squared_error)


@torch.no_grad()
def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, 1 for equal images: an 11×11 Gaussian window of σ 1.5 px wherever it fits whole.

    N values, the mean over windows and channels; nan where an image is smaller than one window.
    Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    from kornia.metrics import ssim as ssim_map

    image, target = _comparable(image, target)
    if min(image.shape[-2:]) < SSIM_WINDOW_PX:
        return torch.full((len(image),), torch.nan, device=image.device)
    if image.is_cuda:  # TF32 convolutions lose the variances; float64 is out of their reach
        image, target = image.double(), target.double()
    with torch.autocast(image.device.type, enabled=False):
        windows = ssim_map((image + 1) / 2, (target + 1) / 2, SSIM_WINDOW_PX, padding="valid")
    return windows.flatten(1).mean(dim=1).float()


def _comparable(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.shape != target.shape:  # broadcasting would hide it
        raise ValueError(f"cannot measure {tuple(image.shape)} against {tuple(target.shape)}: shapes must agree")
    return image.float(), target.float()


@torch.no_grad()
def diversity(outputs: Tensor, references: Tensor) -> float:
    """Mean L1 between any two outputs, over that between any two references, both N×C×H×W.

    1 = as varied as the references; near 0 the model answers everything alike (mode collapse). With fewer
    than two images it is nan.
    """
    return float(_mean_pairwise_l1(outputs) / _mean_pairwise_l1(references))


def _mean_pairwise_l1(images: Tensor) -> Tensor:
    pixels = images.float().flatten(1)
    return torch.pdist(pixels, p=1).mean() / pixels.shape[1]


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.floating[Any]],
    *,
    seed: int = 0,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval, low and high, of the mean of `values` (Efron 1979).

    The same seed gives the same interval. Raises ValueError where there are no values.
    """
    if len(values) == 0:
        raise ValueError("an interval of no values: measure at least one image first")
    measured, rng = np.asarray(values, np.float64), np.random.default_rng(seed)
    means = [rng.choice(measured, len(measured)).mean() for _ in range(samples)]
    # An order statistic, not an interpolation between two: a PSNR of inf must not become nan.
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


@dataclass(frozen=True)
class TrivialAnswers:
    """Answers that need no network: a model of paired images has to do better than all three.

    Each method takes one source, in either form that `trivial_answers` takes, and gives float32 C×H×W
    in [-1, 1].
    """

    mean_colour: NDArray[np.float64]
    """Over all pixels of the training targets, C."""
    mean_image: NDArray[np.float64] | None
    """Pixel by pixel over the training targets, C×H×W; None where their sizes differ."""
    affine_map: NDArray[np.float64]
    """A source pixel's channels and a constant 1 → the target's channels, (source channels + 1)×C."""

    def identity(self, source: Image) -> FloatImage:
        """The source itself, in the target's number of channels. Raises UserError where it cannot be."""
        pixels = fit_channels(np.moveaxis(_as_float(source), 0, -1), len(self.mean_colour))
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))

    def mean(self, source: Image) -> FloatImage:
        """The mean training target, or the mean colour everywhere where the source is of another size."""
        size = _as_float(source).shape[1:]
        if self.mean_image is not None and self.mean_image.shape[1:] == size:
            return self.mean_image.astype(np.float32)
        colour = self.mean_colour.astype(np.float32)[:, None, None]
        return np.tile(colour, (1, *size))

    def affine(self, source: Image) -> FloatImage:
        """Each pixel through the affine map of colours of least squared error on the training pairs."""
        image = _as_float(source)
        answer = _pixels_and_one(image) @ self.affine_map
        return np.clip(answer.T.reshape(-1, *image.shape[1:]), -1, 1).astype(np.float32)


def trivial_answers(train_sources: Iterable[Image], train_targets: Iterable[Image]) -> TrivialAnswers:
    """Fit the trivial answers to training pairs, in one pass and without holding the images.

    An image is either as in its file, uint8 or uint16 H×W×C, or as inside the project, float C×H×W
    in [-1, 1]. Raises ValueError where there are no pairs, or the two of a pair differ in size.
    """
    grams, crosses = [], []  # of the normal equations: XᵀX and XᵀY, a pixel a row
    target_sum: NDArray[np.float64] = np.zeros(())
    target_shapes = set()
    for source, target in zip(map(_as_float, train_sources), map(_as_float, train_targets), strict=True):
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(f"a source of {source.shape[1:]} px has a target of {target.shape[1:]} px")
        x, y = _pixels_and_one(source), target.reshape(len(target), -1).T
        grams.append(x.T @ x)
        crosses.append(x.T @ y)
        target_shapes.add(target.shape)
        if len(target_shapes) == 1:
            target_sum = target_sum + target
    if not grams:
        raise ValueError("no training pairs to fit the trivial answers to")
    gram, cross = np.sum(grams, axis=0), np.sum(crosses, axis=0)
    channel_sums, pixel_count = cross[-1], gram[-1, -1]  # the products with the constant 1
    return TrivialAnswers(
        mean_colour=channel_sums / pixel_count,
        mean_image=target_sum / len(grams) if len(target_shapes) == 1 else None,
        affine_map=np.linalg.lstsq(gram, cross)[0],
    )


def _as_float(image: Image) -> FloatImage:
    return image.astype(np.float32) if np.issubdtype(image.dtype, np.floating) else to_float(image)


def _pixels_and_one(image: FloatImage) -> NDArray[np.float64]:
    """C×H×W → (H·W)×(C + 1), the last column 1."""
    return np.vstack([image.reshape(len(image), -1), np.ones((1, image[0].size))]).T
