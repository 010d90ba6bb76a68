"""Compare the conversion to sRGB with LittleCMS, and with profiles that are built by hand."""

import io
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from gan_tasks.datasets.images import Coding, Picture, to_srgb
from gan_tasks.datasets.images.colour_spaces import BT709, SRGB_CURVE, Curve, Primaries, gray_profile, rgb_profile
from gan_tasks.datasets.images.icc import MAX_PROFILE_BYTES, fits, usable

RNG = np.random.default_rng(0)
SRGB = ImageCms.createProfile("sRGB")
P3 = Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))
DCI = Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), white=(0.314, 0.351))
ADOBE = Primaries((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROFILES = {
    "Display P3": rgb_profile(SRGB_CURVE, P3),
    "Adobe": rgb_profile(Curve(2.2), ADOBE),
    "DCI": rgb_profile(Curve(2.6), DCI),
    "linear": rgb_profile(Curve(1.0), BT709),
    "sRGB of LittleCMS": ImageCms.ImageCmsProfile(SRGB).tobytes(),
    "gray": gray_profile(Curve(1.8)),
}


def with_curve(profile: bytes, tag: bytes, curve: bytes) -> bytes:
    """Append a curve to a profile, and let the tag point to it."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entry = next(at for at in range(132, 132 + 12 * count, 12) if profile[at : at + 4] == tag)
    changed = profile[: entry + 4] + struct.pack(">II", len(profile), len(curve)) + profile[entry + 12 :] + curve
    return struct.pack(">I", len(changed)) + changed[4:]


def para(kind: int, *values: float) -> bytes:
    return struct.pack(f">4s4xHxx{len(values)}i", b"para", kind, *(round(value * 65536) for value in values))


def curv(*values: int) -> bytes:
    return struct.pack(f">4s4xI{len(values)}H", b"curv", len(values), *values)


def by_littlecms(pixels: NDArray[np.uint8], profile: bytes) -> NDArray[np.int64]:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = np.asarray(ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB"))
    return converted[..., : pixels.shape[2]].astype(int)


@pytest.mark.parametrize("name", PROFILES)
def test_colours_are_those_of_littlecms(name: str) -> None:
    profile = PROFILES[name]
    pixels = RNG.integers(30, 256, (20, 30, 1 if name == "gray" else 3), dtype=np.uint8)
    expected = by_littlecms(pixels, profile)
    converted = to_srgb(Picture(pixels, profile))
    assert converted.icc_profile is None
    assert np.abs(converted.pixels - expected).max() <= 1
    deep = to_srgb(Picture(pixels.astype(np.uint16) * np.uint16(257), profile)).pixels
    assert deep.dtype == np.uint16 and np.abs(deep / 257 - expected).max() < 1.1


def test_16_bits_stay_16_bits() -> None:
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(16, -1, 1)
    assert len(np.unique(to_srgb(Picture(ramp, PROFILES["gray"])).pixels)) > 4000


@pytest.mark.parametrize(
    ("curve", "exponent"),
    [
        (curv(), 1.0),
        (curv(int(1.8 * 256)), int(1.8 * 256) / 256),
        (curv(*(round(65535 * (value / 999) ** 2) for value in range(1000))), 2.0),
        (para(0, 1.8), 1.8),
        (para(1, 2.0, 1.0, 0.0), 2.0),
        (para(3, 2.0, 1.0, 0.0, 0.0, 0.0), 2.0),
        (para(4, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0), 2.0),  # by LittleCMS, 8 bits
    ],
    ids=["identity", "exponent", "table", "type 0", "type 1", "type 3", "type 4"],
)
def test_every_kind_of_curve_is_read(curve: bytes, exponent: float) -> None:
    profile = with_curve(PROFILES["gray"], b"kTRC", curve)
    pixels = np.arange(20, 256, dtype=np.uint8)[None, :, None]
    light = (pixels / 255) ** exponent
    expected = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    np.testing.assert_allclose(to_srgb(Picture(pixels, profile)).pixels, expected, atol=1.1)


def test_alpha_is_not_converted_and_png_chunks_are_dropped() -> None:
    pixels = RNG.integers(0, 256, (5, 6, 4), dtype=np.uint8)
    converted = to_srgb(Picture(pixels, PROFILES["linear"], Coding((2, 2), png_chunks=((b"gAMA", b"1234"),))))
    np.testing.assert_array_equal(converted.pixels[..., 3], pixels[..., 3])
    assert converted.coding == Coding((2, 2))
    assert np.abs(converted.pixels[..., :3].astype(int) - pixels[..., :3]).max() > 30


def test_a_profile_of_other_channels_is_applied_to_gray_levels() -> None:
    gray = RNG.integers(30, 256, (5, 6, 1), dtype=np.uint8)
    expected = by_littlecms(gray.repeat(3, 2), PROFILES["linear"])[..., :1]
    assert np.abs(to_srgb(Picture(gray, PROFILES["linear"])).pixels - expected).max() <= 1
    colours = RNG.integers(30, 256, (5, 6, 3), dtype=np.uint8)
    each = [by_littlecms(colours[..., [channel]], PROFILES["gray"]) for channel in range(3)]
    assert np.abs(to_srgb(Picture(colours, PROFILES["gray"])).pixels - np.concatenate(each, axis=2)).max() <= 1


DAMAGED = {
    "no profile": b"not a profile" * 30,
    "header alone": PROFILES["Adobe"][:128],
    "cut": PROFILES["Adobe"][:300],
    "cut in the tags": PROFILES["Adobe"][:170],
    "unknown curve": with_curve(PROFILES["Adobe"], b"gTRC", b"none\0\0\0\0\0\0\0\0"),
    "short curve": with_curve(PROFILES["gray"], b"kTRC", para(3, 2.0)),
    "endless values": with_curve(PROFILES["gray"], b"kTRC", para(0, -2.0)),
    "no slope": with_curve(PROFILES["gray"], b"kTRC", para(1, 2.0, 0.0, 0.0)),
    "millions of tags": PROFILES["Adobe"][:128] + b"\xff\xff\xff\xff" + PROFILES["Adobe"][132:],
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_damaged_profiles_do_no_harm(kind: str, channels: int, dtype: type) -> None:
    pixels = RNG.integers(0, 256, (5, 6, channels)).astype(dtype)
    converted = to_srgb(Picture(pixels, DAMAGED[kind]))
    assert converted.icc_profile is None and converted.pixels.shape == pixels.shape
    assert converted.pixels.dtype == dtype
    if kind in ("no profile", "header alone"):
        np.testing.assert_array_equal(converted.pixels, pixels)


def test_profiles_that_can_be_used() -> None:
    assert fits(PROFILES["gray"], 2) and fits(PROFILES["Adobe"], 4)
    assert not fits(PROFILES["gray"], 3) and not fits(PROFILES["Adobe"], 1) and not fits(b"", 3)
    assert usable(PROFILES["gray"], 1) == (PROFILES["gray"], "")
    assert usable(PROFILES["gray"], 3) == (None, "") and usable(None, 3) == (None, "")
    profile, note = usable(PROFILES["Adobe"] + b"\0" * MAX_PROFILE_BYTES, 3)
    assert profile is None and "more than 8 MiB" in note


def test_impossible_primaries_are_refused() -> None:
    for wrong in (Primaries((0.3, 0.0), (0.3, 0.6), (0.15, 0.06)), Primaries((0.3, 0.3), (0.3, 0.3), (0.15, 0.06))):
        with pytest.raises(ValueError, match=r"light|line"):
            rgb_profile(SRGB_CURVE, wrong)
