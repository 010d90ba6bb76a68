"""Seeds as people write them, and points in files and marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.inference.synthesis.points import Point, from_text, load_point, read_point, save_point, to_text
from gan_tasks.export.inference.synthesis.seeds import parse_points, parse_seeds


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("0-3,70") == (0, 1, 2, 3, 70)
    assert parse_seeds(" 5 , 2-2 ") == (5, 2)
    assert parse_seeds(str(2**63 - 1)) == (2**63 - 1,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no seeds in ''"),
        ("1,x", "'x' in the seeds '1,x' is no seed"),
        ("-3", "'-3' in the seeds"),
        ("3-", "'3-' in the seeds"),
        ("1.5", "is no seed"),
        ("7-3", "the range 7-3 is empty: give the smaller seed first, 3-7"),
        (str(2**63), "is no seed"),
        ("0-99999999999", "expected at most 1,000,000"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_seeds(text)


POINTS = (
    Point(3, label=2, truncation=0.7),
    Point(2**63 - 1),
    Point(latent=np.float32([0.1, -2, 1e-9]), label=1),
    Point(styles=np.random.default_rng(0).standard_normal((3, 5), np.float32)),
)


def same(one: Point, other: Point) -> bool:
    arrays = [(one.latent, other.latent), (one.styles, other.styles)]
    return (one.seed, one.label, one.truncation) == (other.seed, other.label, other.truncation) and all(
        np.array_equal(a, b) if a is not None and b is not None else a is b for a, b in arrays
    )


@pytest.mark.parametrize("point", POINTS)
def test_a_point_comes_back_from_text_files_and_marks(point: Point, tmp_path: Path) -> None:
    assert same(from_text(to_text(point)), point)
    save_point(tmp_path / "point.npz", point)
    write(
        tmp_path / "image.png",
        Picture(np.zeros((4, 4, 3), np.uint8)),
        xmp=xmp("m", "1", generated_from=to_text(point)),
    )
    assert same(load_point(tmp_path / "point.npz"), point)
    assert same(read_point(tmp_path / "image.png"), point)


def test_seeds_and_files_become_points_by_the_names_of_results(tmp_path: Path) -> None:
    face = tmp_path / "face.npz"
    save_point(face, POINTS[2])
    points = parse_points(f"7,{face}", label=1, truncation=0.5)
    assert list(points) == ["seed0007", "face"]
    assert same(points["seed0007"], Point(7, label=1, truncation=0.5))
    assert same(points["face"], POINTS[2])
    with pytest.raises(UserError, match="two results would be called face"):
        parse_points(f"{face},{face}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "3",
        "[]",
        '{"seed": -1}',
        '{"seed": null}',
        '{"latent": "!"}',
        '{"styles": "AAAA", "layers": 2}',
        '{"seed": 1e999}',
    ],
)
def test_text_of_no_point_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        from_text(text)


def test_files_of_no_point_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    np.savez(tmp_path / "bad.npz", latent=np.float32([np.nan]))
    np.savez(tmp_path / "pickled.npz", latent=np.array([{}], object))
    write(tmp_path / "photo.png", Picture(np.zeros((4, 4, 3), np.uint8)))
    for name, message in (
        ("text.npz", "no whole .npz file"),
        ("other.npz", "holds no latent"),
        ("bad.npz", "finite numbers"),
        ("pickled.npz", "no whole .npz file"),
        ("photo.png", "does not say what it was generated from"),
        ("missing.npz", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            read_point(tmp_path / name)
