"""The frame that the generators of synthesis share.

    latent, label → mapping → styles → base → stages → RGB → image

An architecture is a configuration of this frame. The mapping turns a latent into styles, N×L×D: those of StyleGAN, or
the latent itself (L = 1) for networks without a mapping network. The base makes the first features from the first
style, and each stage makes larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError

RGB = Literal["last", "skip", "all"]
"""last: the last features are mapped to the image. skip: the images of all stages are enlarged and added (StyleGAN2).
all: the features of each stage are mapped to an image, so that any stage can be the last (PGGAN, MSG-GAN)."""
DrawNoise = Callable[[int, int, int, int], Tensor]
"""Return standard normal noise N×C×H×W for these four sizes."""


class Mapping(nn.Module):
    """Turns latents into styles. This one repeats the latent, beside the label if there are classes.

    Args:
        latent: length of a latent vector.
        classes: number of classes; 0 for a generator without labels.

    Attributes:
        style_length: length D of a style.
        average: the mean of the styles D, towards which styles are truncated; None if the network has none.
    """

    average: Tensor | None

    def __init__(self, latent: int, classes: int = 0) -> None:
        super().__init__()
        self.register_buffer("average", None)
        self.latent, self.classes = latent, classes
        self.style_length = latent + classes

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """Map latents N×latent, and labels N×classes of zeros and a one, to a style each, N×D."""
        return latent if label is None else torch.cat([latent, label.to(latent.dtype)], dim=1)


class Stage(nn.Module):
    """A part of the frame that uses `styles` styles of its own: features N×C×h×w and styles N×styles×D → features.

    An image of this stage, if it makes one, uses the style after these, which is also the first of the next stage.
    """

    styles: int = 0
    draw_noise: DrawNoise | None = None
    """Draws the noise of a stage that adds noise; None: it adds its constant noise."""

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        raise NotImplementedError


class SynthesisGenerator(nn.Module):
    """A generator of the frame: latents N×latent → images N×C×H×W in [-1, 1].

    Args:
        mapping: latents and labels → one style each.
        base: the first style N×D → features N×C×h×w. It may have `styles` and `draw_noise` as a stage has.
        stages: the stages that follow, each of which gets the features of the one before.
        to_rgb: features and the style after those of the stage → image. One module for "last", and one for the base
            and each stage for "skip" and "all".
        enlarge: doubles the size of an image, between the stages of "skip" and in a fade-in of "all".
        style_count: number L of styles that base, stages and images use: 1 for a network without styles.
        output_size: (height, width) of the image.
        base_size: (height, width) to which the features of the base are cropped, for rectangular images.

    Attributes:
        levels: the number of stages in use after the base. Fewer than all give a smaller image, which is enlarged to
            `output_size`. Only for "all".
        fade: how much of the newest stage's image is used, 1 for all of it. The rest is the enlarged image of the
            stage before (progressive growing).
    """

    def __init__(
        self,
        *,
        mapping: Mapping,
        base: nn.Module,
        stages: Sequence[Stage],
        to_rgb: Sequence[nn.Module],
        rgb: RGB,
        output_size: tuple[int, int],
        base_size: tuple[int, int] | None = None,
        out_channels: int = 3,
        style_count: int = 1,
        enlarge: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.base = base
        self.stages = nn.ModuleList(stages)
        self.to_rgb = nn.ModuleList(to_rgb)
        self.rgb = rgb
        self.output_size, self.base_size, self.out_channels = output_size, base_size, out_channels
        self.style_count = style_count
        self.enlarge = enlarge if enlarge is not None else nn.Upsample(scale_factor=2, mode="nearest")
        self.levels, self.fade = len(stages), 1.0

    @property
    def latent(self) -> int:
        """Length of a latent vector."""
        return self.mapping.latent

    @property
    def classes(self) -> int:
        """Number of classes, 0 without labels."""
        return self.mapping.classes

    @property
    def truncates(self) -> bool:
        """Whether styles can be truncated towards their mean."""
        return self.mapping.average is not None

    def forward(self, latent: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Map latents N×latent, labels N×classes and truncations N×1 in [0, 1] to images N×C×H×W in [-1, 1]."""
        return self.synthesize(self.styles(latent, label, truncation))

    def styles(self, latent: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Map latents to styles N×style_count×D, all alike. Truncation 0 gives the mean, and 1 changes nothing.

        Latents may be N×latent×1×1, as those of DCGAN's published code.
        """
        style: Tensor = self.mapping(latent.flatten(1), label)
        average = self.mapping.average
        if truncation is not None and average is not None:
            style = average + truncation.to(style.dtype) * (style - average)
        return style.unsqueeze(1).expand(-1, self.style_count, -1)

    def synthesize(self, styles: Tensor) -> Tensor:
        """Map styles N×style_count×D to images N×C×H×W in [-1, 1]."""
        image = self.images(styles)[-1]
        while image.shape[-1] < self.output_size[1]:  # not grown to its full size yet
            image = functional.interpolate(image, scale_factor=2, mode="nearest")
        return image

    def images(self, styles: Tensor) -> list[Tensor]:
        """Return the images of the stages, from small to large: of all with "all", otherwise the last alone."""
        x = self.base(styles[:, 0])
        x = x if self.base_size is None else cropped(x, self.base_size)
        position, images = getattr(self.base, "styles", 0), []
        if self.rgb != "last":
            images.append(self.to_rgb[0](x, styles[:, min(position, self.style_count - 1)]))
        for number, stage in enumerate(self.stages[: self.levels], start=1):
            assert isinstance(stage, Stage)
            used = stage.styles
            x = stage(x, styles[:, position : position + used])
            position += used
            if self.rgb == "last":
                continue
            image = self.to_rgb[number](x, styles[:, min(position, self.style_count - 1)])
            images.append(self.enlarge(images[-1]) + image if self.rgb == "skip" else image)
        if self.rgb == "last":
            images.append(self.to_rgb[0](x, styles[:, min(position, self.style_count - 1)]))
        if self.fade < 1 and len(images) > 1:
            images[-1] = torch.lerp(self.enlarge(images[-2]), images[-1], self.fade)
        return images if self.rgb == "all" else images[-1:]

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile `images` in place, which a training runs, and not `forward`. See `torch.compile`."""
        setattr(self, "images", torch.compile(self.images, *args, **options))  # noqa: B010 (for the type checker)

    def set_noise(self, draw_noise: DrawNoise | None) -> None:
        """Let base and stages draw their noise by this function, or use their constant noise."""
        for part in self.modules():
            if hasattr(part, "draw_noise"):
                setattr(part, "draw_noise", draw_noise)  # noqa: B010 (for the type checker)


def cropped(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop images or features N×C×H×W to (height, width) from the centre."""
    top, left = (image.shape[-2] - size[0]) // 2, (image.shape[-1] - size[1]) // 2
    return image[..., top : top + size[0], left : left + size[1]]


def doublings_for(size: tuple[int, int], base: int = 4) -> tuple[int, tuple[int, int]]:
    """Return how often a base of base × base is doubled for images of a size, and the size it is cropped to.

    Raises UserError for sizes that no cropped base gives.
    """
    height, width = size
    doublings = 0
    while base << doublings < max(height, width):
        doublings += 1
    step = 1 << doublings
    if height % step or width % step:
        near = " ".join(str(max(1, round(side / step)) * step) for side in size)
        raise UserError(
            f"images of {height}×{width} pixels cannot be generated: for a longer side of {max(size)} pixels, "
            f"give multiples of {step}, such as {near}"
        )
    return doublings, (height // step, width // step)
