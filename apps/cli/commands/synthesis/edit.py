"""`gan-tasks edit`: move an image along a direction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Drawing, Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Range


@dataclass(frozen=True)
class Edit(Checked, Command):
    """Change an image along a direction that `gan-tasks directions` has found.

    The result can be edited again: give it as --seed.
    """

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, or a public checkpoint."""
    output: Positional[Path]
    """The image file to write. Several amounts give one image file, in which all results stand in a row."""
    direction: str
    """The direction, such as directions.npz#2. The first is 0, which is the default."""
    seed: str = "0"
    """The seed of the image, or a file of `gan-tasks invert`, or a generated image."""
    amount: tuple[Annotated[float, Range(-1000, 1000)], ...] = (2.0,)
    """How far to go, in standard deviations of the styles along the direction. Negative is the other way."""
    layers: str = ""
    """The layers to change, such as 0-3. They are numbered from 0, coarse to fine. The default is those that the
    direction was found for."""
    drawing: Drawing = Drawing()
    overwrite: bool = False
    """Replace a file that another program made."""
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.export.inference.synthesis.directions import read_direction
        from gan_tasks.export.inference.synthesis.edit import edit_to_file
        from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
        from gan_tasks.export.inference.synthesis.mix import parse_layers

        direction = read_direction(self.direction)
        if not self.amount:
            raise UserError("--amount takes a number or more, and got nothing")
        model = self.running.load(self.model)
        points = self.drawing.points(model, self.seed)
        if len(points) != 1:
            raise UserError(f"--seed {self.seed} are {len(points)} images: give one")
        space = LatentSpace(model)
        layers = parse_layers(self.layers, space.layer_count, default=())
        edit_to_file(space, points[0], direction, self.amount, self.output, layers=layers, overwrite=self.overwrite)
        say(f"written to {self.output}")
        return OK
