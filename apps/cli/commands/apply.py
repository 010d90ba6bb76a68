"""`gan-tasks apply`: run a model over files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.console import BAD_INPUT, OK, say, say_details
from gan_tasks.apps.cli.memory import memory_bytes
from gan_tasks.apps.cli.options import Positional, Repeated
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.ranges import Checked, Fraction, PositiveCount, Scale, Seconds
from gan_tasks.export.inference.inpaint_options import MaskFiles
from gan_tasks.export.inference.stylization.options import StyleFiles

if TYPE_CHECKING:
    from gan_tasks.export.inference.apply import Summary
    from gan_tasks.export.models.base import Model

DEFAULT_MEMORY = "2.4GB"
MOST_LISTED = 50
"""Most failures that are listed."""


@dataclass(frozen=True)
class RunOptions(Checked):
    """What models run on, and their limits."""

    device: str = "auto"
    """The device to run on: auto, cpu, cuda or cuda:N."""
    provider: str = "auto"
    """The runtime for an .onnx file, by the name that `gan-tasks doctor` lists. auto takes the fastest one that
    `gan-tasks doctor --bench` has measured for this model, else CUDA where it works, else the CPU."""
    max_memory: str = ""
    """The memory for the network's features, such as 512MB. Larger images are processed in tiles. The default is
    2.4GB. The program, the image and its result take memory besides."""
    max_seconds: Seconds | None = None
    """The longest time of one run of an .onnx file, on an image or a tile. The default is a minute, and two seconds
    for each MB of the network's features, which slow machines do not need."""
    max_pixels: PositiveCount = 100_000_000
    """The most pixels (height × width) of an image. A larger one needs more memory."""

    def apply_to(self, model: Model) -> None:
        """Set the limits of a model, and say what it runs on."""
        model.max_run_seconds = self.max_seconds
        say(f"{model.title} runs on {model.runs_on}")
        if model.notice:
            say(model.notice)
        if self.max_memory and model.has_constant_memory:
            raise UserError(f"{model.title} needs the same memory for images of all sizes: leave out --max-memory")
        if self.max_memory:
            model.max_memory_bytes = memory_bytes(self.max_memory)


@dataclass(frozen=True)
class Apply(Checked, Command):
    """Run a model over an image, a video or a folder of them."""

    titles: ClassVar[Mapping[str, str]] = {"mask_files": "inpainting", "style_files": "stylization"}

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, a published .pth, .safetensors or .param, an .onnx file, or
    the name of a ready-made model (`gan-tasks models` lists them). An .onnx file needs no torch."""
    input: Positional[Path]
    """An image, a video, or a folder of images and videos. Subfolders are included, and hidden files are left out."""
    output: Positional[Path]
    """The file or folder to write. Results of the same model and input that exist already are kept, and an
    interrupted video is continued. Where a format cannot hold the result, such as WebP over 16,383 px, .png is added
    to the name."""
    then: Repeated[Path] = ()
    """A model that runs on the result, such as one that enlarges it. Give the option several times for a chain of
    models. Each takes one image, and runs in tiles within the memory bound."""
    mode: Literal["eval", "train"] = "eval"
    """The mode of the network. train keeps dropout and uses the statistics of each batch, as the published pix2pix is
    tested."""
    direction: Literal["a-to-b", "b-to-a"] | None = None
    """The direction of translation, for a run that learned both. The default is that of the run."""
    scale: Scale | None = None
    """The scale of super-resolution: output pixels per input pixel along a side, such as 2.5. The default is the
    model's own."""
    blend_weight: Fraction = 1.0
    """The share of the model in the result of super-resolution: 1 is the model alone, 0 is bicubic interpolation
    alone."""
    overwrite: bool = False
    """Compute every result again, and replace files that other programs made."""
    running: RunOptions = RunOptions()
    mask_files: MaskFiles = MaskFiles()
    style_files: StyleFiles = StyleFiles()

    def run(self) -> int:
        from gan_tasks.export.inference.apply import apply_to_files
        from gan_tasks.export.inference.files.pairs import files_to_do
        from gan_tasks.export.inference.inpaint_files import masks_of, without_masks
        from gan_tasks.export.inference.predictor import PredictOptions
        from gan_tasks.export.inference.stylization.files import style_of, without_styles
        from gan_tasks.export.inference.upscale import UpscaleOptions
        from gan_tasks.export.load import load_chain

        pairs = without_masks(files_to_do(self.input, self.output), self.mask_files)
        pairs = without_styles(pairs, self.style_files)
        predictor = load_chain(
            (self.model, *self.then),
            device=self.running.device,
            mode=self.mode,
            provider=self.running.provider,
            direction=self.direction or "",
            apart=True,
        )
        model = predictor.model
        self.running.apply_to(model)
        done = apply_to_files(
            predictor,
            pairs,
            options=PredictOptions(UpscaleOptions(self.scale, self.blend_weight)),
            masks=masks_of(model, self.mask_files, pairs, self.input),
            style=style_of(model, self.style_files, pairs, max_pixels=self.running.max_pixels),
            overwrite=self.overwrite,
            max_pixels=self.running.max_pixels,
        )
        say_summary(done, pairs, self.output)
        say_tiles(done.tiled, model, self.running)
        return BAD_INPUT if done.failures else OK


def say_summary(done: Summary, pairs: Sequence[tuple[Path, Path]], output: Path) -> None:
    """Say what was written and what failed."""
    for note in done.notes:
        say(note)
    for failure in done.failures[:MOST_LISTED]:
        say(f"not done: {failure}")
        say_details(failure.details)
    if (more := len(done.failures) - MOST_LISTED) > 0:
        say(f"not done: {more} more")
    for video in done.videos:
        say(video)
    kept = f"; {done.kept} were there already, made by this model from these files" if done.kept else ""
    of_all = "" if done.written == len(pairs) else f"{done.written} of "
    say(f"{of_all}{all_of(pairs)} written to {output}{kept}")


def say_tiles(count: int, model: Model, options: RunOptions) -> None:
    """Say how many images ran in tiles, if any did."""
    if not count:
        return
    limit = options.max_memory or DEFAULT_MEMORY
    say(f"{count} in tiles, which need no more memory than {limit}: --max-memory changes that")
    if model.spec.global_statistics:
        say(
            "The network uses means over the whole image, so that tiles differ slightly in brightness and "
            "colour: a larger --max-memory runs larger images without tiles"
        )


def all_of(pairs: Sequence[tuple[Path, Path]]) -> str:
    """The number of the inputs, and what they are called together."""
    from gan_tasks.export.inference.video.containers import is_video

    kinds = {is_video(before) for before, _ in pairs}
    if len(kinds) > 1:
        return f"{len(pairs):,} images and videos"
    return counted(len(pairs), "video" if kinds == {True} else "image")
