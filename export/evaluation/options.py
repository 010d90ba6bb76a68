"""The options of `evaluate` and `compare`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks.kinds import MaskKind
from gan_tasks.datasets.ranges import Checked, Count, Fraction, Side


@dataclass(frozen=True)
class EvaluationOptions(Checked):
    """What to measure, and on which images."""

    split: Literal["train", "val", "test"] = "test"
    """Split of the data to evaluate on."""
    limit: Count = 0
    """Largest number of images to evaluate on; 0 = all."""
    samples: Count = 0
    """Number of images that a generator of noise → image draws; 0 = as many as there are real images."""
    luma: bool = False
    """Measure PSNR, SSIM and MS-SSIM on Y too, as is usual for super-resolution."""
    crop: Side = 0
    """Leave out this many pixels on each side before full-reference metrics are computed."""
    patch: Side = 0
    """Compare sets of patches with sides of this many pixels instead of whole images; 0 = whole images."""
    features: Literal["efficientnet-lite0", "vgg16", "none"] | None = None
    """Network whose features compare sets of images; by default the first that is installed and that no model was
    trained with."""
    features_weights: Path | None = None
    """Weights file of the --features network; by default the installed or downloaded weights."""
    lpips: tuple[Path, Path] | None = None
    """Compute LPIPS with two files: published AlexNet or VGG16 weights, and their linear weights of LPIPS 0.1."""
    inception: Path | None = None
    """Compute FID, KID and Inception Score with the published Inception weights of 2015-12-05."""
    force: bool = False
    """Report Fréchet distances and FID of fewer than 2,000 images too, with a warning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features_weights and self.features in (None, "none"):
            raise UserError("--features-weights needs --features: give the network that the weights are for")


@dataclass(frozen=True)
class MaskOptions(Checked):
    """Masks to evaluate an inpainting model with. If any is given, the metrics in the run folder are not replaced."""

    masks: Path | None = None
    """Read the masks from a folder of mask files, or from a folder with such folders val and test."""
    mask_kinds: tuple[MaskKind, ...] = ()
    """Draw masks of these kinds instead of those of the training."""
    min_mask_ratio: Fraction | None = None
    """Smallest mask ratio, 0 to 1; by default 0 with --masks or --mask-kinds, else as in the training."""
    max_mask_ratio: Fraction | None = None
    """Largest mask ratio, 0 to 1; by default 1 with --masks or --mask-kinds, else as in the training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.masks and self.mask_kinds:
            raise UserError("--masks reads masks and --mask-kinds draws them: give one of the two")

    @property
    def asked(self) -> bool:
        """Whether any mask option is given."""
        return self != MaskOptions()
