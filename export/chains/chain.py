"""A chain of models: each runs on the result of the one before. It has the interface of a single model.

    Chain([descratch, restore, upscale]).run_pixels(pixels)

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from gan_tasks.datasets.errors import UserError, enumerated
from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.datasets.images.pixels import channels_fit
from gan_tasks.export.models.base import FloatImages, Model
from gan_tasks.export.models.tiling import OnTile, current_on_tile, reporting_tiles
from gan_tasks.spec import ModelSpec

JOINED = " + "
"""Between the names of the models."""
NOT_STATED = "not stated"
"""The licence or the training data of a model that does not say it, beside those of others."""


class Chain(Model):
    """A `Model` that runs several models one after the other.

    Pixels between two steps have the type of the image, so that the result is that of applying the models to files
    one after the other. Gray is converted to RGB, and RGB to gray, where a step needs it. Each step runs in tiles
    within `max_memory_bytes` of its own, and gives its memory back before the next one runs if all would need more.

    Args:
        steps: models of one image input.

    Raises UserError for no model, and for one that cannot be a step, see `check_step`.
    """

    def __init__(self, steps: Sequence[Model]) -> None:
        if not steps:
            raise UserError("a chain needs one model or more")
        for model in steps:
            check_step(model.spec, model.title)
        self.steps = tuple(steps)
        self.spec = chain_spec([model.spec for model in steps], [model.title for model in steps])
        self.title = JOINED.join(model.title for model in steps)
        self.place = JOINED.join(model.place for model in steps)
        self.source = JOINED.join(model.source for model in steps if model.source)
        self.training_data = joined([model.training_data for model in steps])
        self.licence = joined([model.licence for model in steps])
        self.notice = "\n".join(unique(model.notice for model in steps))
        self.has_constant_memory = all(model.has_constant_memory for model in steps)
        self.command_options = tuple(unique(option for model in steps for option in model.command_options))

    @property
    def runs_on(self) -> str:  # type: ignore[override]  # a model may know it only when it has run
        return JOINED.join(unique(model.runs_on for model in self.steps))

    @property
    def max_memory_bytes(self) -> int:
        """Limit of each step."""
        return max(model.max_memory_bytes for model in self.steps)

    @max_memory_bytes.setter
    def max_memory_bytes(self, limit: int) -> None:
        for model in self.steps:
            model.max_memory_bytes = limit

    @property
    def max_run_seconds(self) -> float | None:
        """Limit of each step."""
        return self.steps[0].max_run_seconds

    @max_run_seconds.setter
    def max_run_seconds(self, limit: float | None) -> None:
        for model in self.steps:
            model.max_run_seconds = limit

    @property
    def parameter_count(self) -> int:
        return sum(model.parameter_count for model in self.steps)

    @property
    def is_in_train_mode(self) -> bool:
        return any(model.is_in_train_mode for model in self.steps)

    def version(self) -> str:
        return JOINED.join(model.version() for model in self.steps)

    def runs_in_tiles(self, height: int, width: int, *, count: int = 1) -> bool:
        return any(model.runs_in_tiles(*size, count=count) for model, size in self._with_sizes(height, width))

    def tile_count(self, height: int, width: int) -> int:
        return sum(model.tile_count(*size) for model, size in self._with_sizes(height, width))

    def run(self, *inputs: FloatImages) -> FloatImages:
        (images,) = inputs
        for model in self.steps:
            images = np.clip(model.run(with_channels(images, model.spec.in_channels)), -1, 1)
        return images

    def run_pixels(self, pixels: Pixels) -> Pixels:
        *_, result = self.run_steps(pixels)
        return result

    def run_steps(self, pixels: Pixels) -> Iterator[Pixels]:
        sizes = list(self._with_sizes(*pixels.shape[:2]))
        counts = [model.tile_count(*size) for model, size in sizes]
        on_tile, total, done = current_on_tile(), sum(counts), 0
        on_tile(0, total)
        for (model, size), count in zip(sizes, counts, strict=True):
            with reporting_tiles(partial(on_tile_of_step, on_tile, done, total)):
                pixels = model.run_pixels(fit_channels(pixels, model.spec.in_channels))
            if model.runs_in_tiles(*size, count=len(sizes)):  # all steps together would keep more than is allowed
                model.release_memory()
            done += count
            on_tile(done, total)
            yield pixels

    def release_memory(self) -> None:
        for model in self.steps:
            model.release_memory()

    def _with_sizes(self, height: int, width: int) -> Iterator[tuple[Model, tuple[int, int]]]:
        """Yield each step with the (height, width) of its input."""
        for model in self.steps:
            yield model, (height, width)
            height, width = height * model.spec.scale, width * model.spec.scale


def on_tile_of_step(on_tile: OnTile, before: int, total: int, done: int, _count: int) -> None:
    """Report a tile of one step among the tiles of all. before: tiles of the steps before."""
    if before + done > 0:  # the chain has reported its begin
        on_tile(before + done, total)


def check_step(spec: ModelSpec, title: str) -> None:
    """Check that a model can be a step of a chain. Raises UserError if it needs more than one image."""
    if spec.image is None:
        raise UserError(f"{title} takes no image and makes its own: it cannot be a step of a chain")
    if not spec.runs_in_tiles:
        more = enumerated([given.name for given in spec.inputs if given is not spec.image])
        raise UserError(f"{title} takes {more} beside the image: it cannot be a step of a chain")


def chain_spec(specs: Sequence[ModelSpec], titles: Sequence[str]) -> ModelSpec:
    """Return the specification of models that run one after the other.

    Sizes, multiples and the receptive field are in pixels of the first input: what a step needs is divided by the
    scale that comes before it, and rounded up. Raises UserError if a step cannot take the channels of the one before,
    and for numbers over the limits of a specification.
    """
    first = specs[0].image
    assert first is not None  # see `check_step`
    scale, multiple, tile_multiple, minimum, radius = 1, 1, 1, 1, 0
    channels = first.channels
    for spec, title in zip(specs, titles, strict=True):
        if not channels_fit(channels, spec.in_channels):
            raise UserError(
                f"{title} takes images of {spec.in_channels} channels, and the step before gives {channels}: only "
                "gray and RGB, with or without alpha, can be converted"
            )
        multiple = math.lcm(multiple, spec.size_multiple // math.gcd(spec.size_multiple, scale))
        tile_multiple = math.lcm(tile_multiple, spec.tile_multiple // math.gcd(spec.tile_multiple, scale))
        minimum = max(minimum, -(-spec.minimum_size // scale))
        radius += -(-spec.receptive_field // scale)
        scale *= spec.scale
        channels = spec.out_channels
    try:
        return ModelSpec(
            task="chain",
            use="upscale" if scale > 1 else "translate",
            inputs=(first,),
            out_channels=channels,
            scale=scale,
            size_multiple=multiple,
            minimum_size=-(-minimum // multiple) * multiple,
            receptive_field=radius,
            global_statistics=any(spec.global_statistics for spec in specs),
            tile_multiple=tile_multiple,
            trained_with=unique(network for spec in specs for network in spec.trained_with),
        )
    except ValueError as error:
        raise UserError(f"{JOINED.join(titles)} cannot be a chain: {error}") from error


def with_channels(images: FloatImages, channels: int) -> FloatImages:
    """Convert the channels of N×C×H×W, as `fit_channels` does."""
    if images.shape[1] == channels:
        return images
    return np.stack([fit_channels(image.transpose(1, 2, 0), channels).transpose(2, 0, 1) for image in images])


def joined(texts: Sequence[str]) -> str:
    """Join what the models say of themselves, so that it covers all of them; empty if none says anything."""
    return JOINED.join(unique(text or NOT_STATED for text in texts)) if any(texts) else ""


def unique(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the texts that are not empty, each once, in order."""
    return tuple(dict.fromkeys(filter(None, texts)))
