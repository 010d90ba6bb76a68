"""Padding to the sizes that a network takes stays in proportion to the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import ImageError
from gan_tasks.export.models.base import FloatImages
from gan_tasks.export.models.tiled import MAX_PADDED_PIXELS, TiledModel
from gan_tasks.spec import InputSpec, ModelSpec


class Copy(TiledModel):
    """Returns the first image; counts what the network got."""

    title = "a network"

    def __init__(self, *inputs: InputSpec, multiple: int = 256, minimum: int = 256) -> None:
        self.spec = ModelSpec(
            task="pix2pix",
            use="translate",
            inputs=inputs,
            out_channels=1,
            size_multiple=multiple,
            minimum_size=minimum,
            receptive_field=8,
        )
        self.largest = 0

    @property
    def bytes_per_pixel(self) -> int:
        return 100

    def version(self) -> str:
        return "sha256:0"

    def run_network(self, *inputs: FloatImages) -> FloatImages:
        self.largest = max(self.largest, inputs[0].size)
        return inputs[0]


IMAGE, SECOND = InputSpec("image", "image", 1, size="any"), InputSpec("style", "image", 1, size="any")


@pytest.mark.parametrize(("multiple", "minimum"), [(256, 1), (1, 256)])
@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)])
def test_a_thin_image_is_refused_before_it_is_padded(size: tuple[int, int], multiple: int, minimum: int) -> None:
    model = Copy(IMAGE, multiple=multiple, minimum=minimum)
    expected = rf"{size[1]} × {size[0]} px would be padded to .* at most {MAX_PADDED_PIXELS:,} px; cut"
    with pytest.raises(ImageError, match=expected):
        model.run_pixels(np.zeros((*size, 1), np.uint8))
    with pytest.raises(ImageError, match=expected):
        model.run(np.zeros((1, 1, *size), np.float32))
    assert model.largest == 0


def test_each_image_of_a_model_without_tiles_is_padded_within_the_memory() -> None:
    model = Copy(IMAGE, SECOND)
    small, thin = np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 1, 1, 2000), np.float32)
    model.max_memory_bytes = 100 * 300_000
    for inputs in ((small, thin), (thin, small)):
        with pytest.raises(ImageError, match="2000 × 1 px would be padded to 2048 × 256 px"):
            model.run(*inputs)
    model.max_memory_bytes = 100 * 600_000
    assert model.run(thin, small).shape == thin.shape


def test_small_and_long_images_are_padded() -> None:
    for shape in ((1, 1), (3, 9000), (300, 260)):
        model = Copy(IMAGE)
        pixels = np.arange(np.prod(shape), dtype=np.uint32).astype(np.uint8).reshape(*shape, 1)
        np.testing.assert_array_equal(model.run_pixels(pixels), pixels)


def test_a_long_image_runs_in_tiles_of_limited_memory() -> None:
    model = Copy(IMAGE, multiple=4, minimum=8)
    model.max_memory_bytes = 100 * 8 * 1000
    pixels = np.random.default_rng(0).integers(0, 256, (1, 30_000, 1), dtype=np.uint8)
    np.testing.assert_array_equal(model.run_pixels(pixels), pixels)
    assert 0 < model.largest <= 8 * 1000


def test_windows_are_at_the_same_places_in_each_tile() -> None:
    class Windows(Copy):
        """Returns the mean of each window of 8 × 8 pixels, of which the last ones are smaller."""

        def run_network(self, *inputs: FloatImages) -> FloatImages:
            output = super().run_network(*inputs).copy()
            for row in range(0, output.shape[2], 8):
                for column in range(0, output.shape[3], 8):
                    window = output[..., row : row + 8, column : column + 8]
                    window[...] = window.mean(axis=(2, 3), keepdims=True)
            return output

    model = Windows(IMAGE, multiple=1, minimum=1)
    model.spec = replace(model.spec, tile_multiple=8)
    image = np.random.default_rng(0).random((1, 1, 93, 131), np.float32)
    whole = model.run(image)
    model.max_memory_bytes = 100 * 60 * 60
    np.testing.assert_allclose(model.run(image), whole, atol=1e-5)


def test_a_network_of_a_fixed_size_keeps_to_the_memory() -> None:
    model = Copy(IMAGE, SECOND)
    model.spec = replace(model.spec, fixed_size=True)
    small = np.zeros((1, 1, 8, 8), np.float32)
    model.max_memory_bytes = 100 * 256 * 256
    assert model.run(small, small).shape == small.shape
    model.max_memory_bytes -= 1
    with pytest.raises(UserError, match="a network needs 6 MiB for its 256×256 pixels, and 6 MiB are allowed"):
        model.run(small, small)
