"""Seeds as people write them, and points in files and marks."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Picture, write
from gan_tasks.export.inference.provenance import xmp
from gan_tasks.export.inference.synthesis.points import Point, from_text, load_point, read_point, save_point, to_text
from gan_tasks.export.inference.synthesis.seeds import named_points, parse_points, parse_seeds


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
    points = named_points(f"7,{face},7,{face}", label=1, truncation=0.5)
    assert list(points) == ["seed0007", "face"]
    assert same(points["seed0007"], Point(7, label=1, truncation=0.5))
    assert same(points["face"], POINTS[2])
    for name, text in (("face", f"{face},{tmp_path}/b/face.npz"), ("seed0003", f"{tmp_path}/seed0003.npz,0-5")):
        save_point(Path(text.partition(",")[0]), POINTS[2])
        save_point(tmp_path / "b" / "face.npz", POINTS[3])
        with pytest.raises(UserError, match=f"two results would be called {name}"):
            named_points(text)


def test_a_list_keeps_points_that_stand_in_it_twice(tmp_path: Path) -> None:
    save_point(tmp_path / "face.npz", POINTS[0])
    points = parse_points(f"1,{tmp_path}/face.npz,5,1-2")
    assert [point.seed for point in points] == [1, 3, 5, 1, 2]


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


def with_header(header: bytes, path: Path, *, encrypted: bool = False) -> None:
    """Write an archive with one member of these bytes."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("latent.npy", header)
    if encrypted:
        data = bytearray(path.read_bytes())
        data[6] |= 1
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)


def npy_bytes(shape: str, dtype: str = "<f4") -> bytes:
    """The bytes of an array of zeros that claims a shape."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(16)


@pytest.mark.parametrize(
    "content",
    [
        b"bytes",
        npy_bytes("(5,)"),
        npy_bytes("(1099511627776, 1048576)"),
        npy_bytes("(-4,)"),
        npy_bytes("(1099511627776,)", "<U0"),
        npy_bytes("(2,)", "|O"),
        npy_bytes("(" * 3000),
    ],
)
def test_damaged_arrays_are_refused(content: bytes, tmp_path: Path) -> None:
    with_header(content, tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"no whole .npz file"):
        read_point(tmp_path / "a.npz")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    with_header(npy_bytes("(4,)"), tmp_path / "encrypted.npz", encrypted=True)
    np.savez_compressed(tmp_path / "stream.npz", latent=np.ones(1000, np.float32))
    data = bytearray((tmp_path / "stream.npz").read_bytes())
    data[62:70] = b"\xff" * 8
    (tmp_path / "stream.npz").write_bytes(data)
    for name in ("encrypted.npz", "stream.npz"):
        with pytest.raises(UserError, match=r"no whole .npz file"):
            read_point(tmp_path / name)
    np.savez(tmp_path / "infinite.npz", seed=np.float32(np.inf))
    with pytest.raises(UserError, match="infinity"):
        read_point(tmp_path / "infinite.npz")


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
