"""The colour space of a PNG file: cICP before iCCP before sRGB before gAMA and cHRM (PNG, third edition, 4.3)."""

import struct
from dataclasses import dataclass

from gan_tasks.datasets.images.colour_spaces import BT709, SRGB_CURVE, Curve, Primaries, gray_profile, rgb_profile
from gan_tasks.datasets.images.icc import usable
from gan_tasks.datasets.images.png_chunks import Header, inflated_profile

PngChunks = tuple[tuple[bytes, bytes], ...]
_SRGB_GAMMA = 0.45455
"""gAMA of sRGB files (PNG, 11.3.2.5)."""
_SAME_GAMMA, _SAME_CHROMATICITY = 0.05, 0.002
"""Relative and absolute differences that are not visible; libpng has the same 5 % of gamma."""
_GAMMAS = (0.1, 10.0)
"""Values out of this range are mistakes."""

# ITU-T H.273, tables 2 and 3: the codes of cICP that a profile of curves and a matrix can express.
_BT709_CURVE = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
_CICP_PRIMARIES = {
    1: BT709,
    5: Primaries((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: Primaries((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: Primaries((0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    9: Primaries((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    11: Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), white=(0.314, 0.351)),
    12: Primaries((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
_CICP_CURVES = {
    1: _BT709_CURVE,
    4: Curve(2.2),
    5: Curve(2.8),
    6: _BT709_CURVE,
    8: Curve(1.0),
    13: SRGB_CURVE,
    14: _BT709_CURVE,
    15: _BT709_CURVE,
}
_CICP_NAMES = {16: "HDR with PQ", 18: "HDR with HLG"}


@dataclass(frozen=True)
class PngColour:
    """The colour space of a PNG file.

    icc_profile: None means sRGB.
    chunks: those that define the colour space, for a PNG with the same pixel values. They are written beside the
        profile, for programs that read only one of the two.
    note: a remark for the user, if the profile does not say what the chunks say.
    """

    icc_profile: bytes | None
    chunks: PngChunks = ()
    note: str = ""


def colour_of(header: Header) -> PngColour:
    """Return the colour space; damaged chunks are ignored, and so is a profile for other channels."""
    chunks = header.chunks
    profile, note = usable(inflated_profile(chunks.get(b"iCCP", b"")), 1 if header.is_gray else 3)
    if len(chunks.get(b"cICP", b"")) == 4:
        return _of_cicp(header, profile)
    gamma = _present(header, b"gAMA", *(() if header.is_gray else (b"cHRM",)))
    if profile is not None or note:
        return PngColour(profile, gamma, note)
    if b"sRGB" in chunks:
        return PngColour(None)
    return _of_gamma(header, gamma)


def _of_cicp(header: Header, profile: bytes | None) -> PngColour:
    kept = _present(header, b"cICP", b"mDCV", b"cLLI")
    primaries, transfer, matrix, is_full_range = header.chunks[b"cICP"]
    if matrix == 0 and is_full_range == 1 and primaries in _CICP_PRIMARIES and transfer in _CICP_CURVES:
        made = _made(header.is_gray, _CICP_CURVES[transfer], _CICP_PRIMARIES[primaries])
        return PngColour(made, kept if made else ())
    what = _CICP_NAMES.get(transfer, "of a colour space that has no ICC profile")
    note = (
        f"its colours are {what} (cICP {primaries}/{transfer}/{matrix}/{is_full_range}): the model takes them for "
        "ordinary colours, and only a PNG result keeps the label; convert the image to sRGB first for right colours"
    )
    return PngColour(profile, kept, note)


def _of_gamma(header: Header, kept: PngChunks) -> PngColour:
    gamma, primaries = _gamma(header), _chromaticities(header)
    if primaries is None and (gamma is None or abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA):
        return PngColour(None)
    made = _made(header.is_gray, SRGB_CURVE if gamma is None else Curve(1 / gamma), primaries or BT709)
    return PngColour(made, kept if made else ())


def _made(is_gray: bool, curve: Curve, primaries: Primaries) -> bytes | None:
    """Return a profile; None for sRGB, and for gray values of its curve."""
    if is_gray:
        return None if curve == SRGB_CURVE else gray_profile(curve)
    return None if (curve, primaries) == (SRGB_CURVE, BT709) else rgb_profile(curve, primaries)


def _gamma(header: Header) -> float | None:
    """Return the gamma of gAMA; None if there is none or it is a mistake."""
    body = header.chunks.get(b"gAMA", b"")
    gamma = struct.unpack(">I", body)[0] / 100_000 if len(body) == 4 else 0.0
    return gamma if _GAMMAS[0] <= gamma <= _GAMMAS[1] else None


def _chromaticities(header: Header) -> Primaries | None:
    """Return the primaries of cHRM; None if there are none, or they are impossible, or they are those of sRGB."""
    body = header.chunks.get(b"cHRM", b"")
    if header.is_gray or len(body) != 32:
        return None
    wx, wy, rx, ry, gx, gy, bx, by = (value / 100_000 for (value,) in struct.iter_unpack(">I", body))
    primaries = Primaries((rx, ry), (gx, gy), (bx, by), (wx, wy))
    pairs = zip((rx, ry, gx, gy, bx, by, wx, wy), (*BT709.red, *BT709.green, *BT709.blue, *BT709.white), strict=True)
    if all(abs(one - other) <= _SAME_CHROMATICITY for one, other in pairs):
        return None
    try:
        rgb_profile(SRGB_CURVE, primaries)
    except (ValueError, struct.error):
        return None
    return primaries


def _present(header: Header, *names: bytes) -> PngChunks:
    return tuple((name, header.chunks[name]) for name in names if name in header.chunks)
