"""`gan-tasks restore`: old photographs, in a chain of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.apply import RunOptions, say_summary, say_tiles
from gan_tasks.apps.cli.console import BAD_INPUT, OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.ranges import Checked
from gan_tasks.export.photographs.steps import DEFAULT_SCALE, STEPS, ColouriseIf, PhotoScale, Step

if TYPE_CHECKING:
    from gan_tasks.export.inference.apply import Summary
    from gan_tasks.export.models.base import Model

Pairs = Sequence[tuple[Path, Path]]
MOST_NAMES = 5
"""Most photographs that are named."""


@dataclass(frozen=True)
class Restore(Checked, Command):
    """Restore old photographs: mend scratches, remove noise, colourise and enlarge them, in one chain of models.

    The models of the package gan-tasks-models take the steps: descratch, restore-x1, colourise and upscale-x2.
    """

    input: Positional[Path]
    """A photograph, or a folder of them. Subfolders are included."""
    output: Positional[Path]
    """The file or folder to write. Results of the same models and input that exist already are kept."""
    steps: tuple[Step, ...] | None = None
    """The steps to take, always in this order. The default is all whose model is installed."""
    scale: PhotoScale | None = None
    """The size of the result over that of the photograph, along a side. 1 leaves out upscale. The default is 2, or
    the scale of --upscale's model."""
    colourise_if: ColouriseIf = "gray"
    """The photographs to colourise: gray ones alone, toned ones such as sepia prints too, or any. Colours that a
    photograph has are replaced."""
    descratch: Path | None = None
    """The model for descratch, such as an .onnx file. The default is descratch."""
    restore: Path | None = None
    """The model for restore. The default is restore-x1."""
    colourise: Path | None = None
    """The model for colourise. The default is colourise."""
    upscale: Path | None = None
    """The model for upscale. The default is upscale-x2, or upscale-x4 with --scale 4."""
    keep_steps: Path | None = None
    """The folder for the result of each step, such as photo.jpg.1-descratch.png. The default keeps none."""
    overwrite: bool = False
    """Compute every result again, and replace files that other programs made."""
    running: RunOptions = RunOptions()

    def run(self) -> int:
        from gan_tasks.export.inference.apply import Summary
        from gan_tasks.export.photographs.steps import choose_models

        pairs = photographs(self.input, self.output)
        self.check_folder_of_steps()
        given = {"descratch": self.descratch, "restore": self.restore, "colourise": self.colourise}
        named = {step: path for step in STEPS if (path := {**given, "upscale": self.upscale}[step]) is not None}
        chosen = choose_models(self.steps, named, self.scale)
        if chosen.missing:
            say(f"left out, as the models are not installed: {', '.join(chosen.missing)}")
        models = self.load(chosen.paths)
        done = Summary(0, 0, 0, ())
        for steps, some in self.by_steps(pairs, tuple(models)).items():
            done = added(done, self.apply(steps, models, some))
        say_summary(done, pairs, self.output)
        return BAD_INPUT if done.failures else OK

    def check_folder_of_steps(self) -> None:
        """Raise UserError for a folder of steps whose files would be taken for photographs the next time."""
        folder = self.keep_steps
        if folder is None or not self.input.is_dir():
            return
        is_in_results = folder.resolve().is_relative_to(self.output.resolve())
        if folder.resolve().is_relative_to(self.input.resolve()) and not is_in_results:
            raise UserError(f"--keep-steps {folder} is in the folder of the photographs: give another folder")

    def load(self, paths: Mapping[Step, Path]) -> dict[Step, Model]:
        from gan_tasks.export.chains.chain import check_step
        from gan_tasks.export.load import load_model

        models: dict[Step, Model] = {}
        for step, path in paths.items():
            models[step] = load_model(path, device=self.running.device, provider=self.running.provider, apart=True)
            check_step(models[step].spec, models[step].title)
            self.running.apply_to(models[step])
        return models

    def by_steps(self, pairs: Pairs, steps: tuple[Step, ...]) -> dict[tuple[Step, ...], list[tuple[Path, Path]]]:
        """The photographs by the steps that they need."""
        from gan_tasks.datasets.images import read
        from gan_tasks.export.photographs.tones import steps_for
        from gan_tasks.progress import track

        if "colourise" not in steps or self.colourise_if == "any":
            return {steps: list(pairs)}
        groups: dict[tuple[Step, ...], list[tuple[Path, Path]]] = {}
        with track(len(pairs), "Looking for gray ones among", "photographs", quiet=len(pairs) < 2) as advance:
            for pair in pairs:
                try:
                    pixels = read(pair[0], max_pixels=self.running.max_pixels).pixels
                    needed = steps_for(pixels, steps, self.colourise_if)
                except (UserError, OSError):
                    needed = steps  # reading it again gives the message
                groups.setdefault(needed, []).append(pair)
                advance(1)
        return groups

    def apply(self, steps: tuple[Step, ...], models: Mapping[Step, Model], pairs: Pairs) -> Summary:
        """Run the steps on photographs that need the same ones, and say which they are."""
        from gan_tasks.export.chains.chain import Chain
        from gan_tasks.export.inference.apply import Summary, apply_to_files
        from gan_tasks.export.inference.files.step_files import StepFiles
        from gan_tasks.export.inference.predictor import PredictOptions, Predictor
        from gan_tasks.export.inference.resume import Failure
        from gan_tasks.export.inference.upscale import UpscaleOptions
        from gan_tasks.export.photographs.tones import NOT_COLOURISED

        what = counted(len(pairs), "photograph")
        if "colourise" in models and "colourise" not in steps:
            tones, choices = NOT_COLOURISED[self.colourise_if]
            if not steps:
                reason = f"it is {tones}, and colourise is the only step: give --colourise-if {choices}"
                return Summary(0, 0, 0, tuple(Failure(before, reason) for before, _ in pairs))
            what += f" {tones} ({self.some_of(pairs)}), not colourised (--colourise-if {choices})"
        chain = Chain([models[step] for step in steps])
        say(f"{what}: {chain.title}")
        scale = None if self.scale in (None, chain.spec.scale) else float(self.scale or DEFAULT_SCALE)
        done = apply_to_files(
            Predictor(chain),
            pairs,
            options=PredictOptions(UpscaleOptions(scale)),
            overwrite=self.overwrite,
            max_pixels=self.running.max_pixels,
            step_files=None if self.keep_steps is None else StepFiles(self.keep_steps, self.output),
        )
        say_tiles(done.tiled, chain, self.running)
        return done

    def some_of(self, pairs: Pairs) -> str:
        """The names of photographs, of many the first ones."""
        folder = self.input if self.input.is_dir() else self.input.parent
        names = [str(before.relative_to(folder)) for before, _ in pairs[:MOST_NAMES]]
        more = len(pairs) - len(names)
        return ", ".join(names) + (f" and {more:,} more" if more else "")


def photographs(source: Path, destination: Path) -> Pairs:
    """The photographs and the files of their results. Videos in a folder are left out, and said.

    Raises UserError for a video alone, and the errors of `files_to_do`.
    """
    from gan_tasks.export.inference.files.pairs import files_to_do
    from gan_tasks.export.inference.video.containers import is_video

    pairs = files_to_do(source, destination)
    images = [pair for pair in pairs if not is_video(pair[0])]
    if not images:
        raise UserError(f"{source} has no photographs: `gan-tasks apply MODEL IN OUT --then MODEL` takes videos")
    if videos := len(pairs) - len(images):
        say(f"{counted(videos, 'video')} left out: `gan-tasks apply MODEL IN OUT --then MODEL` takes them")
    return images


def added(first: Summary, second: Summary) -> Summary:
    """The sums of two summaries."""
    return replace(
        first,
        written=first.written + second.written,
        tiled=first.tiled + second.tiled,
        kept=first.kept + second.kept,
        failures=(*first.failures, *second.failures),
        notes=(*first.notes, *second.notes),
    )
