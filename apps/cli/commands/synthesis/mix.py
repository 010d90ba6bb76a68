"""`gan-tasks mix`: styles of one image at coarse layers, of another at fine ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Drawing, Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional


@dataclass(frozen=True)
class Mix(Command):
    """Mix the styles of two images: shape and pose of one, colours and texture of the other.

    Several seeds give a grid: a row for each seed of --coarse, and a column for each of --fine. The network needs a
    style for each layer, as StyleGAN has it, and its run folder or checkpoint.
    """

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, or a public checkpoint."""
    output: Positional[Path]
    """The image file to write."""
    coarse: str = "0"
    """The seeds whose styles the coarse layers get, such as 1 or 1-4. Files of `gan-tasks invert` and generated
    images are taken too."""
    fine: str = "1"
    """The seeds whose styles the fine layers get."""
    layers: str = ""
    """The coarse layers, such as 0-3. They are numbered from 0. The default is those of features with at most a
    quarter of the image's sides."""
    drawing: Drawing = Drawing()
    overwrite: bool = False
    """Replace a file that another program made."""
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
        from gan_tasks.export.inference.synthesis.mix import check_mixes, coarse_layers, mix_to_file, parse_layers

        model = self.running.load(self.model)
        coarse, fine = (self.drawing.points(model, text) for text in (self.coarse, self.fine))
        space = LatentSpace(model)
        check_mixes(space)
        layers = parse_layers(self.layers, space.layer_count, default=coarse_layers(space))
        mix_to_file(space, coarse, fine, layers, self.output, overwrite=self.overwrite)
        say(f"layers {', '.join(map(str, layers))} of {space.layer_count} from --coarse; written to {self.output}")
        return OK
