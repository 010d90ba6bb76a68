"""Directions of networks whose factors are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_synthesis import FrameModel, tiny_generator, tiny_model
from torch import Tensor, nn
from torch.nn.functional import softplus

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.synthesis.directions import (
    boundary,
    factorised,
    find_directions,
    load_directions,
    moved,
    principal_components,
    read_direction,
    save_directions,
    style_weights,
)
from gan_tasks.export.inference.synthesis.edit import directions_to_files, edit, edit_to_file
from gan_tasks.export.inference.synthesis.generate import generate_points
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace
from gan_tasks.export.inference.synthesis.points import Point, read_point, save_point
from gan_tasks.export.inference.synthesis.seeds import points_in
from gan_tasks.networks.synthesis.frame import Mapping, SynthesisGenerator

LENGTH = 6


class TwoFactors(nn.Module):
    """Latents → 2×8×8: one direction of the latent brightens the first channel, an orthogonal one the second."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(LENGTH, 2 * 64, bias=False)
        rng = np.random.default_rng(0)
        self.factors = np.linalg.qr(rng.standard_normal((LENGTH, 2)))[0].T
        noise = 1e-3 * rng.standard_normal((128, LENGTH))
        rows = np.repeat([self.factors[0], self.factors[1]], [80, 48], axis=0)
        self.dense.weight.data = torch.from_numpy(0.2 * rows + noise).float()

    def forward(self, style: Tensor) -> Tensor:
        features: Tensor = self.dense(style)
        return torch.stack([features[:, :80].mean(1), features[:, 80:].mean(1)], dim=1)[..., None, None].expand(
            -1, -1, 8, 8
        )


class AsItIs(nn.Module):
    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return x.clone()


@pytest.fixture(scope="module")
def linear() -> LatentSpace:
    generator = SynthesisGenerator(
        mapping=Mapping(LENGTH),
        base=TwoFactors(),
        stages=[],
        to_rgb=[AsItIs()],
        rgb="last",
        output_size=(8, 8),
        out_channels=2,
    )
    return LatentSpace(FrameModel(generator))


def factors_of(space: LatentSpace) -> np.ndarray:
    base = space.generator.base
    assert isinstance(base, TwoFactors)
    return base.factors


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return abs(float(one @ other)) / float(np.linalg.norm(one) * np.linalg.norm(other))


def test_factorisation_finds_the_factors_of_a_linear_generator(linear: LatentSpace) -> None:
    found = find_directions(linear, "factorisation", count=3)
    for vector, factor in zip(found.vectors, factors_of(linear), strict=False):
        assert alike(vector, factor) > 0.999
    assert found.strengths[2] < 0.01 < found.strengths[1] < found.strengths[0] == 1
    np.testing.assert_allclose(found.scales, 1, atol=0.1)


def test_a_direction_changes_what_it_should_and_nothing_else(linear: LatentSpace) -> None:
    found = find_directions(linear, "factorisation", count=2)
    styles = linear.styles_of_seeds([1, 2, 3])
    before = linear.images(styles).astype(float).mean((1, 2))
    after = linear.images(moved(styles, found.one(1), [2.0])).astype(float).mean((1, 2))
    change = np.abs(after - before)
    assert (change[:, 1] > 40).all() and (change[:, 0] <= 1).all()


def test_a_boundary_points_to_the_examples_that_have_the_property(linear: LatentSpace) -> None:
    factor = factors_of(linear)[0]
    points = [Point(seed) for seed in range(200)]
    is_bright = linear.styles_of(points)[:, 0] @ factor > 0
    having = [point for point, bright in zip(points, is_bright, strict=True) if bright]
    without = [point for point, bright in zip(points, is_bright, strict=True) if not bright]
    found = find_directions(linear, "boundary", examples=(without, having))
    assert found.vectors[0] @ factor > 0.97
    assert found.strengths[0] > 0.9
    with pytest.raises(UserError, match="examples on each side"):
        find_directions(linear, "boundary", examples=([], having))
    with pytest.raises(UserError, match="two sets of examples"):
        find_directions(linear, "boundary")


def test_a_boundary_is_that_of_a_written_out_regression() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((30, 3)), rng.standard_normal((60, 3)) + np.float64([2, 0, 0])
    normal, share = boundary(first, second)
    points = torch.from_numpy(np.concatenate([first, second]))
    points = (points - points.mean(0)) / points.std(correction=0)
    solution = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([solution], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        margins = points @ solution[:3] + solution[3]
        own = softplus(margins[:30]).mean() + softplus(-margins[30:]).mean()
        total = 90 * 0.5 * own + 0.5 * solution[:3].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    expected = solution.detach()[:3].numpy()
    np.testing.assert_allclose(normal, expected / np.linalg.norm(expected), atol=1e-4)
    assert share > 0.7


def test_components_are_the_axes_of_the_variance() -> None:
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    styles = np.random.default_rng(2).standard_normal((2000, 4)) * [5, 3, 1, 0.1] @ axes
    vectors, shares = principal_components(styles, 3)
    for vector, axis in zip(vectors, axes, strict=False):
        assert alike(vector, axis) > 0.99
    np.testing.assert_allclose(shares, np.array([25, 9, 1]) / 35.01, atol=0.03)
    space = LatentSpace(tiny_model())
    found = find_directions(space, "components", count=2)
    drawn = space.styles_of_seeds(range(5000, 6000))[:, 0]
    assert found.scales[0] == pytest.approx((drawn @ found.vectors[0]).std(), rel=0.1)
    assert (drawn @ found.vectors[0]).std() > 0.99 * max(drawn.std(0))


def test_the_weights_of_styles_are_those_of_their_layers() -> None:
    generator = tiny_generator()
    weights = style_weights(LatentSpace(FrameModel(generator)))
    base, stages = generator.base, list(generator.stages)
    expected = [base.dense.weight, *(stage.affine.weight for stage in stages)]
    assert [layer for layer, _ in weights] == [0, 1, 2]
    for (_, columns), weight in zip(weights, expected, strict=True):
        np.testing.assert_allclose(columns, weight.detach().numpy().T)


@pytest.mark.parametrize("layer", ["transposed", "convolution"])
def test_the_weight_of_a_first_convolution_is_found(layer: str) -> None:
    conv = nn.ConvTranspose2d(LENGTH, 2, 4) if layer == "transposed" else nn.Conv2d(LENGTH, 2, 4, padding=3)
    generator = SynthesisGenerator(
        mapping=Mapping(LENGTH), base=nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), conv), stages=[], to_rgb=[AsItIs()],
        rgb="last", output_size=(4, 4), out_channels=2,
    )  # fmt: skip
    ((number, columns),) = style_weights(LatentSpace(FrameModel(generator)))
    weight = conv.weight.detach().numpy()
    by_input = weight if layer == "transposed" else weight.transpose(1, 0, 2, 3)
    assert number == 0
    np.testing.assert_allclose(columns, by_input.reshape(LENGTH, 32))


def test_a_block_with_a_weight_of_its_own_is_no_map_of_the_style() -> None:
    """Such as the Fourier input of StyleGAN3, which has an affine map and the weight of its channels."""
    generator = tiny_generator()
    generator.base.weight = nn.Parameter(torch.ones(3, 2))
    weights = style_weights(LatentSpace(FrameModel(generator)))
    assert [layer for layer, _ in weights] == [0, 1, 2]
    assert {len(columns) for _, columns in weights} == {generator.mapping.style_length}


def test_each_output_counts_alike_in_a_factorisation() -> None:
    weights = [np.diag([1.0, 1, 0]), np.float64([[0], [0], [100]]), np.float64([[1], [0], [0]])]
    vectors, strengths = factorised(weights, 3)
    np.testing.assert_allclose(np.abs(vectors[0]), [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(strengths, [1, 0.5, 0.5])


def test_a_label_behind_the_latent_is_not_changed() -> None:
    space = LatentSpace(tiny_model(mapped=False, classes=2))
    found = find_directions(space, "factorisation", label=1, count=3)
    assert (found.vectors[:, 6:] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    edited = edit(space, Point(3, label=1), found.one(0), [1.0])
    assert edited.label == 1 and edited.latent is not None and len(edited.latent) == 6


def test_only_the_chosen_layers_are_moved() -> None:
    space = LatentSpace(tiny_model())
    found = find_directions(space, "factorisation", layers=[0, 1], count=2)
    styles = space.styles_of_seeds([1])
    for layers, expected in (([], [True, True, False]), ([2], [False, False, True])):
        change = np.abs(moved(styles, found.one(0), [3.0], layers) - styles)[0].max(1)
        assert (change > 0).tolist() == expected
    change = moved(styles, found.one(0), [3.0]) - styles
    assert np.linalg.norm(change[0, 0]) == pytest.approx(3 * found.scales[0], rel=1e-3)


def test_directions_come_back_from_their_file(tmp_path: Path) -> None:
    space = LatentSpace(tiny_model())
    found = find_directions(space, "components", count=3)
    save_directions(tmp_path / "d.npz", found)
    again = load_directions(tmp_path / "d.npz")
    assert (again.method, again.layers) == ("components", (0, 1, 2))
    np.testing.assert_array_equal(read_direction(f"{tmp_path}/d.npz#2").vectors, found.vectors[2:])
    np.testing.assert_array_equal(read_direction(f"{tmp_path}/d.npz").scales, found.scales[:1])
    for text, message in (("d.npz#3", "no direction '3': it holds 3, numbered 0 to 2"), ("e.npz", "does not exist")):
        with pytest.raises(UserError, match=message):
            read_direction(f"{tmp_path}/{text}")
    save_point(tmp_path / "point.npz", Point(3))
    with pytest.raises(UserError, match="holds no directions"):
        load_directions(tmp_path / "point.npz")
    for changed in ({"layers": (-1,)}, {"layers": ()}, {"scales": found.scales[:1]}, {"vectors": found.vectors[:0]}):
        save_directions(tmp_path / "bad.npz", replace(found, **changed))
        with pytest.raises(UserError, match="holds no directions"):
            load_directions(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **{**np.load(tmp_path / "d.npz"), "layers": np.array([np.inf])})
    with pytest.raises(UserError, match="holds no directions"):
        load_directions(tmp_path / "bad.npz")
    with pytest.raises(UserError, match="they are of another model"):
        moved(np.zeros((1, 3, 7), np.float32), found.one(0), [1.0])


def test_edited_images_and_pictures_of_directions_are_written(tmp_path: Path) -> None:
    space = LatentSpace(tiny_model())
    found = find_directions(space, "factorisation", count=2)
    picture = directions_to_files(space, found, tmp_path / "d.npz", Point(1))
    assert picture == tmp_path / "d.png" and picture.is_file() and (tmp_path / "d.npz").is_file()
    save_point(tmp_path / "face.npz", Point(3))
    with pytest.raises(UserError, match=r"face.npz exists already and would be lost"):
        directions_to_files(space, found, tmp_path / "face.npz", Point(1))
    assert read_point(tmp_path / "face.npz").seed == 3
    directions_to_files(space, found, tmp_path / "d.npz", Point(1))
    directions_to_files(space, found, tmp_path / "face.npz", Point(1), overwrite=True)
    edit_to_file(space, Point(1), found.one(0), [2.0], tmp_path / "one.png")
    edit_to_file(space, read_point(tmp_path / "one.png"), found.one(0), [-2.0], tmp_path / "back.png")
    one, back, first = (
        each.pixels.astype(int)
        for each in generate_points(
            space.model, [read_point(tmp_path / "one.png"), read_point(tmp_path / "back.png"), Point(1)]
        )
    )
    assert np.abs(back - first).max() <= 1 < np.abs(one - first).max()


def test_a_folder_of_latents_is_a_set_of_examples(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no latents"):
        points_in(tmp_path)
    for number in (2, 1):
        save_point(tmp_path / f"{number}.npz", Point(number))
    (tmp_path / "1.png").write_bytes(b"not read, because there are .npz files")
    assert [point.seed for point in points_in(tmp_path)] == [1, 2]


class WithWeight(nn.Module):
    """A base with a weight of its own, that a map of the style scales, as the input of StyleGAN3 has it."""

    def __init__(self) -> None:
        super().__init__()
        self.affine, self.weight = nn.Linear(LENGTH, LENGTH), nn.Parameter(torch.ones(LENGTH, LENGTH))

    def forward(self, style: Tensor) -> Tensor:
        features: Tensor = (self.affine(style) @ self.weight)[:, :2, None, None]
        return features.expand(-1, -1, 4, 4)


def test_only_the_map_itself_takes_a_style() -> None:
    generator = SynthesisGenerator(
        mapping=Mapping(LENGTH), base=WithWeight(), stages=[], to_rgb=[AsItIs()], rgb="last", output_size=(4, 4),
        out_channels=2,
    )  # fmt: skip
    ((_, columns),) = style_weights(LatentSpace(FrameModel(generator)))
    assert isinstance(generator.base, WithWeight)
    np.testing.assert_allclose(columns, generator.base.affine.weight.detach().numpy().T)
