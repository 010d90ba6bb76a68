"""What is measured, and on which images: the options of `evaluate` and `compare`. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks.kinds import MaskKind


@dataclass(frozen=True)
class EvaluationOptions:
    split: Literal["train", "val", "test"] = "test"
    """Which part of the data."""
    limit: int = 0
    """At most so many images; 0 = all."""
    luma: bool = False
    """Measure PSNR, SSIM and MS-SSIM on Y too, as the field does for super-resolution."""
    crop: int = 0
    """Pixels left out on each side before measuring, RGB and Y alike."""
    patch: int = 0
    """Compare sets of patches of so many pixels a side, cut side by side from each image, instead of whole images;
    0 = whole images."""
    features: Literal["efficientnet-lite0", "vgg16", "none"] | None = None
    """The network by which sets of images are compared; the first that is here, if not given."""
    features_weights: Path | None = None
    """The weights of --features, if not the installed or downloaded ones."""
    lpips: tuple[Path, Path] | None = None
    """Two files: the published AlexNet or VGG16, and the linear weights of LPIPS 0.1 for it. Without, no LPIPS."""
    inception: Path | None = None
    """The published Inception weights of 2015-12-05. Without, no FID, KID and Inception Score."""
    force: bool = False
    """Give Fréchet distances and FID of fewer than 2,000 images too, with a warning."""

    def __post_init__(self) -> None:
        for name in ("limit", "crop", "patch"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: give 0 or more")
        if self.features_weights and self.features in (None, "none"):
            raise UserError("--features-weights needs --features: say which network they are of")


@dataclass(frozen=True)
class MaskOptions:
    """Which holes a model that fills holes is measured with. A run's own figures stay as they are if any is given."""

    masks: Path | None = None
    """For tasks with masks: take the holes from a folder of mask files, or of the folders val and test with them."""
    mask_kinds: tuple[MaskKind, ...] = ()
    """Or draw holes of these kinds, whatever the model was trained with."""
    min_mask_ratio: float | None = None
    """Smallest share of an image, 0 to 1, that is hole; 0 with --masks or --mask-kinds, else as in the training."""
    max_mask_ratio: float | None = None
    """Largest share of an image, 0 to 1, that is hole; 1 with --masks or --mask-kinds, else as in the training."""

    def __post_init__(self) -> None:
        if self.masks and self.mask_kinds:
            raise UserError("holes come from --masks or are drawn by --mask-kinds: give one of the two")

    @property
    def asked(self) -> bool:
        return self != MaskOptions()
