"""`gan-tasks`: the command line. It starts quickly because every command imports what it needs when it is run."""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from gan_tasks import __version__, tasks
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.evaluation.options import EvaluationOptions, MaskOptions
from gan_tasks.export.inference.inpaint_options import MaskFiles
from gan_tasks.tasks import find_task

if TYPE_CHECKING:
    from gan_tasks.export.formats.super_resolution import FilesReport

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
EXTRAS = {
    "train": ("torch", "kornia", "albumentations", "skimage", "cv2"),
    "export": ("onnx", "onnxscript"),
    "cpu": ("onnxruntime",),
    "page": ("gradio", "fastapi", "uvicorn"),
    "video": ("av",),
}
"""Which part of the installation brings which package."""


@dataclass(frozen=True)
class Evaluate:
    """Measure a model on images it has not seen, beside trivial answers."""

    model: tyro.conf.Positional[Path]
    """A run folder, one of its checkpoints, an exported .onnx file, or a published .pth or .safetensors."""
    data: Path
    """The folder that it was trained on, or one of the same layout."""
    out: Path | None = None
    """The folder for evaluation.html, .csv (a row an image) and .json; of a run, its own folder if not given."""
    task: str = ""
    """What the data are for; as the model says if not given."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Which way to go; as in its training if not given and known, else a-to-b."""
    json: bool = False
    """Print everything as JSON, the figures of each image included."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    mode: Literal["eval", "train"] = "eval"
    """train keeps dropout and the batch's own statistics, as the published pix2pix is tested."""
    options: EvaluationOptions = EvaluationOptions()
    mask_options: MaskOptions = MaskOptions()

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.evaluate import evaluate_command

        evaluate_command(self)
        return OK


@dataclass(frozen=True)
class Compare:
    """Measure several models on the same images, and test which differences are more than noise."""

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Two or more, each as for evaluate."""
    data: Path
    """The folder of images."""
    out: Path | None = None
    """The folder for comparison.html, .csv (a row an image) and .json; none are written if not given."""
    task: str = ""
    """What the data are for; as the first model says if not given."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Which way to go; as in the training if not given and known, else a-to-b."""
    json: bool = False
    """Print everything as JSON, the figures of each image included."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    mode: Literal["eval", "train"] = "eval"
    """train keeps dropout and the batch's own statistics, as the published pix2pix is tested."""
    options: EvaluationOptions = EvaluationOptions()
    mask_options: MaskOptions = MaskOptions()

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.evaluate import compare_command

        compare_command(self)
        return OK


@dataclass(frozen=True)
class Apply:
    """Run a model over an image, a video or a folder of them."""

    model: tyro.conf.Positional[Path]
    """A run folder, one of its checkpoints, a published .pth, .safetensors or .param, an .onnx, which needs no torch,
    or a ready-made model: realesrgan-x4plus, realesrgan-x4plus-anime, realesrgan-animevideov3."""
    input: tyro.conf.Positional[Path]
    """An image, a video, or a folder whose images and videos are all done, subfolders included; images of up to 100
    megapixels."""
    output: tyro.conf.Positional[Path]
    """The file or folder to write. Results that are there already, of this model and input, are kept; an interrupted
    video goes on where it was."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    provider: str = "auto"
    """What runs an .onnx file, by the name that `gan-tasks doctor` lists; auto takes what `gan-tasks doctor --bench`
    found best for it, else CUDA where it works, else the CPU."""
    mode: Literal["eval", "train"] = "eval"
    """train keeps dropout and the batch's own statistics, as the published pix2pix is tested."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Which way, for the run of a task that learns both; as in its options if not given."""
    max_memory: str = ""
    """Of the network's features, such as 512MB; images that need more are run in tiles. 2.4GB if not given; the
    program itself, the image and its result come on top."""
    scale: float | None = None
    """Of super-resolution: output pixels to an input pixel along a side, such as 2.5; as the model if not given."""
    blend_weight: float = 1.0
    """Of super-resolution: 1 is the model alone, 0 the image enlarged by bicubic interpolation; between they are
    mixed."""
    overwrite: bool = False
    """Make everything again, and replace files that other programs made."""
    mask_files: MaskFiles = MaskFiles()

    def run(self) -> int:
        from gan_tasks.apps.cli.memory import memory_bytes
        from gan_tasks.export.inference.apply import apply_to_files, files_to_do
        from gan_tasks.export.inference.inpaint_files import inpainting_of, without_masks
        from gan_tasks.export.inference.resume import version_of
        from gan_tasks.export.inference.upscale import Enlarging
        from gan_tasks.export.inference.video.containers import is_video
        from gan_tasks.export.models.base import load

        pairs = without_masks(files_to_do(self.input, self.output), self.mask_files)
        model = load(
            self.model,
            device=self.device,
            mode=self.mode,
            provider=self.provider,
            direction=self.direction or "",
        )
        say(f"{model.title} runs on {model.runs_on}")
        if model.notice:
            say(model.notice)
        if self.max_memory:
            model.max_memory_bytes = memory_bytes(self.max_memory)
        version = version_of(model, self.model)
        done = apply_to_files(
            model,
            pairs,
            model_version=version,
            enlarging=Enlarging(self.scale, self.blend_weight),
            fills=inpainting_of(model, self.mask_files, pairs, self.input),
            overwrite=self.overwrite,
        )
        for note in done.notes:
            say(note)
        for failure in done.failures:
            say(f"not done: {failure}")
        for video in done.videos:
            say(video)
        kept = f"; {done.kept} were there already, made by this model from these files" if done.kept else ""
        kinds = {is_video(before) for before, _ in pairs}
        what = "images and videos" if len(kinds) > 1 else "videos" if kinds == {True} else "images"
        say(f"{done.written} of {len(pairs)} {what} written to {self.output}{kept}")
        if done.tiled:
            limit = self.max_memory or "2.4GB"
            say(f"{done.tiled} in tiles, which need no more memory than {limit}: --max-memory changes that")
        return BAD_INPUT if done.failures else OK


@dataclass(frozen=True)
class Export:
    """Write a model as a file for other programs, once it is verified to do the same."""

    model: tyro.conf.Positional[Path]
    """A run folder, one of its checkpoints, a published .pth, .safetensors or .param, or a ready-made model."""
    output: tyro.conf.Positional[Path]
    """The file to write: .onnx; .pth with --format jy or basicsr; with ncnn the .param, the .bin beside it."""
    format: Literal["onnx", "jy", "basicsr", "ncnn"] = "onnx"
    """onnx runs without torch; jy is what pytorch-CycleGAN-and-pix2pix loads, of U-Nets and ResNets; of
    super-resolution, basicsr is what BasicSR and Real-ESRGAN load, ncnn what realesrgan-ncnn-vulkan runs."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """Which way, for the run of a task that learns both; as in its options if not given."""
    half: bool = False
    """onnx, ncnn: store the weights as float16, half the size."""
    name: str = ""
    """onnx: what the model is called; as the file if not given."""
    licence: str = ""
    """onnx: under which the model may be used; unknown for a published checkpoint, if not given."""
    training_data: str = ""
    """onnx: what it was trained on; as the run says, or unknown, if not given."""

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.export import export_jy, export_upscaler, export_verified

        direction = self.direction or ""
        if self.format == "jy":
            export_jy(self.model, self.output, direction=direction)
            say(f"written: {self.output}")
            return OK
        if self.format != "onnx":
            tell(*export_upscaler(self.model, self.output, self.format, direction=direction, half=self.half))
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
            print(line)
        return OK


@dataclass(frozen=True)
class Blend:
    """Mix the weights of two models of super-resolution: faithful at one end, crisp at the other.

    Each weight becomes (1 - alpha) times that of A plus alpha times that of B: ESRGAN's network interpolation. A is
    the model that learned to come close pixel by pixel, B the one that went on from A against a discriminator, such
    as the checkpoints that ended the two stages of a run. Of models that share no training nothing good comes.
    """

    a: tyro.conf.Positional[Path]
    """A run of super-resolution, one of its checkpoints, a published file, or a ready-made model."""
    b: tyro.conf.Positional[Path]
    """The same, of the same architecture."""
    output: tyro.conf.Positional[Path]
    """The .pth to write, as BasicSR and Real-ESRGAN load it; it can be used like any published file."""
    alpha: float = 0.8
    """How much of B: 0 is A, 1 is B."""

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.export import interpolate_networks

        tell(*interpolate_networks(self.a, self.b, self.output, alpha=self.alpha))
        return OK


@dataclass(frozen=True)
class Verify:
    """Check an exported model here, without torch: does it do what it did when it was exported?"""

    model: tyro.conf.Positional[Path]
    """An .onnx file."""

    def run(self) -> int:
        from gan_tasks.export.onnx.verify import verify

        verification = verify(self.model)
        for line in verification.lines():
            print(line)
        return OK if verification.ok else FAILED


@dataclass(frozen=True)
class Serve:
    """Open a web page in which anybody can use the models; it needs no torch for .onnx files."""

    models: tyro.conf.Positional[tuple[Path, ...]]
    """One or more .onnx files or run folders, each with its tab; directions of one training share one, and so do
    models of super-resolution."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    max_pixels: int = 4096 * 4096
    """Larger pictures are refused before they are decoded, and those whose result had over four times as many."""
    queue_size: int = 5
    """Jobs that may wait; more are told to come back later (503)."""
    provider: str = "auto"
    """What runs an .onnx file, by the name that `gan-tasks doctor` lists; auto takes what `gan-tasks doctor --bench`
    found best for it, else CUDA where it works, else the CPU."""
    public_url: str = ""
    """Where a proxy shows the page, such as https://example.org/paint; it has to take the path off what it passes
    on."""
    open: bool = False
    """Open the page in a browser."""

    def run(self) -> int:
        from gan_tasks.apps.web.server import serve

        serve(
            self.models,
            host=self.host,
            port=self.port,
            max_pixels=self.max_pixels,
            queue_size=self.queue_size,
            provider=self.provider,
            public_url=self.public_url,
            open_browser=self.open,
        )
        return OK


@dataclass(frozen=True)
class Inspect:
    """Say what a file or folder is: a run, a checkpoint, weights, an image, a video."""

    file: tyro.conf.Positional[Path]
    """Any of these."""

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.inspect import inspect

        for line in inspect(self.file):
            print(line)
        return OK


@dataclass(frozen=True)
class Check:
    """Read a folder of training images once and list what is wrong with it."""

    data: tyro.conf.Positional[Path]
    """The folder."""
    task: str = "pix2pix"
    """What it is for."""

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.check import check

        return FAILED if check(self.data, find_task(self.task).load()()) else OK


@dataclass(frozen=True)
class Doctor:
    """Look at this machine: versions, device, runtimes, and what is wrong with the installation."""

    bench: Path | None = None
    """An .onnx file: measure everything that can run it here, and remember the best for later sessions."""
    size: int = 256
    """Height and width of the image for --bench, in pixels."""
    provider: str = "auto"
    """With --bench, measure only this one beside the CPU; as for `apply`."""
    json: bool = False
    """Print as JSON."""

    def run(self) -> int:
        from dataclasses import asdict

        from gan_tasks.apps.cli.commands.doctor import doctor, print_doctor

        if self.bench is not None:
            from gan_tasks.apps.cli.commands.benchmark import bench_model

            bench_model(self.bench, size=self.size, provider=self.provider, as_json=self.json)
            return OK
        report = doctor()
        if self.json:
            print(json.dumps(asdict(report), indent=1))
        else:
            print_doctor(report)
        return FAILED if report.problems else OK


@dataclass(frozen=True)
class Quickstart:
    """Train a small model on photographs that are here already, measure it and draw the result: a few minutes."""

    out: Path = Path("quickstart")
    """The folder to make; if it is there, one beside it with a number."""
    lr: float = 1e-3
    """Learning rate."""
    epochs: int = 160
    """Passes over the 15 photographs."""
    seed: int = 0
    """Of everything that is random."""
    serve: bool = False
    """Open the page on the model in the end."""

    def run(self) -> int:
        from gan_tasks.apps.cli.commands.quickstart import quickstart

        model = quickstart(self.out, lr=self.lr, epochs=self.epochs, seed=self.seed)
        if model is None:
            return FAILED
        return Serve((model,), open=True).run() if self.serve else OK


@dataclass(frozen=True)
class Resume:
    """Go on with a stopped run, bit for bit as if it had never stopped."""

    resume: Path
    """The run folder."""
    workers: int | None = None
    """Processes that read images; as before if not given."""
    device: str | None = None
    """auto, cpu, cuda or cuda:N; as before if not given."""
    max_steps: int | None = None
    """Stop after so many steps in total; as before if not given, 0 = to the end."""

    def run(self) -> int:
        from gan_tasks.training.loop import resume

        options = {"workers": self.workers, "device": self.device, "max_steps": self.max_steps}
        resume(self.resume, **{name: value for name, value in options.items() if value is not None})
        return OK


COMMANDS: dict[str, Any] = {
    "quickstart": Quickstart,
    "train": None,  # its options depend on the task: see train_command
    "evaluate": Evaluate,
    "compare": Compare,
    "apply": Apply,
    "export": Export,
    "interpolate-networks": Blend,
    "verify": Verify,
    "serve": Serve,
    "inspect": Inspect,
    "check": Check,
    "doctor": Doctor,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 failed, 2 bad input, 130 and 143 interrupted and saved."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = run([argument for argument in arguments if argument != "--debug"])
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        code = explain(error)
    sys.exit(code)


def explain(error: BaseException) -> int:
    """Say in a sentence what a person can do something about, and give its exit code; raise again what is a bug."""
    match error:
        case UserError():
            say(f"error: {error}")
            return BAD_INPUT
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():  # the reader of our output, such as `head`, has had enough
            sys.stderr.close()
            return OK
        case OSError():
            say(f"error: {error}")
            return FAILED
        case ModuleNotFoundError() if extra := extra_of(error.name or ""):
            say(f"error: this needs {error.name}, which is not installed: python -m pip install 'gan-tasks[{extra}]'")
            return FAILED
        case RuntimeError() if "out of memory" in str(error).lower():
            say(f"error: {error} Try a smaller --batch-size, --crop-size or --width.")
            return FAILED
        case RuntimeError() if is_training_error(error):
            say(f"error: {error}")
            return FAILED
    raise error


def is_training_error(error: RuntimeError) -> bool:
    training = sys.modules.get("gan_tasks.training.loop")  # where it is not imported, nothing was trained
    return training is not None and isinstance(error, training.TrainingError)


def extra_of(module: str) -> str | None:
    package = module.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)


def run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return OK if arguments else BAD_INPUT
    if arguments[0] == "--version":
        print(__version__)
        return OK
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"no command {name!r}: expected {', '.join(COMMANDS)}; see gan-tasks --help")
    if name == "train":
        return train_command(rest)
    code: int = parse(COMMANDS[name], rest, prog=f"gan-tasks {name}").run()
    return code


def train_command(arguments: list[str]) -> int:
    """`train TASK …` or `train --resume RUN …`."""
    if arguments and not arguments[0].startswith("-"):
        task_name, *options = arguments
        return train_task(find_task(task_name).load(), options)
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        code: int = parse(Resume, arguments, prog="gan-tasks train").run()
        return code
    print(train_overview())
    return OK if arguments in (["-h"], ["--help"]) else BAD_INPUT


def train_task(task_class: Any, arguments: list[str]) -> int:
    from gan_tasks.apps.cli.train_options import parse_train
    from gan_tasks.training.loop import train

    options = parse_train(task_class, arguments)
    task = task_class(options.task)
    if options.preview is not None:
        from gan_tasks.training.preview import preview

        written = preview(task, data=options.data, out=options.preview, config=options.loop)
        say(f"{len(written)} pictures in {options.preview} show what the networks will see; nothing was trained")
        return OK
    run_folder = train(task, data=options.data, out=options.out, config=options.loop, init_from=options.init_from)
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
        say(f"done: {run_folder / 'report.html'} shows it; `gan-tasks apply {run_folder} IN OUT` uses the model")
    return OK


def parse(command: Any, arguments: list[str], *, prog: str) -> Any:
    """The command's dataclass, filled from its arguments; tyro explains what does not fit and exits with 2."""
    return tyro.cli(command, args=arguments, prog=prog, config=(tyro.conf.OmitArgPrefixes,))


def overview() -> str:
    lines = [f"  {name:<12}{summary(command)}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"gan-tasks {__version__}: image-to-image GANs, from a folder of images to a model in use",
            "",
            "usage: gan-tasks COMMAND … (gan-tasks COMMAND --help explains each; --debug shows tracebacks)",
            "",
            *lines,
        ]
    )


def summary(command: Any) -> str:
    doc: str = command.__doc__ if command else "Train a task on a folder of images, or go on with a run."
    return doc.splitlines()[0]


def train_overview() -> str:
    lines = [f"  {entry.name:<12}{entry.summary}" for entry in tasks.TASKS]
    return "\n".join(
        [
            "usage: gan-tasks train TASK --data DIR --out RUN …   (gan-tasks train TASK --help lists the options)",
            "       gan-tasks train --resume RUN",
            "",
            "tasks:",
            *lines,
        ]
    )


def tell(report: FilesReport, notice: str) -> None:
    for line in report.lines():
        print(line)
    if notice:
        say(notice)


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    main()
