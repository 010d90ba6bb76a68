"""Restoration: repair photographs, learned from good ones that a program degrades.

A small U-Net (`networks/restoration/`) learns from the clean image alone, with a pixel loss and without a
discriminator: it adds nothing that the photograph does not show. The preset `photographs` learns to remove JPEG
compression, noise and mild blur. The preset `damage` learns to find scratches, folds and stains of old photographs,
and to fill them; it changes no other pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional

from gan_tasks.datasets.ranges import Checked, Count, Weight, Width
from gan_tasks.datasets.restoration import (
    CHANNELS,
    Degraded,
    DegradedImages,
    FoundClean,
    RestorationDataConfig,
    open_restoration,
)
from gan_tasks.losses.functional import ReconstructionLoss, weighted_difference
from gan_tasks.metrics.baselines import FloatImage, denoise_non_local_means
from gan_tasks.networks.layers import at_least_float32
from gan_tasks.networks.restoration.restorer import Mender, corrector
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Task


@dataclass(frozen=True)
class RestorationConfig(Checked):
    """Options of restoration."""

    width: Width = 32
    """Channels of the features at 1/2 of the size; at 1/4 and 1/8 they have twice and four times as many. The cost
    grows with the square of the width."""
    blocks: tuple[Count, Count, Count] = (2, 2, 4)
    """Number of residual blocks at 1/2, 1/4 and 1/8 of the size."""
    reconstruction: Weight = 1.0
    """Weight of the difference between output and clean image."""
    reconstruction_loss: ReconstructionLoss = "psnr"
    """The reconstruction loss. l1 is the mean absolute difference, l2 the mean squared difference. psnr is the
    negative PSNR in dB, which gives slightly degraded images the same weight as others."""
    damage_weight: Weight = 10.0
    """Weight of a damaged pixel in the reconstruction loss; any other pixel has 1."""
    fill: Weight = 1.0
    """Weight of the mean absolute difference between fill and clean image where there is damage. Only for damage."""
    mask: Weight = 0.2
    """Weight of the cross-entropy of the predicted damage. Only for damage."""
    optimisation: OptimisationConfig = OptimisationConfig(
        batch_size=8, lr=2e-3, betas=(0.9, 0.99), ema_halflife_images=5_000
    )
    schedule: ScheduleConfig = ScheduleConfig(schedule="cosine", epochs=200)
    data: RestorationDataConfig = RestorationDataConfig()


DAMAGE = RestorationConfig(
    reconstruction_loss="l1", data=RestorationDataConfig(degradation="damage", crop_size=128, gray_share=0.3)
)


class Restoration(Task[RestorationConfig, Degraded[Tensor]]):
    name = "restoration"
    Config = RestorationConfig
    presets = MappingProxyType({"damage": DAMAGE})
    default_preset = "photographs"

    def open_data(self, root: Path, split: Split, *, augment: bool, seed: int) -> tuple[DegradedImages, FoundClean]:
        with reported("Reading every file once", "files") as on_progress:
            return open_restoration(root, split, self.config.data, seed, augment, on_progress=on_progress)

    @property
    def finds_damage(self) -> bool:
        """Whether the model finds damage and changes nothing else."""
        return self.config.data.degradation == "damage"

    def build(self, *, for_training: bool = True) -> None:
        make = Mender if self.finds_damage else corrector
        self.generators["g"] = make(CHANNELS, width=self.config.width, blocks=self.config.blocks)

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="reconstruction",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("g",),
                best_by="psnr",
            ),
        )

    def generate(self, x: Degraded[Tensor]) -> Outputs:
        network = self.generators["g"]
        if isinstance(network, Mender):
            return network.mend(x.degraded)._asdict()
        return {"image": network(x.degraded)}

    def d_losses(self, x: Degraded[Tensor], y: Outputs) -> Losses:
        return {}

    def g_losses(self, x: Degraded[Tensor], y: Outputs) -> Losses:
        config = self.config
        weights = 1 + (config.damage_weight - 1) * x.mask
        difference = weighted_difference(config.reconstruction_loss, y["image"], x.clean, weights)
        losses = {"reconstruction": config.reconstruction * difference}
        if self.finds_damage:
            losses["fill"] = config.fill * weighted_difference("l1", y["fill"], x.clean, x.mask)
            logits = at_least_float32(y["logits"])
            losses["mask"] = config.mask * functional.binary_cross_entropy_with_logits(logits, x.mask)
        return losses

    def infer(self, *images: Tensor) -> Tensor:
        (degraded,) = images
        restored: Tensor = self.generators["g"](degraded)
        return restored.clamp(-1, 1)

    def spec(self) -> ModelSpec:
        image = InputSpec("image", "image", CHANNELS, "any")
        return ModelSpec(self.name, "translate", (image,), CHANNELS, **self.sizes()._asdict())

    def evaluation(self) -> EvaluationSpec:
        unchanged = {"unchanged": same}
        denoised = {} if self.finds_damage else {"non-local means": denoise_non_local_means}
        return EvaluationSpec(fit_baselines=lambda examples: unchanged | denoised)

    def inputs_and_target(self, x: Degraded[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (x.degraded,), x.clean

    def shown_images(self, x: Degraded[Tensor], output: Tensor) -> dict[str, Tensor]:
        return {"degraded": x.degraded, "output": output, "clean": x.clean}


def same(image: FloatImage) -> FloatImage:
    return image
