"""`gan-tasks generate`: images of seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Drawing, Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import counted


@dataclass(frozen=True)
class Generate(Command):
    """Generate images from seeds.

    The same seed gives the same image on every machine. The mark of each image says what it was made from, so that
    `generate`, `edit` and the other commands take the image in place of its seed.
    """

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, a public checkpoint, or an .onnx file, which needs no
    torch."""
    output: Positional[Path]
    """The folder to write seed0000.png and so on to, or an image file, for one seed or with --grid. Images that the
    same model has made already are kept."""
    seeds: str = "0-15"
    """The seeds, such as 0-63,70. Files of `gan-tasks invert` and images of `gan-tasks generate` are taken too, such
    as 3,face.npz."""
    drawing: Drawing = Drawing()
    grid: bool = False
    """Put all images side by side too, into grid.png."""
    overwrite: bool = False
    """Make every image again, and replace files that other programs made."""
    provider: str = "auto"
    """The runtime for an .onnx file, by the name that `gan-tasks doctor` lists."""
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.export.inference.synthesis.generated_files import generate_to_files

        model = self.running.load(self.model, self.provider)
        points = self.drawing.named_points(model, self.seeds)
        done = generate_to_files(model, points, self.output, grid=self.grid, overwrite=self.overwrite)
        kept = f"; {done.kept} were there already, made by this model" if done.kept else ""
        say(f"{counted(done.written, 'image')} written to {self.output}{kept}")
        return OK
