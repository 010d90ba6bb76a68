"""Styles of latents, images of styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from handmade_onnx import write_onnx
from tiny import tiny_task, write_run
from tiny_synthesis import FrameModel, ToRgb, tiny_generator, tiny_model
from torch import nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.synthesis.generate import generate
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.load import load_model
from gan_tasks.export.models.base import ModelRunError
from gan_tasks.export.models.interruption import interrupted_by
from gan_tasks.networks.synthesis.frame import Mapping


@pytest.mark.parametrize("mapped", [True, False])
def test_styles_give_the_image_of_their_seed(mapped: bool) -> None:
    model = tiny_model(mapped=mapped, classes=2)
    space = LatentSpace(model)
    styles = space.styles_of_seeds([3, 4], label=1)
    assert styles.shape == (2, 3, 5) if mapped else (2, 1, 8)
    images = space.images(styles)
    expected = np.stack([each.pixels for each in generate(model, [3, 4], label=1)])
    assert images.dtype == np.uint8 and np.abs(images.astype(int) - expected).max() <= 1
    (again,) = generate_from(space, styles[0])
    assert np.abs(again.astype(int) - expected[0]).max() <= 1


def generate_from(space: LatentSpace, styles: np.ndarray) -> list[np.ndarray]:
    from gan_tasks.export.inference.synthesis.generate import generate_points

    return [each.pixels for each in generate_points(space.model, [space.point(styles, label=1)])]


def test_truncation_moves_styles_to_the_mean() -> None:
    space = LatentSpace(tiny_model())
    latents = draw_latent(1, 6)[None]
    full, half, none = (space.styles(latents, truncation=each) for each in (1, 0.5, 0))
    mean = space.mean_style()
    np.testing.assert_allclose(none[0], np.tile(mean, (3, 1)), atol=1e-6)
    np.testing.assert_allclose(half, (full + none) / 2, atol=1e-6)


def test_the_mean_of_a_class_is_that_of_its_styles() -> None:
    space = LatentSpace(tiny_model(classes=2))
    means = [space.mean_style(label) for label in (0, 1)]
    drawn = space.styles_of_seeds(range(2000, 3000), label=1)[:, 0].mean(0)
    assert np.abs(means[1] - drawn).max() < np.abs(means[1] - means[0]).max()


def test_images_of_styles_can_be_ended_and_must_be_finite() -> None:
    def end() -> None:
        raise UserError("ended")

    space = LatentSpace(tiny_model())
    styles = space.styles_of_seeds([3])
    with interrupted_by(end):
        with pytest.raises(UserError, match="ended"):
            space.images(styles)
        with pytest.raises(UserError, match="ended"):
            space.styles_of_seeds([3])
    with pytest.raises(ModelRunError, match="tiny gives values that are NaN or infinite"):
        space.images(np.full_like(styles, np.nan))
    with pytest.raises(ModelRunError, match="tiny gives values that are NaN or infinite"):
        space.styles(np.full((1, 6), 3e38, np.float32))


def test_layers_have_the_sizes_of_their_features() -> None:
    assert LatentSpace(tiny_model()).layer_sizes() == ((4, 4), (8, 8), (16, 16))
    assert LatentSpace(tiny_model(mapped=False)).layer_sizes() == ((16, 16),)


def test_other_models_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tiny_task("noise-to-image", "--width", "1"))
    with pytest.raises(UserError, match="has no latent space that this can use"):
        LatentSpace(load_model(run))
    with pytest.raises(UserError, match="does not generate"):
        LatentSpace(load_model(write_onnx(tmp_path / "model.onnx")))


def test_an_embedding_behind_the_latent_is_no_mapping() -> None:
    """As in R3GAN: the style is the latent and the embedding of the label, and only the latent may be changed."""
    mapping = Mapping(6, 2)
    mapping.embedding = nn.Linear(2, 3)
    mapping.style_length = 9
    mapping.forward = lambda latent, label: torch.cat([latent, mapping.embedding(label)], dim=1)  # type: ignore[method-assign]
    generator = tiny_generator(mapped=False)
    generator.mapping, generator.base = mapping, nn.Sequential(nn.Linear(9, 128), nn.Unflatten(1, (8, 4, 4)))
    space = LatentSpace(FrameModel(generator))
    assert not space.has_mapping and (space.style_length, space.free_length) == (9, 6)
    styles = space.styles_of_seeds([3], label=1)
    point = space.point(styles[0], label=1)
    assert point.latent is not None and point.label == 1
    np.testing.assert_array_equal(space.styles_of([point]), styles)
    assert LatentSpace(tiny_model()).has_mapping and not LatentSpace(tiny_model(mapped=False, classes=2)).has_mapping


def test_a_network_that_still_grows_gives_the_images_of_its_size() -> None:
    """The run sets how far it has grown when it makes an image, as the task synthesis does."""
    generator = tiny_generator(mapped=False)
    generator.rgb, generator.to_rgb = "all", nn.ModuleList(ToRgb(8) for _ in range(3))
    model = FrameModel(generator)
    model.network.register_forward_pre_hook(lambda network, inputs: setattr(network.generator, "levels", 1))
    space = LatentSpace(model)
    with torch.no_grad():
        image = space.render(torch.from_numpy(space.styles_of_seeds([3])))
    assert image.shape == (1, 3, 16, 16)
    assert (image[..., ::2, ::2] == image[..., 1::2, 1::2]).all(), "it is not of 8×8 pixels, enlarged"
