"""The latent space of a generator: styles of latents, and images of styles. Needs torch and the weights.

The styles of StyleGAN are those of its mapping network (W, or W+ where each layer has one of its own). Of networks
without one, such as DCGAN, the latent is the only style (L = 1). Behind it is the label, or its embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import to_uint8
from gan_tasks.export.inference.predictor import Predictor
from gan_tasks.export.inference.synthesis.inputs import (
    batch_size,
    check_generates,
    check_point,
    label_input,
    latent_input,
    network_of,
    network_values,
)
from gan_tasks.export.inference.synthesis.points import Point
from gan_tasks.export.models.base import Model, check_output, output_shape
from gan_tasks.export.models.interruption import current_check

if TYPE_CHECKING:
    from torch import Tensor

    from gan_tasks.networks.synthesis.frame import SynthesisGenerator

Styles = NDArray[np.float32]
"""N×L×D."""
MEAN_SEEDS = range(1024)
"""Latents whose styles are averaged where the network has no mean of its own."""
REMEDY = "use styles nearer to their mean, or another checkpoint"


class LatentSpace:
    """The latent space of a model from a run folder or a public checkpoint.

    Its argument is what `gan_tasks.load` gives, or its network. Raises UserError for an ONNX file, and for other
    networks than those of synthesis.

    Attributes:
        model: the model.
        generator: its network, with `styles` and `synthesize`.
    """

    def __init__(self, model: Model | Predictor) -> None:
        self.model = network_of(model)
        check_generates(self.model)
        self.generator = generator_of(self.model)
        self.latent = latent_input(self.model)
        if self.generator.rgb == "all":  # a run that has not grown to the full size sets its size with each image
            self.model.run(*(network_values(given, (Point(0),)) for given in self.model.spec.inputs))

    @cached_property
    def has_mapping(self) -> bool:
        """Whether a mapping network makes the styles (W). Otherwise the latent itself begins the only style."""
        latent = Point(0).latent_of(self.latent.channels)
        label = None if (given := label_input(self.model)) is None else network_values(given, (Point(0),))
        style = self._styles(latent[None], label)[0, 0]
        return self.layer_count > 1 or not np.array_equal(style[: len(latent)], latent)

    @property
    def layer_count(self) -> int:
        """Number L of styles of an image; 1 without a mapping network."""
        return self.generator.style_count

    @property
    def style_length(self) -> int:
        """Length D of a style."""
        return self.generator.mapping.style_length

    @property
    def free_length(self) -> int:
        """How many of the first numbers of a style may be changed: without a mapping network, those of the latent."""
        return self.style_length if self.has_mapping else self.generator.latent

    def styles(self, latents: NDArray[np.float32], label: int | None = None, truncation: float = 1.0) -> Styles:
        """Return the styles N×L×D of latents N×Z. Raises UserError for a label or a truncation that do not fit."""
        return self.styles_of([Point(latent=latent, label=label, truncation=truncation) for latent in latents])

    def styles_of_seeds(self, seeds: Sequence[int], label: int | None = None, truncation: float = 1.0) -> Styles:
        """Return the styles N×L×D of seeds. Raises the errors of `styles`."""
        return self.styles_of([Point(seed, label=label, truncation=truncation) for seed in seeds])

    def styles_of(self, points: Sequence[Point]) -> Styles:
        """Return the styles N×L×D of points. Raises UserError for points of another model."""
        for point in points:
            check_point(self.model, point)
        drawn = tuple(point for point in points if point.styles is None)
        mapped = iter(self._mapped(drawn) if drawn else ())
        expected = (self.layer_count, self.style_length)
        styles = [next(mapped) if point.styles is None else point.styles for point in points]
        for each in styles:
            if each.shape != expected:
                raise UserError(
                    f"styles of {each.shape[0]} layers × {each.shape[1]} numbers, where {self.model.title} takes "
                    f"{expected[0]} × {expected[1]}: they are of another model"
                )
        stacked: Styles = np.stack(styles)
        return stacked

    def _mapped(self, points: tuple[Point, ...]) -> Styles:
        label = label_input(self.model)
        labels = None if label is None else network_values(label, points)
        strength = np.asarray([[point.truncation] for point in points], np.float32)
        return self._styles(network_values(self.latent, points), labels, strength)

    def _styles(
        self,
        latents: NDArray[np.float32],
        labels: NDArray[np.float32] | None,
        truncation: NDArray[np.float32] | None = None,
    ) -> Styles:
        given = [None if each is None else self._tensor(each) for each in (labels, truncation)]
        styles = self._run(partial(self.generator.styles, self._tensor(latents), *given))
        check_output(styles, styles.shape, self.model.title, REMEDY)
        return styles

    def images(self, styles: Styles) -> NDArray[np.uint8]:
        """Return the images N×H×W×C of styles N×L×D, in batches within the memory of the model.

        Raises ModelRunError if the network gives values that are NaN or infinite.
        """
        size = batch_size(self.model)
        images = list[NDArray[np.uint8]]()
        for start in range(0, len(styles), size):
            batch = styles[start : start + size]
            output = self._run(partial(self.generator.synthesize, self._tensor(batch)))
            check_output(output, output_shape(self.model.spec, (batch,)), self.model.title, REMEDY)
            images += [to_uint8(image) for image in output]
        return np.stack(images)

    def mean_style(self, label: int | None = None) -> NDArray[np.float32]:
        """Return the mean of the styles, D: that of the network, or of 1,024 latents of a class."""
        average = self.generator.mapping.average
        mean: NDArray[np.float32]
        if average is not None and label is None:
            mean = self._array(average)
        elif self.has_mapping:
            mean = self.styles_of_seeds(MEAN_SEEDS, label)[:, 0].mean(0)
        else:
            mean = self.styles(np.zeros((1, self.generator.latent), np.float32), label)[0, 0]
        return mean

    def layer_sizes(self) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) of the features that each of the L styles changes, coarse to fine."""
        import torch
        from torch import nn

        sizes = list[tuple[int, int]]()

        def note(part: nn.Module, inputs: object, features: Tensor) -> None:
            height, width = features.shape[-2:]
            sizes.extend([(height, width)] * int(getattr(part, "styles", 0)))

        generator = self.generator
        handles = [part.register_forward_hook(note) for part in (generator.base, *generator.stages)]
        try:
            with torch.no_grad():
                generator.synthesize(self._tensor(np.zeros((1, self.layer_count, self.style_length), np.float32)))
        finally:
            for handle in handles:
                handle.remove()
        missing = self.layer_count - len(sizes)  # the last image has a style of its own
        return (*sizes[: self.layer_count], *[generator.output_size] * max(0, missing))

    def point(self, styles: NDArray[np.float32], label: int | None = None) -> Point:
        """Return the point of an image's styles L×D: of the latent, if the style is one.

        label: the class, which a network without a mapping network has in its style too.
        """
        if self.has_mapping:
            return Point(styles=styles)
        return Point(latent=styles[0, : self.free_length], label=label)

    def render(self, styles: Tensor) -> Tensor:
        """Return images N×C×H×W in [-1, 1] of styles N×L×D, with gradients."""
        return self.generator.synthesize(styles)

    def _run(self, network: Callable[[], Tensor]) -> NDArray[np.float32]:
        """Return what a part of the network gives, without gradients; the check of the block around can end it."""
        import torch

        from gan_tasks.export.models.torch_model import checked_between_layers

        with torch.no_grad(), checked_between_layers(current_check()):
            return self._array(network())

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        import torch

        parameter = next(self.generator.parameters())
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(parameter.device)

    @staticmethod
    def _array(values: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = values.detach().float().cpu().numpy()
        return array


def generator_of(model: Model) -> SynthesisGenerator:
    """Return the network of a model with a latent space. Raises UserError if it has none."""
    torch_models = sys.modules.get("gan_tasks.export.models.torch_model")  # not imported: torch runs no model here
    if torch_models is None or not isinstance(model, torch_models.TorchModel):
        raise UserError(
            f"{model.title} is an ONNX file, which makes images of latents only: give the run folder or the "
            "checkpoint that it was exported from"
        )
    from gan_tasks.networks.synthesis.frame import SynthesisGenerator

    found = [part for part in model.network.modules() if isinstance(part, SynthesisGenerator)]
    if len(found) != 1:
        raise UserError(
            f"{model.title} has no latent space that this can use: expected a run folder of the task synthesis, or a "
            "public checkpoint of such a generator"
        )
    return found[0]


def has_weights(model: Model) -> bool:
    """Return whether a model has a latent space; see `LatentSpace`."""
    try:
        generator_of(model)
    except UserError:
        return False
    return True
