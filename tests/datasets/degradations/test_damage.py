"""Drawn damage: each kind is what its description says, its mask is where it shows, and gray stays gray."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny import photo

from gan_tasks.datasets.degradations import damage
from gan_tasks.datasets.degradations.damage import KINDS, Kind, Piece

SIZE = 96, 128
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.draw.__name__)


def drawn(kind: Kind, count: int = 12) -> list[Piece]:
    return [kind.draw(np.random.default_rng(seed), *SIZE) for seed in range(count)]


def rectangle(rng: np.random.Generator, height: int, width: int) -> Piece:
    """A piece whose result is known: half of a warm white, over 10×20 pixels."""
    opacity = np.zeros((height, width), np.float32)
    opacity[30:40, 50:70] = 0.5
    return Piece(opacity, np.array((250, 240, 230), np.float32))


@EACH_KIND
def test_a_piece_is_an_opacity_and_a_colour(kind: Kind) -> None:
    pieces = drawn(kind)
    for opacity, colour in pieces:
        assert opacity.shape == SIZE and colour.shape == (3,)
        assert opacity.min() >= 0 and opacity.max() <= 1 and colour.min() >= 0 and colour.max() <= 255
    assert len({tuple(piece.colour) for piece in pieces}) > len(pieces) / 2


def most_opaque(kind: Kind) -> list[float]:
    return [float(piece.opacity.max()) for piece in drawn(kind)]


def covered(kind: Kind) -> list[float]:
    return [float((piece.opacity > 0.1).mean()) for piece in drawn(kind)]


def test_each_kind_is_as_large_and_as_opaque_as_it_is_said_to_be() -> None:
    stain, patch, _, scratch, specks = KINDS
    assert max(most_opaque(stain)) <= 0.9 and min(most_opaque(stain)) < 0.5
    assert np.median(most_opaque(patch)) > 0.85  # the surface is torn off
    assert max(covered(scratch)) < 0.1 and max(covered(specks)) < 0.05
    assert max(covered(stain)) > 0.1


def test_a_fold_crosses_the_whole_photograph() -> None:
    for piece in drawn(KINDS[2]):
        there = piece.opacity > 0.05
        borders = there[0], there[-1], there[:, 0], there[:, -1]
        assert sum(border.any() for border in borders) >= 2


@pytest.mark.parametrize("level", [None, 100])
def test_only_the_given_kinds_are_painted_and_the_mask_is_where(level: int | None) -> None:
    clean = photo(*SIZE, seed=0) // 2 if level is None else np.full((*SIZE, 3), level, np.uint8)
    damaged, mask = damage.degrade(clean, np.random.default_rng(0), (Kind(rectangle, 0.0),))
    expected = np.zeros(SIZE, bool)
    expected[30:40, 50:70] = True
    assert np.array_equal(mask, expected) and np.array_equal(damaged[~mask], clean[~mask])
    colour = (250, 240, 230) if level is None else (240, 240, 240)  # gray damage of a gray photograph
    assert np.abs(damaged[mask] - (clean[mask] + np.array(colour)) / 2).max() <= 0.5


@EACH_KIND
def test_damage_of_a_gray_photograph_is_gray(kind: Kind) -> None:
    gray = np.repeat(photo(*SIZE, seed=0, channels=1), 3, axis=2)
    damaged, mask = damage.degrade(gray, np.random.default_rng(3), (kind,))
    assert mask.any() and (damaged == damaged[..., :1]).all()


@pytest.mark.parametrize(("levels", "visible"), [(4, False), (5, True)])
def test_changes_of_a_few_levels_are_invisible_and_not_in_the_mask(levels: int, visible: bool) -> None:
    pixels = np.full((*SIZE, 3), (250 - 2 * levels, 240, 230), np.uint8)
    damaged, mask = damage.degrade(pixels, np.random.default_rng(0), (Kind(rectangle, 0.0),))
    assert damaged[35, 60, 0] == pixels[35, 60, 0] + levels and mask.any() == visible


def pieces_of(kind: Kind, height: int, width: int) -> float:
    """Return the mean number of pieces of photographs of a size."""
    return float(
        np.mean(
            [len(list(damage.pieces(np.random.default_rng(seed), height, width, (kind,)))) for seed in range(300)]
        )
    )


def test_the_number_of_pieces_grows_with_the_area_up_to_a_limit() -> None:
    nothing = Kind(lambda rng, height, width: Piece(np.zeros((1, 1), np.float32), np.zeros(3, np.float32)), 2.5)
    assert pieces_of(nothing, 256, 256) == pytest.approx(4 * 2.5, rel=0.15)
    assert pieces_of(nothing, 10_000, 10_000) == pytest.approx(damage.LARGEST_AREA * 2.5, rel=0.15)
    assert pieces_of(nothing._replace(mean=0.0), 128, 128) == 1  # there is always one


def test_half_of_the_photographs_get_gray_film_grain() -> None:
    clean = np.full((64, 64, 3), (120, 130, 140), np.uint8)
    deviations = []
    for seed in range(60):
        grain: NDArray[np.int64] = damage.with_grain(clean, np.random.default_rng(seed)).astype(int) - clean
        assert (grain == grain[..., :1]).all()
        deviations.append(grain.std())
    assert 0.3 < np.mean(np.array(deviations) > 0) < 0.7
    assert 9 < max(deviations) < 12.5
