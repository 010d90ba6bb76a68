"""`gan-tasks invert`: the latents of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gan_tasks.apps.cli.arguments import Command
from gan_tasks.apps.cli.commands.synthesis.loading import Running
from gan_tasks.apps.cli.console import OK, say
from gan_tasks.apps.cli.options import Positional
from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig


@dataclass(frozen=True)
class Invert(Command):
    """Find the latent whose image comes nearest to a photograph, to change it with the other commands."""

    model: Positional[Path]
    """The model: a run folder, one of its checkpoints, or a public checkpoint."""
    input: Positional[Path]
    """A photograph, or a folder of photographs. Each is cropped to the shape of the model's images."""
    output: Positional[Path]
    """The folder for NAME.npz, the latent, NAME.png, its image, and NAME-comparison.png, which shows how close it
    came. What the same model has made of the same photograph is kept."""
    class_: str = ""
    """The class of the photograph, by its name or its number, for a conditional model."""
    overwrite: bool = False
    """Invert every photograph again, and replace files that other programs made."""
    inversion: InvertConfig = InvertConfig()
    running: Running = Running()

    def run(self) -> int:
        from gan_tasks.datasets.folders import images_in
        from gan_tasks.export.inference.synthesis.inputs import class_number
        from gan_tasks.export.inference.synthesis.inversion.feature_distance import load_features
        from gan_tasks.export.inference.synthesis.inversion.invert_files import invert_files
        from gan_tasks.export.inference.synthesis.latent_space import LatentSpace

        if self.output.suffix and not self.output.is_dir():
            raise UserError(f"{self.output} is named like a file: give a folder for the latent and its pictures")
        if not self.input.exists():
            raise UserError(f"{self.input} does not exist: give a photograph or a folder of photographs")
        photos = images_in(self.input)[0] if self.input.is_dir() else [self.input]
        if not photos:
            raise UserError(f"{self.input} has no images: give a photograph or a folder of photographs")
        model = self.running.load(self.model)
        label = class_number(model, self.class_)
        space = LatentSpace(model)
        say(f"minimising the distance of {load_features(self.inversion).name}")
        found = invert_files(space, photos, self.output, self.inversion, label=label, overwrite=self.overwrite)
        for each in found:
            how = "was there already" if each.psnr is None else f"PSNR {each.psnr:.1f} dB; higher is nearer"
            say(f"{each.latent}: {how}")
        return OK
