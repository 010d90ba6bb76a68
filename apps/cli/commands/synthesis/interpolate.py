"""`gan-tasks interpolate`: a walk through the latent space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Drawing, Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import counted
from gan_tasks.datasets.ranges import Checked, Range


@dataclass(frozen=True)
class Interpolate(Checked, Command):
    """Walk from the image of each seed to the next, as a video or a row of images."""

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, a public checkpoint, or an .onnx file."""
    output: Positional[Path]
    """A video (.mp4, .mov, .mkv, .webm), an image file, in which all images stand in a row, or a folder for an image
    file each."""
    seeds: str = "0,1,2"
    """Two seeds or more, such as 1,5,9. Files of `gan-tasks invert` and generated images are taken too."""
    frames: Annotated[int, Range(1, 10_000)] = 24
    """The number of images from one seed to the next."""
    loop: bool = False
    """Go back from the last seed to the first, so that the video can be repeated."""
    space: Literal["auto", "w", "z"] = "auto"
    """The space of the walk: w goes straight through the styles, and z along the sphere of the latents. auto is w for
    a model with a mapping network, as StyleGAN has it, and z for other models and .onnx files."""
    fps: Annotated[int, Range(1, 240)] = 24
    """Images of a video per second."""
    drawing: Drawing = Drawing()
    overwrite: bool = False
    """Replace a file that another program made."""
    provider: str = "auto"
    """The runtime for an .onnx file, by the name that `gan-tasks doctor` lists."""
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.export.inference.synthesis.interpolate import walk_to_files

        model = self.running.load(self.model, self.provider)
        points = self.drawing.points(model, self.seeds)
        count = walk_to_files(
            model,
            points,
            self.output,
            frames=self.frames,
            loop=self.loop,
            space=self.space,
            fps=self.fps,
            overwrite=self.overwrite,
        )
        say(f"{counted(count, 'image')} written to {self.output}")
        return OK
