"""Inversion of generated images and of photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_vgg import shared_vgg16
from tiny import photo
from tiny_synthesis import tiny_model

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, read, to_float, write
from gan_tasks.export.inference.latents import draw_latent
from gan_tasks.export.inference.synthesis.generate import generate_points
from gan_tasks.export.inference.synthesis.inversion.feature_distance import load_features
from gan_tasks.export.inference.synthesis.inversion.invert import as_shown, invert, multi_scale, target_of
from gan_tasks.export.inference.synthesis.inversion.invert_files import invert_files
from gan_tasks.export.inference.synthesis.inversion.invert_options import InvertConfig
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import read_point

QUICK = InvertConfig(steps=60, features="none")


@pytest.mark.parametrize(("mapped", "stages"), [(True, 3), (False, 2)])
def test_a_generated_image_comes_back(mapped: bool, stages: int) -> None:
    space = LatentSpace(tiny_model(mapped=mapped, classes=2, stages=stages))
    image = space.images(space.styles_of_seeds([1000], label=1))[0]
    steps = list[float]()
    found = invert(space, image, QUICK, label=1, on_step=lambda done, total, psnr: steps.append(psnr))
    assert found.psnr > 30
    assert len(steps) == 60 and steps[-1] > steps[0]
    (again,) = generate_points(space.model, [found.point])
    assert np.abs(again.pixels.astype(int) - found.pixels).max() <= 1
    assert found.point.label == (None if mapped else 1)


def test_a_latent_keeps_the_length_of_drawn_ones() -> None:
    space = LatentSpace(tiny_model(mapped=False))
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    lengths = [
        np.linalg.norm(
            invert(space, noise, InvertConfig(steps=60, features="none", regularisation=weight)).point.latent
        )
        for weight in (0.0, 10.0)
    ]
    usual = np.mean([np.linalg.norm(draw_latent(seed, 6)) for seed in range(100)])
    assert abs(lengths[1] - usual) < 1 < abs(lengths[0] - usual)


def test_features_are_part_of_the_loss() -> None:
    """With features alone, and from one start, the image comes nearer in them."""
    space = LatentSpace(tiny_model())
    image = space.images(space.styles_of_seeds([1000]))[0]
    config = InvertConfig(steps=12, pixel=0.0, starts=1, features="vgg16", perceptual_weights=shared_vgg16())
    features = load_features(config)
    assert features.name == "the pixels and the features of vgg16"
    found = invert(space, image, config, features=features)
    start = space.images(np.tile(space.mean_style(), (1, 3, 1)))[0]
    images = [torch.from_numpy(to_float(each))[None] for each in (image, start, found.pixels)]
    own, before, after = (float(features.distance(each, features.of(images[0]))) for each in images)
    assert own == 0 and after < before / 2


def test_the_error_of_pixels_is_the_mean_over_sizes() -> None:
    one, other = torch.zeros(2, 3, 16, 8), torch.ones(1, 3, 16, 8)
    assert multi_scale(one, other).tolist() == [1, 1]
    checkers = torch.tensor([1.0, -1.0]).repeat(4).expand(2, 3, 16, 8)
    assert multi_scale(checkers, 0 * other).tolist() == [0.5, 0.5]


def test_a_photograph_is_cropped_and_resized() -> None:
    space = LatentSpace(tiny_model())
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[:, 16:48] = 200
    assert target_of(space, wide).shape == (16, 16, 3)
    assert (target_of(space, wide) == 200).all()
    assert (target_of(space, np.full((8, 8, 1), 40000, np.uint16)) == 156).all()


def test_photographs_become_latents_images_and_comparisons(tmp_path: Path) -> None:
    model = tiny_model()
    write(tmp_path / "face.png", Picture(photo(30, 40, seed=1)))
    config = InvertConfig(steps=5, features="none")
    (done,) = invert_files(LatentSpace(model), [tmp_path / "face.png"], tmp_path / "out", config, quiet=True)
    assert done.psnr is not None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "face-comparison.png",
        "face.npz",
        "face.png",
    ]
    images = list(generate_points(model, [read_point(tmp_path / "out" / name) for name in ("face.npz", "face.png")]))
    assert (images[0].pixels == images[1].pixels).all()
    assert np.abs(images[0].pixels.astype(int) - read(tmp_path / "out" / "face.png").pixels).max() <= 1
    (kept,) = invert_files(LatentSpace(model), [tmp_path / "face.png"], tmp_path / "out", config, quiet=True)
    assert kept.psnr is None
    other = InvertConfig(steps=6, features="none")
    (again,) = invert_files(LatentSpace(model), [tmp_path / "face.png"], tmp_path / "out", other, quiet=True)
    assert again.psnr is not None


def test_files_of_others_and_photographs_are_not_replaced(tmp_path: Path) -> None:
    space, config, out = LatentSpace(tiny_model()), InvertConfig(steps=1, features="none"), tmp_path / "out"
    for name in ("a.png", "a-comparison.jpg", "out/a-comparison.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, Picture(photo(16, 16, seed=1)))
    with pytest.raises(UserError, match=r"a-comparison.png exists already, and gan-tasks did not make it"):
        invert_files(space, [tmp_path / "a.png"], out, config, quiet=True)
    invert_files(space, [tmp_path / "a.png"], out, config, overwrite=True, quiet=True)
    np.savez(out / "a.npz", other=np.ones(3))
    with pytest.raises(UserError, match=r"a.npz exists already and would be lost"):
        invert_files(space, [tmp_path / "a.png"], out, config, quiet=True)
    with pytest.raises(UserError, match=r"would both become .*a-comparison.png"):
        invert_files(space, [tmp_path / "a.png", tmp_path / "a-comparison.jpg"], out, config, quiet=True)
    with pytest.raises(UserError, match=r"a.png would replace a photograph"):
        invert_files(space, [tmp_path / "a.png"], tmp_path, config, overwrite=True, quiet=True)


def test_values_beyond_the_range_are_as_good_as_its_ends() -> None:
    images = torch.tensor([3.0, -3.0, 3.0, 0.5]).view(1, 1, 2, 2).requires_grad_()
    shown = as_shown(images, torch.tensor([1.0, -1.0, 0.5, 1.0]).view(1, 1, 2, 2))
    assert shown.flatten().tolist() == [1, -1, 3, 0.5]
    shown.sum().backward()
    assert images.grad is not None and images.grad.flatten().tolist() == [0, 0, 1, 1]
