"""One figure of each model that ships, measured in seconds on photographs that are always at hand.

The photographs are those of scikit-image (`datasets/sample_photos.py`), 128 × 128 px of the middle of each. The card
of a model states the figure, and a test measures it again. It says that a file is the one of the card; how good a
model is, `shipped_models.py` measures on many photographs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.datasets.images.resize import bicubic
from gan_tasks.datasets.masks.draw import Mask, MaskConfig, draw_mask
from gan_tasks.datasets.sample_photos import read_photos, with_damage, with_noise_and_jpeg
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.metrics.baselines import fill_harmonic
from gan_tasks.metrics.colour import mean_chroma

SIDE = 128
"""Height and width of the regions, in px."""
FIELD = "Figure on built-in photographs"
"""Name of the card's entry."""


@dataclass(frozen=True)
class BuiltInFigure:
    """What a model reaches on the built-in photographs, and what its baseline does."""

    value: float
    unit: str
    baseline: float
    baseline_name: str
    measured: str
    """What was measured, in words."""
    tolerance: float
    """Largest difference of another machine, from rounding."""

    def text(self) -> str:
        """Return the text of the card's entry; it begins with the value."""
        return f"{self.value:.2f}{self.unit} ({self.baseline_name}: {self.baseline:.2f}{self.unit}); {self.measured}"


def built_in_figure(name: str, model: Predictor) -> BuiltInFigure | None:
    """Measure the figure of the shipped model with this name; None if no figure is defined for it.

    Models of translation have none: the photographs are not of their kind.
    Raises UserError if scikit-image, which contains the photographs, is not installed.
    """
    measure = FIGURES.get(name)
    return measure(model) if measure else None


def stated_value(text: str) -> float:
    """Return the value of a card's entry, see `BuiltInFigure.text`. Raises ValueError if there is none."""
    if (found := re.match(r"-?\d+\.\d+", text)) is None:
        raise ValueError(f"{text!r} does not begin with a figure")
    return float(found[0])


def upscaled(model: Predictor) -> BuiltInFigure:
    """PSNR of photographs that bicubic interpolation reduced and the model enlarged."""
    scale, photos = model.spec.scale, crops()
    low = [bicubic(photo, (SIDE // scale, SIDE // scale)) for photo in photos]
    plain = [bicubic(image, (SIDE, SIDE)) for image in low]
    return psnr_figure(
        [model(image) for image in low], plain, photos, "bicubic", f"PSNR, reduced {scale} times before"
    )


def restored(model: Predictor) -> BuiltInFigure:
    """PSNR of photographs with noise and JPEG compression."""
    photos = crops()
    spoiled = [with_noise_and_jpeg(photo, seed) for seed, photo in enumerate(photos)]
    what = "PSNR, with noise of 8 levels and JPEG quality 30 before"
    return psnr_figure([model(image) for image in spoiled], spoiled, photos, "the input", what)


def mended(model: Predictor) -> BuiltInFigure:
    """PSNR within drawn damage."""
    photos = crops()
    spoiled, masks = zip(*(with_damage(photo, seed) for seed, photo in enumerate(photos)), strict=True)
    outputs = [model(image) for image in spoiled]
    return psnr_figure(outputs, spoiled, photos, "the input", "PSNR within drawn scratches and stains", masks)


def filled(model: Predictor) -> BuiltInFigure:
    """PSNR within free-form masks."""
    photos, config = crops(), MaskConfig(min_mask_ratio=0.2, max_mask_ratio=0.4)
    masks = [draw_mask(np.random.default_rng(seed), SIDE, SIDE, config) for seed in range(len(photos))]
    pairs = [
        (np.where(mask[..., None], np.uint8(255), photo), mask) for photo, mask in zip(photos, masks, strict=True)
    ]
    outputs = [model(photo, mask) for photo, mask in pairs]
    plain = [fill_harmonic(photo, mask) for photo, mask in pairs]
    return psnr_figure(outputs, plain, photos, "harmonic fill", "PSNR within masks of 20 to 40 %", masks)


def coloured(model: Predictor) -> BuiltInFigure:
    """Mean chroma of coloured gray photographs, over that of the photographs."""
    photos = crops()
    outputs = [model(fit_channels(photo, 1)) for photo in photos]
    ratio = np.mean([mean_chroma(image) for image in outputs]) / np.mean([mean_chroma(photo) for photo in photos])
    return BuiltInFigure(
        float(ratio), "", 0.0, "the gray input", "mean chroma over that of the photographs", tolerance=0.02
    )


FIGURES: Mapping[str, Callable[[Predictor], BuiltInFigure]] = {
    "upscale-x2": upscaled,
    "upscale-x4": upscaled,
    "upscale-x4-crisp": upscaled,
    "restore-x1": restored,
    "descratch": mended,
    "fill": filled,
    "colourise": coloured,
}


def crops() -> list[Pixels]:
    """Return the middle of each built-in photograph, SIDE×SIDE×3 uint8."""
    return [middle(photo) for photo in read_photos().values()]


def middle(photo: Pixels) -> Pixels:
    top, left = ((length - SIDE) // 2 for length in photo.shape[:2])
    return photo[top : top + SIDE, left : left + SIDE]


def psnr_figure(
    outputs: Sequence[Pixels],
    plain: Sequence[Pixels],
    photos: Sequence[Pixels],
    baseline_name: str,
    measured: str,
    masks: Sequence[Mask] | None = None,
) -> BuiltInFigure:
    """Return the mean PSNR of outputs, and that of the baseline's results `plain`; with masks, that within these."""
    regions = masks or [np.ones(photo.shape[:2], np.bool_) for photo in photos]
    value, baseline = (
        float(
            np.mean([psnr_db(image, photo, mask) for image, photo, mask in zip(images, photos, regions, strict=True)])
        )
        for images in (outputs, plain)
    )
    return BuiltInFigure(value, " dB", baseline, baseline_name, measured, tolerance=0.05)


def psnr_db(image: Pixels, photo: Pixels, mask: Mask) -> float:
    error = (image[mask].astype(np.float64) - photo[mask]) ** 2
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))
