"""Inpainting of files: finding masks, errors, and results that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_onnx import FILL, write_filler, write_onnx
from PIL import Image, ImageCms

from gan_tasks.apps.cli.commands.inspect import inspect
from gan_tasks.apps.cli.main import main
from gan_tasks.datasets.images import Picture, Pixels, fit_channels, read, write
from gan_tasks.datasets.masks.files import DEFAULT_THRESHOLD
from gan_tasks.export.inference.inpaint_options import MaskFiles
from gan_tasks.export.inference.provenance import read_xmp

BAD_INPUT = 2
ORANGE = [round(255 * value) for value in FILL]
HARD = ("--feather-px", "0", "--no-match-colour")
SIZE = (20, 30)
PLACE = np.zeros(SIZE, np.bool_)
PLACE[5:12, 8:20] = True


def noise(channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture(rng.integers(0, np.iinfo(dtype).max, (*SIZE, channels)).astype(dtype))


def mask_of(mask: Any = PLACE) -> Picture:
    return Picture(np.where(mask, 255, 0).astype(np.uint8)[..., None])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_filler(tmp_path / "fill.onnx")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write(tmp_path / "photo.png", noise())
    return tmp_path / "photo.png"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    write(tmp_path / "mask.png", mask_of())
    return tmp_path / "mask.png"


def apply(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as exited:
        main(["apply", *map(str, arguments)])
    assert isinstance(exited.value.code, int)
    return exited.value.code


def expected(pixels: Pixels, mask: Any = PLACE) -> Pixels:
    """The expected 8-bit RGB pixels with a hard edge."""
    return np.where(mask[..., None], np.array(ORANGE, np.uint8), pixels)


def test_one_image_with_a_mask(
    model: Path, image: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    assert apply(model, image, out, "--mask", mask, *HARD) == 0
    assert np.array_equal(read(out).pixels, expected(read(image).pixels))
    mark = read_xmp(out)
    assert mark is not None
    assert (mark.source_type, mark.model) == ("compositeWithTrainedAlgorithmicMedia", "Orange")
    assert "1 image written" in capsys.readouterr().err


def test_a_video_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"a video")
    write(tmp_path / "mask.png", mask_of())
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "apply",
                str(model),
                *(str(tmp_path / n) for n in ("clip.mp4", "o.mp4")),
                "--mask",
                f"{tmp_path}/mask.png",
            ]
        )
    assert ended.value.code == BAD_INPUT
    assert "inpaints images only: give images" in capsys.readouterr().err


def test_threshold_inversion_and_dilation_of_masks(model: Path, image: Path, tmp_path: Path) -> None:
    levels = np.full((*SIZE, 1), 200, np.uint8)
    levels[PLACE] = 100
    write(tmp_path / "dark.png", Picture(levels))
    dilated_mask = np.zeros(SIZE, np.bool_)
    dilated_mask[3:14, 6:22] = True
    options = ("--mask-threshold", "150", "--invert-mask", "--dilate-px", "2")
    assert apply(model, image, tmp_path / "out.png", "--mask", tmp_path / "dark.png", *options, *HARD) == 0
    assert np.array_equal(read(tmp_path / "out.png").pixels, expected(read(image).pixels, dilated_mask))


def test_the_default_threshold_equals_that_of_the_training() -> None:
    assert MaskFiles().mask_threshold == DEFAULT_THRESHOLD


@pytest.mark.parametrize("strategy", ["crop", "resize", "original"])
def test_the_feathered_edge_is_inside_the_boundary(
    strategy: str, model: Path, image: Path, mask: Path, tmp_path: Path
) -> None:
    assert apply(model, image, tmp_path / "out.png", "--mask", mask, "--strategy", strategy) == 0
    before, after = read(image).pixels, read(tmp_path / "out.png").pixels
    assert np.array_equal(after[~PLACE], before[~PLACE]) and not np.array_equal(after, expected(before))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_channels_depth_and_profile_are_kept(
    channels: int, dtype: type, suffix: str, model: Path, mask: Path, tmp_path: Path
) -> None:
    image = noise(channels, dtype)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if channels > 2 else None
    write(tmp_path / f"in{suffix}", Picture(image.pixels, profile))
    assert apply(model, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", "--mask", mask, *HARD) == 0
    result = read(tmp_path / f"out{suffix}")
    assert result.pixels.dtype == dtype and result.icc_profile == profile
    assert np.array_equal(result.pixels[~PLACE], image.pixels[~PLACE])
    orange = np.array(FILL, np.float32)[None, None] * np.iinfo(dtype).max
    colour = fit_channels(np.rint(orange).astype(dtype), 1 if channels < 3 else 3)[0, 0].astype(int)
    assert np.abs(result.pixels[PLACE][:, : len(colour)].astype(int) - colour).max() <= 1
    if channels in (2, 4):
        assert np.array_equal(result.pixels[..., -1], image.pixels[..., -1])


def test_the_mask_applies_after_exif_orientation(model: Path, mask: Path, tmp_path: Path) -> None:
    """The image is stored rotated, as by a camera, and its EXIF orientation turns it upright."""
    turned = Image.fromarray(np.rot90(noise().pixels).copy())  # 90° anticlockwise; orientation 6 reverts it
    exif = Image.Exif()
    exif[274] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert apply(model, tmp_path / "turned.png", tmp_path / "out.png", "--mask", mask, *HARD) == 0
    assert np.array_equal(read(tmp_path / "out.png").pixels, expected(noise().pixels))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three images, one in a subfolder, with a mask for each; one mask is a painted layer."""
    images, masks = tmp_path / "in", tmp_path / "masks"
    for folder in (images, masks):
        (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "sub/a")):
        write(images / f"{name}.png", noise(seed=number))
        write(masks / f"{name}.webp", mask_of(np.roll(PLACE, number, axis=1)))
    (masks / "b.webp").unlink()
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[np.roll(PLACE, 1, axis=1)] = (0, 0, 0, 255)
    write(masks / "b.png", Picture(layer))
    return images, masks


def test_masks_of_a_folder_are_found_by_name_and_subfolder(
    model: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    images, masks = folders
    assert apply(model, images, tmp_path / "out", "--mask", masks, *HARD) == 0
    for number, name in enumerate(("a", "b", "sub/a")):
        mask = np.roll(PLACE, number, axis=1)
        assert np.array_equal(
            read(tmp_path / "out" / f"{name}.png").pixels, expected(noise(seed=number).pixels, mask)
        )


def test_one_mask_for_all_images(model: Path, folders: tuple[Path, Path], mask: Path, tmp_path: Path) -> None:
    assert apply(model, folders[0], tmp_path / "out", "--mask", mask, *HARD) == 0
    assert np.array_equal(read(tmp_path / "out" / "sub" / "a.png").pixels, expected(noise(seed=2).pixels))


def test_masks_in_the_folder_of_images_are_not_inputs(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = folders
    masks.rename(images / "masks")
    assert apply(model, images, tmp_path / "out", "--mask", images / "masks") == 0
    assert "3 images written" in capsys.readouterr().err


def test_images_without_a_valid_mask_are_failures(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = folders
    for name in ("c", "d", "e", "f", "g"):
        write(images / f"{name}.png", noise())
    write(masks / "d.png", Picture(np.zeros((20, 31, 1), np.uint8)))
    write(masks / "e.png", mask_of(np.ones(SIZE, np.bool_)))
    for suffix in (".png", ".bmp"):
        write(masks / f"f{suffix}", mask_of())
    (masks / "g.png").write_text("no image")
    assert apply(model, images, tmp_path / "out", "--mask", masks) == BAD_INPUT
    printed = capsys.readouterr().err
    assert f"c.png: has no mask; expected {masks / 'c'}.png" in printed
    assert "d.png: is 31 × 20 px but its image is 30 × 20 px" in printed
    assert "e.png: all pixels are masked, expected some unmasked" in printed
    assert "f.png: has 2 files for a mask, f.bmp and f.png" in printed
    assert "g.png: is not an image in a known format" in printed
    assert "3 of 8 images written" in printed


def test_an_empty_mask_copies_the_image_without_the_mark_of_a_model(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "empty.png", mask_of(np.zeros(SIZE, np.bool_)))
    command = (model, image, tmp_path / "out.png", "--mask", tmp_path / "empty.png")
    assert apply(*command) == 0
    assert f"{image}: the mask is empty: there is nothing to fill" in capsys.readouterr().err
    assert np.array_equal(read(tmp_path / "out.png").pixels, read(image).pixels)
    mark = read_xmp(tmp_path / "out.png")
    assert mark is not None and (mark.source_type, mark.model, mark.model_version) == ("", "", "")
    assert any(line.startswith("written with gan-tasks") for line in inspect(tmp_path / "out.png"))
    assert apply(*command) == 0
    assert "1 were there already" in capsys.readouterr().err


@pytest.mark.parametrize("levels", [np.array([0, 1], np.uint8), np.array([0, 1], np.uint16)])
def test_a_mask_of_0_and_1_is_filled(levels: Pixels, model: Path, image: Path, tmp_path: Path) -> None:
    write(tmp_path / "mask.png", Picture(levels[PLACE.astype(int)][..., None]))
    assert apply(model, image, tmp_path / "out.png", "--mask", tmp_path / "mask.png", *HARD) == 0
    out = read(tmp_path / "out.png").pixels
    assert (out[PLACE] == ORANGE).all() and np.array_equal(out[~PLACE], read(image).pixels[~PLACE])


def test_a_mask_below_the_threshold_is_not_empty_but_refused(
    model: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft = np.where(PLACE, 76, 0)
    soft[5] //= 2
    write(tmp_path / "mask.png", Picture(soft.astype(np.uint8)[..., None]))
    command = (model, image, tmp_path / "out.png", "--mask", tmp_path / "mask.png", *HARD)
    assert apply(*command) == BAD_INPUT
    assert "its values are 0 to 76: try --mask-threshold 38" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
    assert apply(*command, "--mask-threshold", "38") == 0
    assert (read(tmp_path / "out.png").pixels[PLACE] == ORANGE).all()


def test_hidden_files_are_no_masks(model: Path, image: Path, mask: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    mask.rename(tmp_path / "masks" / "photo.png")
    (tmp_path / "masks" / "._photo.png").write_bytes(b"AppleDouble")
    (tmp_path / "masks" / "photo.txt").write_bytes(b"notes")
    assert apply(model, image, tmp_path / "out.png", "--mask", tmp_path / "masks") == 0


def test_a_sketch_changes_the_output(image: Path, mask: Path, tmp_path: Path) -> None:
    model = write_filler(tmp_path / "sketch.onnx", sketch=True)
    lines = np.zeros(SIZE, np.bool_)
    lines[8, 8:20] = True
    write(tmp_path / "lines.png", mask_of(lines))
    out = tmp_path / "out.png"
    assert apply(model, image, out, "--mask", mask, "--sketch", tmp_path / "lines.png", *HARD) == 0
    wanted = expected(read(image).pixels)
    wanted[lines] = 0
    assert np.array_equal(read(out).pixels, wanted)
    write(tmp_path / "small.png", Picture(np.zeros((9, 9, 1), np.uint8)))
    assert apply(model, image, out, "--mask", mask, "--sketch", tmp_path / "small.png") == BAD_INPUT


# Continuing an earlier run.


def test_results_of_other_masks_or_options_are_made_again(
    model: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = folders

    def written(*options: str) -> int:
        assert apply(model, images, tmp_path / "out", "--mask", masks, *options) == 0
        return int(capsys.readouterr().err.replace(" of 3", "").split(" images written")[0].split()[-1])

    assert written() == 3
    assert written() == 0
    write(masks / "a.webp", mask_of(np.roll(PLACE, 5, axis=0)))
    assert written() == 1
    assert written() == 0
    for options in (
        ("--feather-px", "3"),
        ("--dilate-px", "1"),
        ("--strategy", "resize"),
        ("--no-match-colour",),
        ("--mask-threshold", "90"),
        ("--invert-mask",),
    ):
        assert written(*options) == 3, options
        assert written(*options) == 0, options


def test_results_of_another_sketch_are_made_again(
    image: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_filler(tmp_path / "sketch.onnx", sketch=True)
    command = (model, image, tmp_path / "out.png", "--mask", mask)
    for row in (6, 9):
        lines = np.zeros(SIZE, np.bool_)
        lines[row] = True
        write(tmp_path / "lines.png", mask_of(lines))
        assert apply(*command, "--sketch", tmp_path / "lines.png") == 0
        assert "1 image written" in capsys.readouterr().err
        assert apply(*command, "--sketch", tmp_path / "lines.png") == 0
        assert "1 were there already" in capsys.readouterr().err
    assert apply(*command) == 0
    assert "1 image written" in capsys.readouterr().err


# Errors before anything is written.


def test_arguments_that_do_not_fit_are_refused(
    model: Path, image: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean, out = write_onnx(tmp_path / "mean.onnx"), tmp_path / "out.png"
    missing = tmp_path / "missing.png"
    for arguments, words in (
        ((model, image, out), "Orange inpaints: give a mask with --mask"),
        ((mean, image, out, "--mask", mask), "does not inpaint: leave out --mask"),
        ((mean, image, out, "--dilate-px", "3"), "does not inpaint: leave out --mask"),
        ((model, image, out, "--mask", mask, "--sketch", mask), "was trained without sketches"),
        ((model, image, out, "--mask", missing), f"{missing} does not exist: give a mask or a folder"),
        ((model, image, out, "--mask", mask, "--mask-threshold", "0"), "expected a number from 1 to 255"),
        ((model, image, out, "--mask", mask, "--feather-px", "-1"), "feather_px is -1: expected a number from 0"),
        ((model, image, mask, "--mask", mask, "--overwrite"), "would replace a mask"),
    ):
        assert apply(*arguments) == BAD_INPUT
        assert words in capsys.readouterr().err
    assert not out.exists()
