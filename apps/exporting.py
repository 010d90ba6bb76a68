"""`gan-tasks export`: a run as a file for other programs."""

from __future__ import annotations

from pathlib import Path

from gan_tasks.backbone import Generator
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.onnx import ExportReport, export_onnx
from gan_tasks.export.trained import TrainedModel
from gan_tasks.pretrained.jy import write_jy
from gan_tasks.run import read_run


def export_proven(
    run: Path, out: Path, *, half: bool = False, name: str = "", licence: str = "", training_data: str = ""
) -> ExportReport:
    """Write ONNX; what is not said about the model is taken from the run. Raises as `export_onnx` does."""
    model = TrainedModel(run, device="cpu")
    run_folder = model.checkpoint.parent.parent
    return export_onnx(
        model,
        out,
        half=half,
        model_name=name or out.stem,
        licence=licence,
        training_data=training_data or Path(read_run(run_folder)[1]["data"]).name,
    )


def export_jy(run: Path, out: Path) -> None:
    """Write the generator as pytorch-CycleGAN-and-pix2pix names it.

    Raises UserError for a task with several generators, and for one that no published code reads.
    """
    generators = list(TrainedModel(run, device="cpu").task.generators.values())
    if len(generators) != 1 or not isinstance(generators[0], Generator):
        raise UserError(f"{run} holds {len(generators)} generators; --format jy takes a model of one")
    if out.suffix != ".pth":
        raise UserError(f"{out} should end in .pth")
    write_jy(out, generators[0])
