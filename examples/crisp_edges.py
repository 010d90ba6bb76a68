"""A task of your own in one file: translate pairs, with sharp edges.

It adds a new loss, the difference of the image gradients, to a hinge GAN with two scales and spectral normalisation.
Copy this file, and give it to every command that uses the task:

    gan-tasks train crisp --task-module crisp_edges.py --data DIR --out RUN
    gan-tasks apply RUN IN OUT --task-module crisp_edges.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gan_tasks.datasets.paired import FoundPairs, Pair, PairedConfig, PairedImages, open_pairs
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.functional import AdversarialConfig, l1
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, PatchDiscriminator
from gan_tasks.networks.translation import resnet
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import Losses, Outputs, Split, Stage, Task, known_channels


def edge_loss(image: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of two N×C×H×W images, over both directions."""
    return l1(image.diff(dim=-1), target.diff(dim=-1)) + l1(image.diff(dim=-2), target.diff(dim=-2))


@dataclass(frozen=True)
class CrispConfig:
    """Options of the example task."""

    width: int = 32
    """Channels of the generator's and the discriminator's first layer."""
    l1: float = 10.0
    """Weight of the mean absolute difference to the target."""
    edges: float = 10.0
    """Weight of the difference in the image gradients."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="hinge")
    optimisation: OptimisationConfig = OptimisationConfig(batch_size=4)
    schedule: ScheduleConfig = ScheduleConfig(epochs=50, decay_epochs=25)
    data: PairedConfig = PairedConfig()


class Crisp(Task[CrispConfig, Pair[Tensor]]):
    name = "crisp"
    summary = "translate pairs with crisp edges"
    Config = CrispConfig

    # Data, networks and stages.

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[PairedImages, FoundPairs]:
        return open_pairs(root, split, self.config.data, seed, augment)

    def build(self, *, for_training: bool = True) -> None:
        source, target = known_channels(self.config.data.source_channels, self.config.data.target_channels)
        self.generators["g"] = resnet(source, target, width=self.config.width, blocks=6)
        if for_training:
            width = self.config.width
            self.discriminators["d"] = MultiScaleDiscriminator(
                lambda: PatchDiscriminator(source + target, width=width, norm="none", spectral=True), scales=2
            )

    def spec(self) -> ModelSpec:
        data = self.config.data
        image = InputSpec("image", "image", data.source_channels, "any")
        return ModelSpec(self.name, "translate", (image,), data.target_channels, **self.sizes()._asdict())

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                "adversarial",
                config.schedule.epochs * dataset_size,
                config.optimisation,
                config.schedule,
                update_order=("d", "g"),
                d_weight_clip=config.adversarial.clip_weights,
            ),
        )

    # The four methods.

    def generate(self, x: Pair[Tensor]) -> Outputs:
        return {"fake": self.generators["g"](x.source)}

    def d_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        d, adversarial = self.discriminators["d"], self.config.adversarial
        losses, log = d_objective(self.step, adversarial, d, x.target, y["fake"], condition=x.source)
        self.log(**log)
        return losses

    def g_losses(self, x: Pair[Tensor], y: Outputs) -> Losses:
        fake, d, adversarial = y["fake"], self.discriminators["d"], self.config.adversarial
        return {
            "adversarial": g_objective(self.step, adversarial, d, x.target, fake, condition=x.source),
            "l1": self.config.l1 * l1(fake, x.target),
            "edges": self.config.edges * edge_loss(fake, x.target),
        }

    def infer(self, *images: Tensor) -> Tensor:
        (source,) = images
        image: Tensor = self.generators["g"](source)
        return image

    def inputs_and_target(self, x: Pair[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.source,), x.target
