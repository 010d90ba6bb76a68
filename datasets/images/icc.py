"""ICC profiles: whether one fits the channels of an image, and how pixels are converted to sRGB.

Profiles of curves and a matrix are read here, for any bit depth (ICC.1:2022,
https://www.color.org/specification/ICC.1-2022-05.pdf). Pillow's LittleCMS converts with all others, in 8 bits.
"""

import struct
from collections.abc import Collection
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.colour_spaces import BT709, HEADER_BYTES, Curve
from gan_tasks.datasets.images.pixels import Picture, Pixels, fit_channels

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PROFILE_BYTES = 8 * 2**20
"""Larger profiles are ignored; those of cameras and printers have up to about 4 MB."""
_PIXELS_AT_ONCE = 2**20
_PIPELINES = tuple(f"{way}{intent}".encode() for way in ("D2B", "B2D") for intent in range(4))
ColourKind = Literal["gray", "rgb"]
COLOUR_KINDS: frozenset[ColourKind] = frozenset(("gray", "rgb"))
"""Kinds of pixels for which there are profiles."""


def colour_kind(channels: int) -> ColourKind:
    """Return the kind of pixels with this number of channels, alpha included."""
    return "gray" if channels <= 2 else "rgb"


def fits(profile: bytes, channels: int) -> bool:
    """Return whether a profile is for pixels with this number of channels, alpha included."""
    return _colour_space(profile) == {"gray": b"GRAY", "rgb": b"RGB "}[colour_kind(channels)]


def usable(profile: bytes | None, channels: int) -> tuple[bytes | None, str]:
    """Return a file's profile, or None if it is damaged, too large, or for other channels than the file has.

    The second value is a remark for the user; empty except for profiles that are too large. Viewers ignore profiles
    for other channels too.
    """
    if profile is not None and len(profile) > MAX_PROFILE_BYTES:
        return None, f"its colour profile has more than {MAX_PROFILE_BYTES // 2**20} MiB and is ignored"
    return (profile, "") if profile is not None and fits(profile, channels) else (None, "")


def _colour_space(profile: bytes) -> bytes:
    """Return the field "data colour space" of the header; empty if the bytes are no ICC profile."""
    return profile[16:20] if len(profile) > HEADER_BYTES and profile[36:40] == b"acsp" else b""


def with_kept_profile(picture: Picture, kinds: Collection[ColourKind]) -> Picture:
    """Return the picture if it is of one of the kinds, and else with its colours converted to sRGB."""
    return picture if colour_kind(picture.pixels.shape[2]) in kinds else to_srgb(picture)


def to_srgb(picture: Picture) -> Picture:
    """Convert the colours from the picture's profile to sRGB; alpha is unchanged.

    A gray profile is applied to each channel, and a profile for RGB to gray pixels as to R = G = B. Float pixels, and
    pixels of a damaged profile or of one for other colours, are taken for sRGB.
    """
    profile, pixels = picture.icc_profile, picture.pixels
    if profile is None:
        return picture
    if pixels.dtype.kind == "u" and pixels.shape[2] <= 4:
        colours = 1 if pixels.shape[2] <= 2 else 3
        converted = _converted(pixels[..., :colours], profile)
        pixels = np.concatenate([converted, pixels[..., colours:]], axis=2)
    return replace(picture, pixels=pixels, icc_profile=None, coding=replace(picture.coding, png_chunks=()))


def _converted(colour: Pixels, profile: bytes) -> Pixels:
    space = _colour_space(profile)
    if space == b"GRAY":
        return _gray_to_srgb(colour, profile)
    if space == b"RGB ":
        return fit_channels(_rgb_to_srgb(fit_channels(colour, 3), profile), colour.shape[2])
    return colour


def _gray_to_srgb(colour: Pixels, profile: bytes) -> Pixels:
    levels = np.arange(np.iinfo(colour.dtype).max + 1, dtype=colour.dtype)
    try:
        if profile[20:24] != b"XYZ ":
            raise ValueError("the curve does not give light")
        light = _curve(profile, b"kTRC", levels / levels[-1])
    except (ValueError, struct.error):
        table = _by_littlecms(levels[None, :, None], profile)[0, :, 0]
    else:
        table = np.rint(_srgb_of(light) * levels[-1]).astype(colour.dtype)
    return table[colour]


def _rgb_to_srgb(colour: Pixels, profile: bytes) -> Pixels:
    levels = np.linspace(0, 1, np.iinfo(colour.dtype).max + 1)
    try:
        if b"A2B0" in _tags(profile):
            raise ValueError("the profile has a table")
        light = [_curve(profile, tag, levels).astype(np.float32) for tag in (b"rTRC", b"gTRC", b"bTRC")]
        columns = [_numbers(_tags(profile)[tag][8:20]) for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (KeyError, ValueError, struct.error):
        return _by_littlecms(colour, profile)
    to_linear_srgb = (np.linalg.inv(BT709.to_xyz()) @ np.array(columns).T).astype(np.float32)
    result = np.empty_like(colour)
    rows = max(1, _PIXELS_AT_ONCE // colour.shape[1])
    for top in range(0, len(colour), rows):
        part = colour[top : top + rows]
        linear = np.stack([light[channel][part[..., channel]] for channel in range(3)], axis=2) @ to_linear_srgb.T
        result[top : top + rows] = np.rint(_srgb_of(linear) * (len(levels) - 1))
    return result


def _srgb_of(light: NDArray[Any]) -> NDArray[Any]:
    light = np.clip(light, 0, 1)
    return np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


def _by_littlecms(colour: Pixels, profile: bytes) -> Pixels:
    """Convert with 8 bits, for profiles with tables; of damaged profiles return the pixels."""
    from PIL.Image import fromarray

    eight_bits = colour if colour.dtype == np.uint8 else np.rint(colour / np.float32(257)).astype(np.uint8)
    image = fromarray(eight_bits[..., 0] if colour.shape[2] == 1 else eight_bits)
    converted = converted_to_srgb(image, profile)
    if converted is None:
        return colour
    values = np.asarray(converted)[..., : colour.shape[2]]
    return values if colour.dtype == np.uint8 else values.astype(np.uint16) * np.uint16(257)


def converted_to_srgb(image: "Image", profile: bytes) -> "Image | None":
    """Convert the colours with LittleCMS, 8 bits per channel; None for a profile that does not fit or is damaged."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(without_pipelines(profile)))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return None


def without_pipelines(profile: bytes) -> bytes:
    """Rename the tags of floating-point conversions, so that LittleCMS uses the tables beside them.

    They may have any number of steps (multiProcessElementsType), and each is computed for each pixel.
    """
    end = HEADER_BYTES + 4 + 12 * 100  # LittleCMS reads no more tags
    changed = bytearray(profile)
    for at in range(HEADER_BYTES + 4, min(end, len(profile) - 11), 12):
        if changed[at : at + 4] in _PIPELINES:
            changed[at : at + 4] = changed[at : at + 4].lower()
    return bytes(changed)


# Reading


def _tags(profile: bytes) -> dict[bytes, memoryview]:
    """Return the tags without a copy: all of them may be the whole profile."""
    whole = memoryview(profile)
    (count,) = struct.unpack_from(">I", profile, HEADER_BYTES)
    places = struct.iter_unpack(">4sII", profile[HEADER_BYTES + 4 :][: 12 * min(count, 100)])
    return {tag: whole[offset : offset + size] for tag, offset, size in places}


def _curve(profile: bytes, tag: bytes, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of values in [0, 1]. Raises ValueError or struct.error for a curve that cannot be read."""
    data = _tags(profile).get(tag, memoryview(b""))
    with np.errstate(all="ignore"):
        light = _parametric(data, x) if bytes(data[:4]) == b"para" else _sampled(data, x)
    if not np.isfinite(light).all():
        raise ValueError("the curve has values that are not finite")
    return light


def _parametric(data: memoryview, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a curve of the types 0, 1 or 3; the others are rare."""
    match struct.unpack_from(">H", data, 8)[0], _numbers(data[12:]):
        case 0, [g, *_]:
            return Curve(g)(x)
        case 1, [g, a, b, *_] if a != 0:
            return Curve(g, a, b, 0.0, -b / a)(x)
        case 3, [g, a, b, c, d, *_]:
            return Curve(g, a, b, c, d)(x)
        case kind, _:
            raise ValueError(f"a parametric curve of type {kind}")


def _sampled(data: memoryview, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a curve of equidistant values, or of one exponent, or of none."""
    if bytes(data[:4]) != b"curv":
        raise ValueError("the profile has no curve")
    (count,) = struct.unpack_from(">I", data, 8)
    values = np.frombuffer(data, ">u2", count, offset=12).astype(np.float64)
    if count == 0:
        return x
    if count == 1:
        return np.power(x, float(values[0]) / 256)
    return np.interp(x, np.linspace(0, 1, count), values / 65535)


def _numbers(data: memoryview) -> list[float]:
    """Return numbers of the type s15Fixed16."""
    return [value / 65536 for (value,) in struct.iter_unpack(">i", data[: len(data) // 4 * 4])]
