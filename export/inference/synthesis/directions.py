"""Directions of a latent space: found without labels, or from two sets of examples.

- factorisation: the directions that the style weights amplify most, Shen and Zhou 2021 (SeFa),
  https://arxiv.org/abs/2007.06600. Nothing is generated.
- components: the principal components of the styles, Härkönen et al. 2020 (GANSpace),
  https://arxiv.org/abs/2004.02546.
- boundary: from examples without a property to examples with it, across the plane that separates them, Shen et al.
  2020 (InterFaceGAN), https://arxiv.org/abs/1907.10786.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.export.inference.synthesis.latent_space import LatentSpace, Styles
from gan_tasks.export.inference.synthesis.points import SUFFIX, Point, load_arrays, save_arrays

if TYPE_CHECKING:
    from torch import Tensor, nn

Method = Literal["factorisation", "components", "boundary"]
Floats = NDArray[np.float64]
MOST_VALUES = 2**22
DRAWS = 4096
"""Latents whose styles give the components, and the length of a step."""
RIDGE = 1.0
"""Weight of the squared normal of a boundary: examples are fewer than dimensions."""
NEWTON_STEPS = 30


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions in the styles of a model, the strongest first.

    vectors: K×D of length 1.
    scales: K standard deviations of the styles along each; an amount of 1 moves by one of them.
    strengths: K: of a component its share of the variance, of a factorisation its eigenvalue relative to the first,
        of a boundary the share of examples on their own side.
    layers: the layers that they were found for, and that they change unless others are given.
    """

    method: Method
    vectors: NDArray[np.float32]
    scales: NDArray[np.float32]
    strengths: NDArray[np.float32]
    layers: tuple[int, ...]

    def one(self, number: int) -> Directions:
        """Return one of the directions."""
        only = slice(number, number + 1)
        return replace(self, vectors=self.vectors[only], scales=self.scales[only], strengths=self.strengths[only])


def find_directions(
    space: LatentSpace,
    method: Method = "factorisation",
    *,
    count: int = 10,
    layers: Sequence[int] = (),
    label: int | None = None,
    examples: tuple[Sequence[Point], Sequence[Point]] | None = None,
) -> Directions:
    """Find directions in the styles of a model.

    Args:
        count: number of directions; a boundary is one.
        layers: the layers whose style weights are factorised, and that the directions change; empty for all.
        label: number of the class whose styles are drawn, for a conditional model.
        examples: two lists of points, without and with a property, for a boundary.

    Raises UserError for a boundary without examples, and for a network whose style weights are not found.
    """
    chosen = tuple(layers) or tuple(range(space.layer_count))
    free = space.free_length
    drawn = space.styles_of_seeds(range(DRAWS), label)[:, 0, :free].astype(np.float64)
    if method == "factorisation":
        vectors, strengths = factorised([w[:free] for layer, w in style_weights(space) if layer in chosen], count)
    elif method == "components":
        vectors, strengths = principal_components(drawn, count)
    else:
        if examples is None:
            raise UserError("a boundary needs two sets of examples: give --without and --having")
        first, second = (mean_styles(space, points, chosen)[:, :free] for points in examples)
        normal, share = boundary(first, second)
        vectors, strengths = normal[None], np.array([share])
    scales = (drawn @ vectors.T).std(0)
    vectors = np.pad(vectors, ((0, 0), (0, space.style_length - free)))  # a label behind the latent is not changed
    return Directions(
        method, vectors.astype(np.float32), scales.astype(np.float32), strengths.astype(np.float32), chosen
    )


# The methods. Weights are D×outputs, styles N×D; vectors are K×D of length 1.


def factorised(weights: Sequence[Floats], count: int) -> tuple[Floats, Floats]:
    """Return the eigenvectors of A·Aᵀ and the eigenvalues relative to the first.

    A holds the weights of all layers, D×outputs, each output with a weight of length 1.
    """
    if not weights:
        raise UserError("the network has no style weights in these layers: give others, or --method components")
    joined = np.concatenate(weights, axis=1).astype(np.float64)
    joined = joined / np.maximum(np.linalg.norm(joined, axis=0), 1e-12)
    values, vectors = np.linalg.eigh(joined @ joined.T)
    return signed(vectors.T[::-1][:count]), values[::-1][:count] / np.maximum(values[-1], 1e-12)


def principal_components(styles: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the eigenvectors of the covariance, and their shares of the variance."""
    values, vectors = np.linalg.eigh(np.cov(styles, rowvar=False).reshape(styles.shape[1], -1))
    return signed(vectors.T[::-1][:count]), values[::-1][:count] / np.maximum(values.sum(), 1e-12)


def boundary(first: Floats, second: Floats) -> tuple[Floats, float]:
    """Return the normal of the plane that separates two sets of styles, towards the second, and the share of styles
    on their own side.

    It is a logistic regression with a squared penalty of the normal, by Newton's method. Both sets have the same
    weight.

    Raises UserError for an empty set.
    """
    if not len(first) or not len(second):
        raise UserError("a boundary needs one or more examples on each side")
    points = np.concatenate([first, second]).astype(np.float64)
    is_second = np.repeat([0.0, 1.0], [len(first), len(second)])
    weights = np.repeat([0.5 / len(first), 0.5 / len(second)], [len(first), len(second)]) * len(points)
    centre, size = points.mean(0), float(np.maximum(points.std(), 1e-12))
    inputs = np.concatenate([(points - centre) / size, np.ones((len(points), 1))], axis=1)
    penalty = RIDGE * np.eye(inputs.shape[1])
    penalty[-1, -1] = 1e-6
    solution = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ solution, -30, 30)))
        gradient = inputs.T @ (weights * (chance - is_second)) + penalty @ solution
        curvature = (inputs * (weights * chance * (1 - chance))[:, None]).T @ inputs + penalty
        solution = solution - np.linalg.solve(curvature, gradient)
    share = float(np.mean((inputs @ solution > 0) == (is_second > 0)))
    normal = solution[:-1]
    return normal / np.maximum(np.linalg.norm(normal), 1e-12), share


def signed(vectors: Floats) -> Floats:
    """Return vectors of which the number of largest magnitude is positive, so that they are the same everywhere."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    return vectors * np.where(largest < 0, -1.0, 1.0)


def mean_styles(space: LatentSpace, points: Sequence[Point], layers: Sequence[int]) -> Floats:
    """Return the styles N×D of points, averaged over the layers."""
    return space.styles_of(points)[:, list(layers)].mean(1).astype(np.float64) if points else np.zeros((0, 0))


def style_weights(space: LatentSpace) -> list[tuple[int, Floats]]:
    """Return the weights D×outputs of the maps that take a style as it is, with the number of the style's layer.

    In StyleGAN these are the affine maps of all convolutions, and without a mapping network the first layer. They are
    found by an image whose styles have one value each: a map with an input of that value takes the style.
    """
    import torch

    length, found = space.style_length, list[tuple[int, Floats]]()
    values = torch.arange(1, space.layer_count + 1, device=next(space.generator.parameters()).device)
    styles = values.float()[None, :, None].expand(1, -1, length)

    def note(part: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        given, weight = inputs[0] if inputs else None, getattr(part, "weight", None)
        if not isinstance(given, torch.Tensor) or not isinstance(weight, torch.Tensor) or weight.ndim not in (2, 4):
            return
        if any(part.children()):  # one of its parts takes the style
            return
        if given.shape[0] != 1 or given.numel() != length:
            return
        layer = int(given.flatten()[0].round()) - 1
        if 0 <= layer < space.layer_count and torch.allclose(given, torch.full_like(given, layer + 1), rtol=1e-3):
            found.append((layer, as_columns(part, weight)))

    handles = [part.register_forward_hook(note) for part in space.generator.modules()]
    try:
        with torch.no_grad():
            space.render(styles)
    finally:
        for handle in handles:
            handle.remove()
    return found


def as_columns(layer: nn.Module, weight: Tensor) -> Floats:
    """Return the weight of a linear layer or a convolution as inputs×(outputs × places of the kernel)."""
    from torch import nn

    by_input = weight if isinstance(layer, nn.ConvTranspose2d) else weight.transpose(0, 1)
    columns: Floats = by_input.flatten(1).double().cpu().numpy()
    return columns


# Files.


def save_directions(path: Path, directions: Directions) -> None:
    """Write directions to an .npz file, atomically."""
    save_arrays(
        path,
        {
            "method": np.asarray(directions.method),
            "vectors": directions.vectors,
            "scales": directions.scales,
            "strengths": directions.strengths,
            "layers": np.asarray(directions.layers, np.int64),
        },
    )


def load_directions(path: Path) -> Directions:
    """Read the directions of an .npz file. Raises UserError for a file that holds none."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: expected an .npz file of `gan-tasks directions`")
    arrays = load_arrays(path, most_values=MOST_VALUES)
    try:
        method = str(arrays["method"])
        directions = Directions(
            "boundary" if method == "boundary" else "components" if method == "components" else "factorisation",
            arrays["vectors"].astype(np.float32),
            arrays["scales"].astype(np.float32),
            arrays["strengths"].astype(np.float32),
            tuple(int(each) for each in arrays["layers"]),
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path} holds no directions: expected an .npz file of `gan-tasks directions`") from error
    vectors, scales, layers = directions.vectors, directions.scales, directions.layers
    if vectors.ndim != 2 or not vectors.size or not scales.shape == directions.strengths.shape == vectors.shape[:1]:
        raise UserError(f"{path} holds no directions: vectors of the shape {vectors.shape}")
    if not np.isfinite(vectors).all() or not np.isfinite(scales).all() or min(layers, default=-1) < 0:
        raise UserError(f"{path} holds no directions: expected finite numbers, and layers from 0 on")
    return directions


def read_direction(text: str) -> Directions:
    """Return one direction of a file, from text such as `found.npz#2`. The first is 0, and the default.

    Raises UserError for a file that holds none, and for a number that it does not hold.
    """
    name, number = text, "0"
    if f"{SUFFIX}#" in text.lower():
        name, _, number = text.rpartition("#")
    directions = load_directions(Path(name))
    count = len(directions.vectors)
    if not (number.isascii() and number.isdecimal() and int(number[:9]) < count):
        raise UserError(f"{name} has no direction {number!r}: it holds {count}, numbered 0 to {count - 1}")
    return directions.one(int(number))


def moved(styles: Styles, directions: Directions, amounts: Sequence[float], layers: Sequence[int] = ()) -> Styles:
    """Return styles N×L×D moved along each direction, by its amount in standard deviations of the styles.

    layers: the layers that are changed; empty for those of the directions.

    Raises UserError for directions of another model.
    """
    if directions.vectors.shape[1] != styles.shape[2] or max(directions.layers, default=0) >= styles.shape[1]:
        raise UserError(
            f"directions of {directions.vectors.shape[1]} numbers, where the styles of the model have "
            f"{styles.shape[2]} in {styles.shape[1]} layers: they are of another model"
        )
    change = (np.asarray(amounts, np.float32) * directions.scales) @ directions.vectors
    result = styles.copy()
    result[:, list(layers or directions.layers)] += change
    return result
