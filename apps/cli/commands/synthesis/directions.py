"""`gan-tasks directions`: directions of a latent space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.ranges import Checked, Fraction, Range, Seed

if TYPE_CHECKING:
    from gan_tasks.export.inference.synthesis.points import Point


@dataclass(frozen=True)
class Directions(Checked, Command):
    """Find directions of a model's latent space, along which `gan-tasks edit` changes images.

    factorisation (SeFa) takes those that the weights of the styles amplify most, and components (GANSpace) the
    principal components of the styles: neither needs labels, and a picture shows what each does. boundary
    (InterFaceGAN) goes from examples without a property to examples with it.
    """

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, or a public checkpoint."""
    output: Positional[Path]
    """The .npz file to write. A picture beside it, with the suffix .png, shows one image moved along each
    direction."""
    method: Literal["factorisation", "components", "boundary"] = "factorisation"
    """How directions are found."""
    count: Annotated[int, Range(1, 512)] = 10
    """The number of directions. A boundary is always one."""
    layers: str = ""
    """The layers whose style weights are factorised, and that the directions change, such as 0-3. They are numbered
    from 0, coarse to fine. The default is all layers."""
    without: str = ""
    """For a boundary: examples without the property, as seeds and files such as 0-9,face.npz, or a folder of
    `gan-tasks invert`."""
    having: str = ""
    """For a boundary: examples with the property."""
    seed: Seed = 0
    """The seed of the image in the picture."""
    truncation: Fraction = 1.0
    """The truncation of that image, and of examples given by seeds."""
    class_: str = ""
    """The class of that image, of examples given by seeds, and of the styles that are drawn, for a conditional
    model."""
    overwrite: bool = False
    """Replace files that other programs made."""
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.export.inference.synthesis.directions import find_directions
        from gan_tasks.export.inference.synthesis.edit import directions_to_files
        from gan_tasks.export.inference.synthesis.inputs import class_number
        from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
        from gan_tasks.export.inference.synthesis.mix import parse_layers
        from gan_tasks.export.inference.synthesis.points import SUFFIX, Point

        if self.output.suffix.lower() != SUFFIX:
            raise UserError(f"{self.output} is no .npz file: give such as {self.output.stem}.npz")
        is_boundary = self.method == "boundary"
        if is_boundary != bool(self.without and self.having) or is_boundary != bool(self.without or self.having):
            raise UserError(
                "--without and --having are the two sets of examples of --method boundary: give all three"
            )
        model = self.running.load(self.model)
        space, label = LatentSpace(model), class_number(model, self.class_)
        found = find_directions(
            space,
            self.method,
            count=self.count,
            layers=parse_layers(self.layers, space.layer_count, default=()),
            label=label,
            examples=(self.examples(self.without, label), self.examples(self.having, label)) if is_boundary else None,
        )
        shown = Point(self.seed, label=label, truncation=self.truncation)
        picture = directions_to_files(space, found, self.output, shown, overwrite=self.overwrite)
        how = f"; {found.strengths[0]:.0%} of the examples are on their side" if is_boundary else ""
        say(f"{counted(len(found.vectors), 'direction')} written to {self.output}, shown in {picture}{how}")
        return OK

    def examples(self, text: str, label: int | None) -> list[Point]:
        """The examples of a set: seeds and files, or all latents of a folder."""
        from gan_tasks.export.inference.synthesis.seeds import parse_points, points_in

        if Path(text).is_dir():
            return points_in(Path(text))
        return parse_points(text, label=label, truncation=self.truncation)
