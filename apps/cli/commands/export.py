"""`gan-tasks export`, `interpolate-networks` and `verify`: a model as a file for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import FAILED, OK, print_line, say
from gan_tasks.apps.cli.options import Positional, Repeated
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Fraction, Seconds
from gan_tasks.pretrained.shipped import located

if TYPE_CHECKING:
    from gan_tasks.export.formats.super_resolution import FilesReport
    from gan_tasks.export.models.torch_model import TorchModel
    from gan_tasks.export.onnx.export import ExportReport

UNKNOWN = "unknown"
"""What a published checkpoint says of its licence and of what it was trained on: nothing."""


@dataclass(frozen=True)
class Export(Command):
    """Write a model as a file for other programs, once it is verified to give the same results."""

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, a published .pth, .safetensors or .param, or the name of a
    ready-made model."""
    output: Positional[Path]
    """The file to write: .onnx, or .pth with --format jy or basicsr, or .param with --format ncnn, which writes a
    .bin beside it."""
    then: Repeated[Path] = ()
    """A model that runs on the result (format onnx). All become one .onnx file, which is verified to give what they
    give one after the other. Give the option several times for more models. They may be .onnx files, too, which
    --half and --direction do not change."""
    format: Literal["onnx", "jy", "basicsr", "ncnn"] = "onnx"
    """The file format. onnx runs without torch. jy is for pytorch-CycleGAN-and-pix2pix and CUT, and takes
    U-Nets and ResNets. basicsr (for BasicSR and Real-ESRGAN) and ncnn (for realesrgan-ncnn-vulkan) take models of
    super-resolution."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """The direction of translation, for a run that learned both. The default is that of the run."""
    half: bool = False
    """Store the weights as float16, in half the size (formats onnx and ncnn)."""
    name: str = ""
    """The name of the model in its metadata (format onnx). The default is the file's name, or the names of the models
    of a chain."""
    licence: str = ""
    """The licence of the model in its metadata (format onnx). The default is unknown for a published checkpoint."""
    training_data: str = ""
    """The training data in its metadata (format onnx). The default is what the run says, else unknown."""

    def run(self) -> int:
        direction = self.direction or ""
        check_output(self.output, (self.model, *self.then))
        if self.then:
            return self.export_chain(direction)
        if self.format == "jy":
            export_jy(self.model, self.output, direction=direction)
            say(f"written: {self.output}")
            return OK
        if self.format != "onnx":
            print_report(*export_upscaler(self.model, self.output, self.format, direction=direction, half=self.half))
            return OK
        report = export_verified(
            self.model,
            self.output,
            direction=direction,
            half=self.half,
            name=self.name,
            licence=self.licence,
            training_data=self.training_data,
        )
        for line in report.lines():
            print_line(line)
        return OK

    def export_chain(self, direction: str) -> int:
        """Write the models as one file. Those that are no .onnx files are exported first, to a temporary folder."""
        from gan_tasks.export.chains.merge import merge_onnx

        if self.format != "onnx":
            raise UserError(f"--then is for the format onnx: leave it out for {self.format}")
        directions = (direction, *[""] * len(self.then))  # it is of the first one
        parts = list(zip((self.model, *self.then), directions, strict=True))
        for path, one in parts:
            check_can_follow(path, direction=one, half=self.half)
        with TemporaryDirectory() as folder:
            files = [
                onnx_of(path, Path(folder, f"{number}.onnx"), direction=one, half=self.half)
                for number, (path, one) in enumerate(parts)
            ]
            report = merge_onnx(
                files,
                self.output,
                model_name=self.name,
                licence=self.licence,
                training_data=self.training_data,
            )
        for line in report.lines():
            print_line(line)
        return OK


@dataclass(frozen=True)
class InterpolateNetworks(Checked, Command):
    """Average the weights of two models of super-resolution, to choose between fidelity and sharpness.

    Each weight becomes (1 - alpha) times that of A plus alpha times that of B: ESRGAN's network interpolation
    (https://arxiv.org/abs/1809.00219). A is the model trained for reconstruction, and B the one that was trained on
    from A with a discriminator, such as the checkpoints that ended the two stages of a run. The result is only useful
    where B was trained from A.
    """

    a: Positional[Path]
    """The first model: a run of super-resolution, one of its checkpoints, a published file, or a ready-made model."""
    b: Positional[Path]
    """The second model, of the same architecture."""
    output: Positional[Path]
    """The .pth to write. BasicSR and Real-ESRGAN load it, and every command that takes a published file."""
    alpha: Fraction = 0.8
    """The share of B, from 0 (A alone) to 1 (B alone)."""

    def run(self) -> int:
        check_output(self.output, (self.a, self.b))
        print_report(*interpolate_networks(self.a, self.b, self.output, alpha=self.alpha))
        return OK


@dataclass(frozen=True)
class Verify(Checked, Command):
    """Check, without torch, that an exported model gives the same results here as when it was exported."""

    model: Positional[Path]
    """An .onnx file that `gan-tasks export` wrote, or the name of a model of gan-tasks-models."""
    max_seconds: Seconds = 600
    """The longest time of all its runs."""

    def run(self) -> int:
        from gan_tasks.export.onnx.verify import verify
        from gan_tasks.pretrained.shipped import onnx_file

        verification = verify(onnx_file(self.model), max_seconds=self.max_seconds)
        for line in verification.lines():
            print_line(line)
        return OK if verification.ok else FAILED


def print_report(report: FilesReport, notice: str) -> None:
    for line in report.lines():
        print_line(line)
    if notice:
        say(notice)


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
    from gan_tasks.export.models.run_model import TrainedModel
    from gan_tasks.export.onnx.export import export_onnx
    from gan_tasks.runs.model_card import model_card, pretrained_card

    model = load_torch(path, direction)
    if isinstance(model, TrainedModel):
        known_licence, known_data = "", model.training_data
        card = model_card(model.checkpoint.parent.parent, licence=licence, training_data=training_data)
    else:
        known_licence, known_data = model.licence or UNKNOWN, UNKNOWN
        origin = model.origin()
        known = {"licence": licence or known_licence, "training_data": training_data or UNKNOWN}
        card = pretrained_card(model.spec.task, origin.source, origin.family, **known)
    return export_onnx(
        model,
        out,
        half=half,
        model_name=name or out.stem,
        licence=licence or known_licence,
        training_data=training_data or known_data,
        model_card=card,
    )


def check_output(output: Path, models: Sequence[Path]) -> None:
    """Raise UserError for an output that would replace one of the models that it is made from."""
    for path in map(located, models):
        if path.exists() and output.exists() and output.samefile(path):
            raise UserError(f"{output} would replace the model {path}: give another name for the result")


def check_can_follow(path: Path, *, direction: str, half: bool) -> None:
    """Raise UserError for options that do not reach a part of a chain, which is an ONNX file already."""
    from gan_tasks.export.onnx.file import read_onnx
    from gan_tasks.export.onnx.metadata import OnnxMetadata

    file = located(path)
    if file.suffix.lower() != ".onnx":
        return
    if direction:
        raise UserError(f"{path} has one direction only: --direction is for runs with both directions, leave it out")
    if half and OnnxMetadata.of(read_onnx(file)).weights != "float16":
        raise UserError(
            f"{path} is exported already, with float32 weights, which --half does not change: leave out --half, or "
            "give the run or checkpoint that it was made from"
        )


def onnx_of(path: Path, temporary: Path, *, direction: str, half: bool) -> Path:
    """The ONNX file of a model: its own, or one that is written to a temporary path."""
    from gan_tasks.export.load import load_model

    file = located(path)
    if file.suffix.lower() == ".onnx":
        return file
    title = load_model(path, device="cpu", direction=direction).title
    export_verified(path, temporary, direction=direction, half=half, name=title)
    return temporary


def export_jy(path: Path, out: Path, *, direction: str = "") -> None:
    """Write the generator as pytorch-CycleGAN-and-pix2pix names it.

    Raises UserError for a task with several generators, and for one that no published code reads.
    """
    from gan_tasks.export.formats.jy import write_jy
    from gan_tasks.networks.backbone import Generator

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
    from gan_tasks.export.formats.super_resolution import export_basicsr, export_ncnn

    model = load_torch(path, direction)
    report = export_ncnn(model, out, half=half) if file_format == "ncnn" else export_basicsr(model, out)
    return report, model.notice


def interpolate_networks(first: Path, second: Path, out: Path, *, alpha: float) -> tuple[FilesReport, str]:
    """See `export_interpolated`; also gives the notices of the models' makers."""
    from gan_tasks.export.formats.super_resolution import export_interpolated

    one, other = load_torch(first, ""), load_torch(second, "")
    report = export_interpolated(one, other, alpha, out)
    return report, "\n".join(dict.fromkeys(model.notice for model in (one, other) if model.notice))


def load_torch(path: Path, direction: str) -> TorchModel:
    """The model on the CPU. Raises UserError for ONNX files, which is what comes out."""
    from gan_tasks.export.load import load_model
    from gan_tasks.export.models.torch_model import TorchModel
    from gan_tasks.pretrained.bundled import find_bundled

    model = load_model(path, device="cpu", direction=direction)
    if find_bundled(path) and not isinstance(model, TorchModel):
        raise UserError(f"{path} consists of ONNX files already, in {model.place}: give a model that PyTorch runs")
    if not isinstance(model, TorchModel):
        raise UserError(f"{path} is an exported model already: give the run or checkpoint that it was made from")
    return model
