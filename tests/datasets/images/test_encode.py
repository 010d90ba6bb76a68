"""Read the files of `write` back with other decoders and with `read`."""

import os
import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

from gan_tasks.datasets.images import Coding, ImageError, Picture, atomic, read, to_srgb, write
from gan_tasks.datasets.images.colour_spaces import BT709, Curve, gray_profile, rgb_profile

RNG = np.random.default_rng(0)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/">made by a machine – ü</x:xmpmeta>'.encode()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SMOOTH = np.dstack([np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))] * 3)


def noise(channels: int, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (11, 14, channels), dtype=dtype)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_keep_all_values(suffix: str, channels: int, dtype: type, tmp_path: Path) -> None:
    pixels = noise(channels, dtype)
    write(tmp_path / f"x{suffix}", Picture(pixels))
    back = read(tmp_path / f"x{suffix}").pixels
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, pixels)


@settings(deadline=None, max_examples=30)
@given(
    pixels=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])).flatmap(
        lambda shape: arrays(np.uint16, shape)
    )
)
def test_opencv_reads_16_bit_png_exactly(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("png") / "x.png"
    write(path, Picture(pixels))
    values = np.atleast_3d(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    np.testing.assert_array_equal(values[..., order], pixels)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_floats_and_many_channels_are_kept(suffix: str, channels: int, tmp_path: Path) -> None:
    pixels = RNG.uniform(-1, 1, (6, 5, channels)).astype(np.float32)
    write(tmp_path / f"x{suffix}", Picture(pixels))
    np.testing.assert_array_equal(read(tmp_path / f"x{suffix}").pixels, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".bmp"])
def test_16_bits_are_rounded_in_8_bit_formats(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, Picture(np.minimum(SMOOTH, 254).astype(np.uint16) * 257 + 100))
    np.testing.assert_allclose(read(path).pixels.astype(int), SMOOTH.astype(int), atol=8)


def test_quality_changes_the_file_size(tmp_path: Path) -> None:
    for suffix in (".jpg", ".webp"):
        sizes = []
        for quality in (20, 95):
            write(tmp_path / f"x{suffix}", Picture(noise(3)), quality=quality)
            sizes.append((tmp_path / f"x{suffix}").stat().st_size)
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_icc_profile_and_xmp_are_written(suffix: str, dtype: type, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, Picture(noise(3, dtype), SRGB), xmp=XMP)
    assert read(path).icc_profile == SRGB
    if suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            assert bytes(file.pages.first.tags.valueof(700)) == XMP
            return
    with Image.open(path) as image:
        assert image.info["icc_profile"] == SRGB
        packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
        assert (packet.encode() if isinstance(packet, str) else packet) == XMP


def test_icc_profile_for_other_channels_is_not_written(tmp_path: Path) -> None:
    write(tmp_path / "gray.png", Picture(noise(1), SRGB))
    assert read(tmp_path / "gray.png").icc_profile is None


def test_a_format_without_profiles_gets_srgb(tmp_path: Path) -> None:
    picture = Picture(noise(3), rgb_profile(Curve(1.0), BT709))
    write(tmp_path / "x.bmp", picture)
    np.testing.assert_array_equal(read(tmp_path / "x.bmp").pixels, to_srgb(picture).pixels)
    assert np.abs(to_srgb(picture).pixels.astype(int) - picture.pixels).max() > 30


def test_gray_in_a_webp_is_srgb_because_a_webp_has_no_gray(tmp_path: Path) -> None:
    picture = Picture(SMOOTH[..., :1], gray_profile(Curve(1.0)))
    write(tmp_path / "x.webp", picture)
    found = read(tmp_path / "x.webp")
    assert found.icc_profile is None
    np.testing.assert_allclose(found.pixels.astype(int), to_srgb(picture).pixels.repeat(3, 2), atol=6)


EDGES = np.kron(RNG.integers(0, 2, (6, 7, 3)) * 255, np.ones((9, 9, 1))).astype(np.uint8)
"""Saturated colours, with edges that are not on the grid of the chroma."""


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [((1, 1), (1, 1)), ((2, 1), (2, 1)), ((2, 2), (2, 2)), ((1, 2), (1, 1)), ((4, 1), (2, 1)), (None, (1, 1))],
)
def test_a_jpeg_keeps_the_chroma_subsampling(
    sampling: tuple[int, int] | None, expected: tuple[int, int], tmp_path: Path
) -> None:
    write(tmp_path / "x.jpg", Picture(EDGES, coding=Coding(subsampling=sampling)))
    found = read(tmp_path / "x.jpg")
    assert found.coding.subsampling == expected
    error = np.abs(found.pixels.astype(int) - EDGES).mean()
    assert error < 2 if expected == (1, 1) else error > 2


def test_a_gray_jpeg_has_no_chroma(tmp_path: Path) -> None:
    write(tmp_path / "x.jpg", Picture(EDGES[..., :1], coding=Coding(subsampling=(2, 2))))
    assert read(tmp_path / "x.jpg").pixels.shape[2] == 1


@pytest.mark.parametrize("channels", [3, 4])
def test_a_lossless_webp_stays_lossless(channels: int, tmp_path: Path) -> None:
    pixels = noise(channels)
    pixels[:4, ..., -1] = 0  # transparent pixels have colours too
    for lossless in (True, False):
        write(tmp_path / "x.webp", Picture(pixels, SRGB, Coding(is_lossless_webp=lossless)), xmp=XMP)
        found = read(tmp_path / "x.webp")
        assert found.coding.is_lossless_webp == lossless and found.icc_profile == SRGB
        assert np.array_equal(found.pixels, pixels) == lossless


def test_16_bits_are_rounded_in_a_webp_with_loss(tmp_path: Path) -> None:
    write(tmp_path / "x.webp", Picture(noise(3, np.uint16), coding=Coding(is_lossless_webp=True)))
    assert not read(tmp_path / "x.webp").coding.is_lossless_webp


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("x.jpg", noise(4), "png"),
        ("x.jpg", noise(2), "png"),
        ("x.png", noise(5), "5 channels"),
        ("x.png", np.zeros((3, 3, 3), np.float32), "float"),
        ("x.gif", noise(3), "cannot write .gif"),
        ("x", noise(3), "without a suffix"),
    ],
)
def test_unsupported_pixels_and_formats_are_rejected(
    name: str, pixels: np.ndarray, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=reason):
        write(tmp_path / name, Picture(pixels))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.bmp", "x.npy"])
def test_xmp_is_rejected_by_formats_without_metadata(name: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="XMP"):
        write(tmp_path / name, Picture(noise(3)), xmp=XMP)


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    write(path, Picture(SMOOTH))

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write(path, Picture(255 - SMOOTH))
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]
    np.testing.assert_array_equal(read(path).pixels, SMOOTH)


def test_files_have_default_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic.write_bytes(tmp_path / "atomic", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1
