"""CUT: translate one kind of images into another, learned from a folder of each, without pairs, in one direction.

One generator and one discriminator. In place of a translation back, a contrastive loss keeps the content: a patch of
the output must be nearer to the patch of the source at the same place than to other patches of the source. They are
compared in features of the generator's own encoder (Park et al. 2020, https://arxiv.org/abs/2007.15651).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from gan_tasks.datasets.augmentations import FramingConfig
from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import PositiveCount, Range, Weight, Width
from gan_tasks.datasets.unpaired import FoundUnpaired, Unpaired, UnpairedConfig, UnpairedImages, open_unpaired
from gan_tasks.losses.adversarial import d_objective, g_objective
from gan_tasks.losses.contrastive import patch_nce
from gan_tasks.losses.functional import AdversarialConfig, l1
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm, Upsampling, pad_to_multiple
from gan_tasks.networks.patch_projection import PatchProjection, patches_at
from gan_tasks.optim.lr_schedules import ScheduleConfig
from gan_tasks.optim.optimizers import OptimisationConfig
from gan_tasks.progress import reported
from gan_tasks.spec import InputSpec, ModelSpec
from gan_tasks.tasks.base import EvaluationSpec, Losses, Outputs, Split, Stage, Step, Task
from gan_tasks.tasks.shared.pretrained_features import discriminator_of
from gan_tasks.tasks.translation import (
    MODERN_ADVERSARIAL,
    MODERN_OPTIMISATION,
    Direction,
    TranslationConfig,
    add_discriminators,
    checked_direction,
    discriminator_input,
    make_generator,
    trained_with,
    with_projected_discriminator,
)


@dataclass(frozen=True)
class CUTConfig(TranslationConfig):
    """Options of CUT. The defaults are the paper's recipe."""

    direction: Direction = "a-to-b"
    """The direction of the translation. Only this one is learned."""
    generator: Literal["resnet-9", "resnet-6", "global"] = "resnet-9"
    """Architecture of the generator. Each takes any image size."""
    upsampling: Upsampling = "bilinear"
    """Upsampling in the generator: transposed convolution, or resize and convolution, nearest-neighbour or bilinear
    (no checkerboard)."""
    anti_alias: bool = True
    """Blur the features where the generator and patch discriminators downsample. A small shift of the image then
    changes little else."""
    norm: Norm = "instance"
    """Normalisation in generator and discriminator."""
    dropout: bool = False
    """Dropout in the generator during training."""
    nce: Weight = 1.0
    """Weight of the contrastive loss (PatchNCE): each patch of the output must be recognised as that of its place in
    the source. FastCUT has 10."""
    nce_identity: bool = True
    """Apply the contrastive loss to images of the target side and their outputs, too: these need no change. Each of
    the two then has half of the weight."""
    nce_layers: tuple[Annotated[int, Range(0, 10_000)], ...] = (0, 4, 8, 12, 16)
    """Layers whose features are compared. All layers before the upsampling are numbered from 0."""
    nce_patches: PositiveCount = 256
    """Number of patches of each image and layer."""
    nce_width: Width = 256
    """Width of the networks that map the features of a patch to a vector."""
    nce_temperature: Annotated[float, Range(0, 100, above=True)] = 0.07
    """Temperature of the contrastive loss. A lower one gives the most similar wrong patches more weight."""
    nce_across_batch: bool = False
    """Compare with patches of all images of the batch on a device, not of the same image. For crops of one image."""
    flip_equivariance: bool = False
    """Mirror half of the sources before the generator, and compare their outputs with the originals (FastCUT)."""
    identity: Weight = 0.0
    """Weight of the mean absolute difference between an image of the target side and its output."""
    adversarial: AdversarialConfig = AdversarialConfig(adversarial="lsgan")
    schedule: ScheduleConfig = ScheduleConfig(epochs=400, decay_epochs=200)
    data: UnpairedConfig = UnpairedConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gan and not self.nce:
            raise UserError("gan and nce are 0: nothing would be learned. Give --gan or --nce a weight")
        if not self.nce_layers:
            raise UserError("nce_layers names no layer: give one or more, or turn the loss off with --nce 0")

    @property
    def needs_identity_output(self) -> bool:
        """Whether the losses need the output for images of the target side."""
        return bool(self.identity or (self.nce and self.nce_identity))


FASTCUT = CUTConfig(
    nce=10.0, nce_identity=False, flip_equivariance=True, schedule=ScheduleConfig(epochs=200, decay_epochs=50)
)
SINGLE_IMAGE = CUTConfig(
    generator="resnet-6",
    width=32,
    d_width=32,
    norm="none",
    nce=4.0,
    nce_patches=1,
    nce_across_batch=True,
    identity=1.0,
    adversarial=AdversarialConfig(adversarial="vanilla", r1=1.0),
    optimisation=OptimisationConfig(batch_size=16, lr=2e-3, betas=(0.0, 0.99)),
    schedule=ScheduleConfig(epochs=16, decay_epochs=8),
    data=UnpairedConfig(
        crops_per_image=100_000, framing=FramingConfig(load_size=0, crop_size=(64, 64), zoom_out=3.0)
    ),
)
"""The recipe of SinCUT, for one image of each side, with networks of this project: no norm, whose statistics in crops
would not be those of the whole image."""
MODERN = CUTConfig(d_norm="none", adversarial=MODERN_ADVERSARIAL, optimisation=MODERN_OPTIMISATION)
PROJECTED = with_projected_discriminator(MODERN)


class CUT(Task[CUTConfig, Unpaired[Tensor]]):
    name = "cut"
    Config = CUTConfig
    presets = MappingProxyType(
        {"fastcut": FASTCUT, "single-image": SINGLE_IMAGE, "modern": MODERN, "projected": PROJECTED}
    )

    def open_data(
        self, root: Path, split: Split, *, augment: bool, seed: int
    ) -> tuple[UnpairedImages, FoundUnpaired]:
        with reported("Reading every file once", "files") as on_progress:
            return open_unpaired(root, split, self.config.data, seed, augment, on_progress=on_progress)

    @property
    def direction(self) -> str:
        return self.config.direction

    def in_direction(self, direction: str) -> CUT:
        return CUT(replace(self.config, direction=checked_direction(direction)))

    def build(self, *, for_training: bool = True) -> None:
        config = self.config
        source, target = self.channels()
        generator = make_generator(config, source, target)
        if for_training and (config.nce or config.identity) and source != target:
            raise UserError(
                f"A has {config.data.a_channels} channels and B {config.data.b_channels}, and the contrastive loss "
                "takes output and source through one encoder: give --a-channels and --b-channels the same number"
            )
        self.generators["g"] = generator
        if not for_training:
            return
        if config.nce:
            channels = encoder_channels(generator, config.nce_layers, source)
            self.heads["patches"] = PatchProjection(channels, width=config.nce_width)
        add_discriminators(self, {"d": (target,)})

    def stages(self, dataset_size: int) -> tuple[Stage, ...]:
        config = self.config
        return (
            Stage(
                name="adversarial" if config.gan else "contrastive",
                images=config.schedule.epochs * dataset_size,
                optimisation=config.optimisation,
                schedule=config.schedule,
                update_order=("d", "g") if config.gan else ("g",),
                d_weight_clip=config.adversarial.clip_weights,
                best_by=None,
            ),
        )

    def generate(self, x: Unpaired[Tensor]) -> Outputs:
        """Return the output for the source, and what else the losses need.

        flip: N×1×1×1, which images were mirrored before the generator; only with flip-equivariance.
        identity: the output for the images of the target side; only if a loss needs it.
        """
        y: Outputs = {}
        source, target = self.sides(x)
        if self.config.flip_equivariance:
            y["flip"] = self.step.random(len(source), 1, 1, 1, device=source.device) < 0.5
            source, target = (flipped(image, y["flip"]) for image in (source, target))
        generator = self.generators["g"]
        if not self.config.needs_identity_output:
            y["fake"] = generator(source)
        elif source.shape == target.shape:  # one pass of twice the images, as published, is faster than two
            y["fake"], y["identity"] = generator(torch.cat([source, target])).chunk(2)
        else:
            y["fake"], y["identity"] = generator(source), generator(target)
        return y

    def d_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        real, fake = (discriminator_input(self.config, image) for image in (self.sides(x)[1], y["fake"]))
        losses, log = d_objective(self.step, self.config.adversarial, discriminator_of(self, "d"), real, fake)
        self.log(**log)
        return losses

    def g_losses(self, x: Unpaired[Tensor], y: Outputs) -> Losses:
        config = self.config
        source, target = self.sides(x)
        losses: Losses = {}
        if config.gan:
            images = (discriminator_input(config, image) for image in (target, y["fake"]))
            objective = g_objective(self.step, config.adversarial, discriminator_of(self, "d"), *images)
            losses["adversarial"] = config.gan * objective
        if config.nce:
            weight = config.nce / (2 if config.nce_identity else 1)
            losses["nce"] = weight * self.contrast(source, y["fake"], y.get("flip"))
            if config.nce_identity:
                losses["nce_identity"] = weight * self.contrast(target, y["identity"], y.get("flip"))
        if config.identity:
            losses["identity"] = config.identity * l1(y["identity"], flipped(target, y.get("flip")))
        if config.perceptual.perceptual:
            perceptual = self.auxiliary["perceptual"](y["fake"], flipped(source, y.get("flip")))
            losses["perceptual"] = config.perceptual.perceptual * perceptual
        return losses

    def contrast(self, source: Tensor, output: Tensor, flip: Tensor | None) -> Tensor:
        """Return the mean over the layers of the contrastive loss between sources and outputs, both N×C×H×W.

        flip: N×1×1×1, which outputs are mirrored.
        """
        config, generator = self.config, self.generators["g"]
        assert isinstance(generator, Generator)
        # The padding of a mirrored output is mirrored too, so that the positions are those of the source.
        upright = pad_to_multiple(flipped(output, flip), generator.size_multiple, generator.minimum_size)
        output = flipped(upright, flip)
        positions: list[Tensor] = []
        patches: list[Tensor] = []
        with torch.no_grad():
            for features in generator.encode(source, config.nce_layers):
                positions.append(draw_positions(self.step, features, config.nce_patches))
                patches.append(patches_at(features, positions[-1]))
            keys = self.heads["patches"](patches)
        encoded = generator.encode(output, config.nce_layers)
        patches = [
            patches_at(features, mirrored(places, features.shape[-1], flip))
            for features, places in zip(encoded, positions, strict=True)
        ]
        losses = [
            patch_nce(own, key, temperature=config.nce_temperature, across_batch=config.nce_across_batch)
            for own, key in zip(self.heads["patches"](patches), keys, strict=True)
        ]
        return torch.stack(losses).mean()

    def infer(self, *images: Tensor) -> Tensor:
        (source,) = images
        image: Tensor = self.generators["g"](source)
        return image

    def sides(self, x: Unpaired[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the images of the source side and of the target side, in the direction of the task."""
        return (x.a, x.b) if self.config.direction == "a-to-b" else (x.b, x.a)

    def channels(self) -> tuple[int, int]:
        """Return the channels of input and output, in the direction of the task."""
        a, b = self.config.data.a_channels, self.config.data.b_channels
        return (a, b) if self.config.direction == "a-to-b" else (b, a)

    def spec(self) -> ModelSpec:
        in_channels, out_channels = self.channels()
        image = InputSpec("image", "image", in_channels, "any")
        return ModelSpec(
            self.name,
            "translate",
            (image,),
            out_channels,
            trained_with=trained_with(self.config),
            **self.sizes()._asdict(),
        )

    def evaluation(self) -> EvaluationSpec:
        return EvaluationSpec(has_target=False)

    def inputs_and_target(self, x: Unpaired[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        source, target = self.sides(x)
        return (source,), target

    def shown_images(self, x: Unpaired[Tensor], output: Tensor) -> dict[str, Tensor]:
        source, target = self.sides(x)
        first, second = ("A", "B") if self.config.direction == "a-to-b" else ("B", "A")
        return {first: source, f"{first} to {second}": output, second: target}


def flipped(images: Tensor, flip: Tensor | None) -> Tensor:
    """Mirror those of N×C×H×W images left to right for which `flip`, N×1×1×1, is true; None mirrors none."""
    return images if flip is None else torch.where(flip, images.flip(3), images)


def mirrored(positions: Tensor, width: int, flip: Tensor | None) -> Tensor:
    """Return positions N×P in features of a width for images of which `flipped` mirrored some."""
    if flip is None:
        return positions
    rows, columns = positions // width, positions % width
    return torch.where(flip.flatten(1), rows * width + width - 1 - columns, positions)


def draw_positions(step: Step, features: Tensor, count: int) -> Tensor:
    """Draw different positions in features N×C×h×w for each image, N×P with P = min(count, h·w)."""
    places = features.shape[-2] * features.shape[-1]
    order = step.random(len(features), places, device=torch.device("cpu"))
    return order.topk(min(count, places), dim=1).indices.to(features.device, non_blocking=True)


def encoder_channels(generator: Generator, layers: tuple[int, ...], in_channels: int) -> list[int]:
    """Return the channels of the outputs of some layers of the encoder, in their order.

    Raises UserError if the encoder has no layer of such a number.
    """
    channels = [in_channels]
    for layer in generator.encoder_layers():
        convs = [part for part in layer.modules() if isinstance(part, nn.Conv2d)]
        channels.append(convs[-1].out_channels if convs else channels[-1])
    last = len(channels) - 2
    if max(layers) > last:
        raise UserError(
            f"nce_layers names layer {max(layers)}, and the encoder of this generator has layers 0 to {last}: give "
            "--nce-layers with such numbers"
        )
    return [channels[layer + 1] for layer in sorted(set(layers))]
