"""A package gan-tasks-models with tiny handwritten models, as if it were installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from handmade_onnx import write_filler, write_onnx

from gan_tasks.pretrained import shipped

KINDS: Mapping[str, Mapping[str, Any]] = {
    "colourise": {"in_channels": 1, "out_channels": 1},
    "descratch": {},
    "edges2shoe": {},
    "fill": {"task": "inpainting"},
    "labels2facade": {},
    "restore-x1": {},
    "summer2winter": {},
    "upscale-x2": {"task": "super-resolution", "scale": 2},
    "upscale-x4": {"task": "super-resolution", "scale": 4},
    "upscale-x4-crisp": {"task": "super-resolution", "scale": 4},
    "winter2summer": {},
}
"""Names of the models, with the options of their files."""


def install_models(site: Path, patch: pytest.MonkeyPatch, *names: str) -> Path:
    """Install a package with the models of these names; return its folder."""
    folder = site / shipped.PACKAGE
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    for name in names:
        options = dict(KINDS[name])
        scale = options.get("scale", 1)
        write = write_filler if options.get("task") == "inpainting" else write_onnx
        write(folder / f"{name}.onnx", model_name=name, **options)
        (folder / f"{name}.md").write_text(
            f"# Model card: {name}\n\n- Summary: tests of {name}\n- Scale: {scale}\n- Licence: CC0\n"
            "\n## Known limits\n\n- Summary: not an entry\n"
        )
    patch.syspath_prepend(str(site))
    return folder


def uninstall_models(patch: pytest.MonkeyPatch) -> None:
    """Let the package not be found, whether it is installed or not."""
    patch.setattr(shipped, "PACKAGE", "gan_tasks_models_that_nobody_installs")
