"""A path or a name → a model. Imports no torch until a model needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.base import Model
from gan_tasks.pretrained.bundled import BUNDLED_MODELS, LICENCE, NOTICE, find_bundled

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
"""Of public checkpoints; `pretrained/load.py` reads them."""
NCNN_SUFFIX = ".param"
"""The same, of two files: this and a `.bin` beside it."""


def load(
    path: Path | str,
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
) -> Predictor:
    """The model that a path holds, ready to be called with an array. See `load_model`."""
    return Predictor(load_model(path, device=device, mode=mode, provider=provider, direction=direction))


def load_model(
    path: Path | str,
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
) -> Model:
    """The network that a path holds.

    Args:
        path: a run folder, a checkpoint folder, an .onnx file, a public checkpoint, or the name of a bundled model,
            such as realesrgan-x4plus (see `pretrained/bundled.py`).
        device: auto, cpu, cuda or cuda:N.
        mode: `train` keeps dropout and the batch's own statistics, as the published pix2pix is tested. An ONNX file
            has only `eval`.
        provider: what runs an ONNX file, by its name in `export/onnx/providers.py`; see `OnnxModel`.
        direction: which direction of a run that learned several, such as b-to-a; by default that of its options.

    Raises UserError, saying what was expected, for anything else.
    """
    path = Path(path)
    if (path / "config.json").is_file() or (path / "state.json").is_file():
        if provider != "auto":
            raise UserError(f"{path} is run by PyTorch: provider {provider} is for .onnx files")
        from gan_tasks.export.models.run_model import TrainedModel

        return TrainedModel(path, device=device, mode=mode, direction=direction)
    if direction:
        raise UserError(f"{path} has one direction only: --direction chooses for a run that learned both")
    if path.suffix.lower() == ".onnx":
        if mode != "eval":
            raise UserError(f"{path} runs in mode eval only: for mode {mode} give the folder of the run")
        from gan_tasks.export.onnx.model import OnnxModel

        return OnnxModel(path, device=device, provider=provider)
    bundled = find_bundled(path)
    if bundled or is_public_checkpoint(path):
        from gan_tasks.export.models.pretrained_model import PretrainedModel

        model = PretrainedModel(bundled.find() if bundled else path, device=device, mode=mode)
        if bundled:
            model.title, model.notice, model.licence = bundled.name, NOTICE, LICENCE
        return model
    what = "does not exist" if not path.exists() else "holds no model"
    raise UserError(
        f"{path} {what}: expected a run folder, as `gan-tasks train --out` writes it, an .onnx file, a public "
        f"checkpoint ({', '.join((*WEIGHTS_SUFFIXES, NCNN_SUFFIX))}), or the name of a bundled model "
        f"({', '.join(model.name for model in BUNDLED_MODELS)})"
    )


def is_public_checkpoint(path: Path) -> bool:
    """Whether it is a file whose suffix is that of a public checkpoint."""
    return path.suffix.lower() in (*WEIGHTS_SUFFIXES, NCNN_SUFFIX) and path.is_file()
