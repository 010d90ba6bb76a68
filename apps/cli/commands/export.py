"""`gan-tasks export`: a model as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.formats.jy import write_jy
from gan_tasks.export.formats.super_resolution import FilesReport, export_basicsr, export_interpolated, export_ncnn
from gan_tasks.export.models.base import load
from gan_tasks.export.models.run_model import TrainedModel
from gan_tasks.export.models.torch_model import TorchModel
from gan_tasks.export.onnx.export import ExportReport, export_onnx
from gan_tasks.networks.backbone import Generator
from gan_tasks.runs.model_card import model_card, pretrained_card

UNKNOWN = "unknown"
"""What a published checkpoint says of its licence and of what it was trained on: nothing."""


def export_verified(
    path: Path,
    out: Path,
    *,
    direction: str = "",
    half: bool = False,
    name: str = "",
    licence: str = "",
    training_data: str = "",
) -> ExportReport:
    """Write ONNX; what is not said about the model is taken from the run. Raises as `export_onnx` does."""
    model = load_torch(path, direction)
    if isinstance(model, TrainedModel):
        known_licence, known_data = "", model.training_data
        card = model_card(model.checkpoint.parent.parent, licence=licence, training_data=training_data)
    else:
        known_licence, known_data = model.licence or UNKNOWN, UNKNOWN
        origin = model.origin()
        known = {"licence": licence or known_licence, "training_data": training_data or UNKNOWN}
        card = pretrained_card(model.name, origin.source, origin.family, **known)
    return export_onnx(
        model,
        out,
        half=half,
        model_name=name or out.stem,
        licence=licence or known_licence,
        training_data=training_data or known_data,
        model_card=card,
    )


def export_jy(path: Path, out: Path, *, direction: str = "") -> None:
    """Write the generator as pytorch-CycleGAN-and-pix2pix names it.

    Raises UserError for a task with several generators, and for one that no published code reads.
    """
    generators = [module for module in load_torch(path, direction).network.modules() if isinstance(module, Generator)]
    if len(generators) != 1:
        raise UserError(f"{path} holds {len(generators)} generators; --format jy takes a model of one")
    if out.suffix != ".pth":
        raise UserError(f"{out} should end in .pth")
    write_jy(out, generators[0])


def export_upscaler(
    path: Path, out: Path, file_format: Literal["basicsr", "ncnn"], *, direction: str = "", half: bool = False
) -> tuple[FilesReport, str]:
    """Write a model of super-resolution for BasicSR and Real-ESRGAN, or for ncnn; also gives its makers' notice."""
    model = load_torch(path, direction)
    report = export_ncnn(model, out, half=half) if file_format == "ncnn" else export_basicsr(model, out)
    return report, model.notice


def interpolate_networks(first: Path, second: Path, out: Path, *, alpha: float) -> tuple[FilesReport, str]:
    """See `export_interpolated`; also gives the notices of the models' makers."""
    one, other = load_torch(first, ""), load_torch(second, "")
    report = export_interpolated(one, other, alpha, out)
    return report, "\n".join(dict.fromkeys(model.notice for model in (one, other) if model.notice))


def load_torch(path: Path, direction: str) -> TorchModel:
    """The model on the CPU. Raises UserError for an ONNX file, which is what comes out."""
    model = load(path, device="cpu", direction=direction)
    if not isinstance(model, TorchModel):
        raise UserError(f"{path} is an exported model already: give the run or checkpoint that it was made from")
    return model
