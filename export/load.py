"""Load a model, or a chain of models, from paths or names. Imports torch only for a model that needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from gan_tasks.datasets.errors import UserError, did_you_mean
from gan_tasks.export.chains.chain import Chain
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.models.base import Model
from gan_tasks.pretrained.bundled import BundledModel, find_bundled, known_names
from gan_tasks.pretrained.files.folders import WEIGHTS_SUFFIXES, weights_files
from gan_tasks.pretrained.shipped import folder, is_name, located, missing

if TYPE_CHECKING:
    from gan_tasks.export.models.pretrained_model import PretrainedModel
    from gan_tasks.export.onnx.foreign.magenta import MagentaModel


class Common(TypedDict):
    """Arguments of `load_model` that all models of a chain share."""

    device: str
    mode: Literal["eval", "train"]
    provider: str
    apart: bool


NCNN_SUFFIX = ".param"
"""Suffix of a public ncnn checkpoint; the second file of it is a `.bin` beside the first."""


def load(
    path: Path | str,
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
    apart: bool = False,
) -> Predictor:
    """Load a model that can be called with an array. Arguments and errors are those of `load_model`."""
    return Predictor(load_model(path, device=device, mode=mode, provider=provider, direction=direction, apart=apart))


def load_chain(
    paths: Sequence[Path | str],
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
    apart: bool = False,
) -> Predictor:
    """Load models that run one after the other, each on the result of the one before, as one model.

        restore = gan_tasks.load_chain(["restore.onnx", "upscale.onnx"])
        after = restore(before)                 # H×W×C → (s·H)×(s·W)×C', s the product of the scales

    Each model takes one image. Each runs in tiles within its own memory bound. Alpha is carried round all of them.

    Args:
        paths: models as `load` takes them, in the order in which they run.
        device, mode, provider, apart: as of `load`, for all of them.
        direction: as of `load`, for the first one.

    Raises the errors of `load`, and UserError for a model that needs more than an image, such as a mask.
    """
    first, *others = paths
    common = Common(device=device, mode=mode, provider=provider, apart=apart)
    models = [load_model(first, direction=direction, **common), *(load_model(path, **common) for path in others)]
    return Predictor(Chain(models) if others else models[0])


def load_model(
    path: Path | str,
    *,
    device: str = "auto",
    mode: Literal["eval", "train"] = "eval",
    provider: str = "auto",
    direction: str = "",
    apart: bool = False,
) -> Model:
    """Load a model from a path or a name.

    Args:
        path: a run folder, a checkpoint folder, an .onnx file, a public checkpoint, a folder with the files of one,
            or the name of a model: one of the package gan-tasks-models, such as upscale-x4 (see
            `pretrained/shipped.py`), or a ready-made one, such as realesrgan-x4plus (see `pretrained/bundled.py`).
        device: auto, cpu, cuda or cuda:N.
        mode: `train` keeps dropout and the statistics of the batch, as in the tests of the pix2pix paper. An ONNX
            file has only `eval`.
        provider: name of the provider that runs ONNX files, see `OnnxModel` and `export/onnx/providers.py`.
        direction: direction of a run with several directions, such as b-to-a; by default that of its options.
        apart: whether an ONNX file is opened and run in a process of its own, with limits of time and memory. The
            command line and the server do so, as the origin of the file may be unknown.

    Raises UserError for any other path, and for arguments that do not fit the model.
    """
    path = located(Path(path))
    is_run = (path / "config.json").is_file() or (path / "state.json").is_file()
    bundled = None if is_run else find_bundled(path)
    is_onnx = not is_run and (path.suffix.lower() == ".onnx" if bundled is None else bundled.is_onnx)
    if provider != "auto" and not is_onnx and (is_run or bundled or is_public_checkpoint(path)):
        raise UserError(f"{path} is run by PyTorch: provider {provider} is for .onnx files, leave it out")
    if is_run:
        from gan_tasks.export.models.run_model import TrainedModel

        return TrainedModel(path, device=device, mode=mode, direction=direction)
    if direction:
        raise UserError(f"{path} has one direction only: --direction is for runs with both directions, leave it out")
    if is_onnx and mode != "eval":
        remedy = "leave out --mode" if bundled else f"for mode {mode}, give the run folder"
        raise UserError(f"{path} runs in mode eval only: {remedy}")
    if is_onnx and bundled is None:
        from gan_tasks.export.onnx.model import OnnxModel

        return OnnxModel(path, device=device, provider=provider, apart=apart)
    if bundled:
        return load_bundled(bundled, device=device, mode=mode, provider=provider)
    if is_public_checkpoint(path):
        from gan_tasks.export.models.pretrained_model import PretrainedModel

        return PretrainedModel(path, device=device, mode=mode)
    what = "does not exist" if not path.exists() else "contains no model"
    names = known_names()
    suffixes = (*WEIGHTS_SUFFIXES, NCNN_SUFFIX)
    expected = (
        f": expected a run folder, as `gan-tasks train --out` writes it, an .onnx file, a public checkpoint "
        f"({', '.join(suffixes)}), or the name of a ready-made model (`gan-tasks models` lists them)"
    )
    if is_name(path) and folder() is None:
        expected += f". If it is one of gan-tasks-models: {missing()}"
    raise UserError(f"{path} {what}{nearest_model(path, names) or expected}")


def load_bundled(
    bundled: BundledModel, *, device: str, mode: Literal["eval", "train"], provider: str
) -> MagentaModel | PretrainedModel:
    """Load a ready-made model from its package, under its own name and with the notice of its project.

    Raises UserError if the package is not installed.
    """
    model: MagentaModel | PretrainedModel
    if bundled.is_onnx:
        from gan_tasks.export.onnx.foreign.magenta import MagentaModel

        model = MagentaModel(bundled.find().parent, device=device, provider=provider)
    else:
        from gan_tasks.export.models.pretrained_model import PretrainedModel

        model = PretrainedModel(bundled.find(), device=device, mode=mode)
    model.title, model.notice, model.licence = bundled.name, bundled.notice, bundled.package.licence
    return model


def nearest_model(path: Path, names: Sequence[str]) -> str:
    """Return `: did you mean X?` for a misspelt path, suffix or ready-made model; empty if nothing is near."""
    if not path.exists():
        if path.parent == Path() and (hint := did_you_mean(path.name, names)):
            return hint
        beside = (each for each in path.parent.glob("*") if is_model(each)) if path.parent.is_dir() else ()
        return did_you_mean(str(path), map(str, beside))
    return did_you_mean(path.suffix, (".onnx", *WEIGHTS_SUFFIXES, NCNN_SUFFIX)) if path.is_file() else ""


def is_model(path: Path) -> bool:
    """Return whether a path looks like that of a model. The content of files is not read."""
    is_file_of_model = path.suffix.lower() in (".onnx", *WEIGHTS_SUFFIXES, NCNN_SUFFIX) and path.is_file()
    return is_file_of_model or (path / "config.json").is_file()


def is_public_checkpoint(path: Path) -> bool:
    """Return whether the path is a file with the suffix of a public checkpoint, or a folder of such files."""
    return (path.suffix.lower() in (*WEIGHTS_SUFFIXES, NCNN_SUFFIX) and path.is_file()) or bool(weights_files(path))
