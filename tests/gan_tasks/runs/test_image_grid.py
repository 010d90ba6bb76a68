from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gan_tasks.runs.image_grid import GAP_PX, TITLE_HEIGHT_PX, grid, save_grid, sheet

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def plain(colour: tuple[int, ...], height: int = 160, width: int = 160) -> NDArray[np.uint8]:
    return np.full((height, width, len(colour)), colour, dtype=np.uint8)


def cell(pixels: NDArray[np.uint8], row: int, column: int, size: int) -> NDArray[np.uint8]:
    top, left = TITLE_HEIGHT_PX + row * (size + GAP_PX), GAP_PX + column * (size + GAP_PX)
    return pixels[top : top + size, left : left + size]


def test_each_image_is_in_its_cell_unchanged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    made = grid([[plain(RED), plain(GREEN)], [plain(BLUE), noise]], ["source", "output"])
    for row, column, expected in ((0, 0, plain(RED)), (0, 1, plain(GREEN)), (1, 0, plain(BLUE)), (1, 1, noise)):
        np.testing.assert_array_equal(cell(made, row, column, 160), expected)


def test_titles_are_dark_on_white_above_their_columns() -> None:
    made = grid([[plain(RED), plain(GREEN)]], ["", "output"])
    titles = made[:TITLE_HEIGHT_PX]
    assert (titles[:, : GAP_PX + 160] == 255).all()
    assert titles[:, GAP_PX + 160 :].min() < 80


def test_a_long_title_does_not_exceed_its_column() -> None:
    made = grid([[plain(RED), plain(GREEN)]], ["a title that is far too long for a column of 160 pixels", ""])
    assert (made[:TITLE_HEIGHT_PX, GAP_PX + 160 + GAP_PX :] == 255).all()


@pytest.mark.parametrize(
    ("colour", "shown"),
    [
        ((90,), (90, 90, 90)),
        ((90, 255), (90, 90, 90)),
        ((*RED, 255), RED),
        ((*RED, 0), (216, 216, 216)),
        ((1, 2, 3, 4, 5), (1, 2, 3)),
    ],
    ids=["gray", "gray and alpha", "opaque", "transparent", "five channels"],
)
def test_any_number_of_channels_is_shown(colour: tuple[int, ...], shown: tuple[int, int, int]) -> None:
    made = grid([[plain(colour)]], ["it"])
    np.testing.assert_array_equal(cell(made, 0, 0, 160), plain(shown))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 600), st.integers(1, 600)), min_size=1, max_size=3))
def test_cells_are_at_most_256_px_and_readable_for_any_sizes(sizes: list[tuple[int, int]]) -> None:
    made = grid([[plain(RED, *size) for size in sizes]], ["x"] * len(sizes))
    height = made.shape[0] - TITLE_HEIGHT_PX - GAP_PX
    width = (made.shape[1] - GAP_PX) // len(sizes) - GAP_PX
    assert 128 <= max(height, width) <= 256
    assert made.dtype == np.uint8


def test_a_small_image_is_enlarged_by_nearest_neighbour() -> None:
    checks = np.kron(np.indices((4, 4)).sum(0) % 2 * 255, np.ones((1, 1)))[..., None].astype(np.uint8)
    made = grid([[checks, plain(RED, 256, 256)]], ["low resolution", "target"])
    expected = np.kron(checks[..., 0], np.ones((64, 64), np.uint8))
    np.testing.assert_array_equal(cell(made, 0, 0, 256)[..., 0], expected)


def test_a_large_image_is_reduced_by_averaging() -> None:
    checks = np.indices((512, 512)).sum(0)[..., None] % 2 * np.uint8(200)
    made = grid([[checks.astype(np.uint8)]], ["checks of one pixel"])
    np.testing.assert_array_equal(cell(made, 0, 0, 256), plain((100, 100, 100), 256, 256))


@pytest.mark.parametrize(
    ("rows", "titles", "message"),
    [
        ([], ["a"], "0 rows"),
        ([[plain(RED)]], ["a", "b"], "row 0 has 1 images, expected 2"),
        ([[plain(RED).astype(np.float32)]], ["a"], "float32"),
        ([[plain(RED)[..., 0]]], ["a"], r"\(160, 160\)"),
    ],
)
def test_grid_refuses_wrong_shapes_and_types(
    rows: list[list[NDArray[np.uint8]]], titles: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        grid(rows, titles)


def test_save_grid_writes_the_grid_as_png(tmp_path: Path) -> None:
    path = tmp_path / "samples" / "step-00000001.png"
    save_grid(path, [[plain(RED)]], ["source"])
    with Image.open(path) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.array(image), grid([[plain(RED)]], ["source"]))


def test_a_grid_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples" / "step-00000001.png"
    save_grid(path, [[plain(RED)]], ["source"])
    before = path.read_bytes()

    def half(image: Image.Image, file: Path, **_: str) -> None:
        file.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="full"):
        save_grid(path, [[plain(RED)]], ["source"])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_sheet_has_images_row_by_row_and_white_places() -> None:
    made = sheet([plain(RED), plain(GREEN), plain(BLUE)], columns=2)
    assert made.shape == (2 * (160 + GAP_PX) + GAP_PX, 2 * (160 + GAP_PX) + GAP_PX, 3)
    for row, column, expected in ((0, 0, RED), (0, 1, GREEN), (1, 0, BLUE), (1, 1, (255, 255, 255))):
        top, left = GAP_PX + row * (160 + GAP_PX), GAP_PX + column * (160 + GAP_PX)
        np.testing.assert_array_equal(made[top : top + 160, left : left + 160], plain(expected))
    assert sheet([plain(RED)], columns=8).shape == (160 + 2 * GAP_PX, 160 + 2 * GAP_PX, 3)
