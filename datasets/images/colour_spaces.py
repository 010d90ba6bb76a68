"""Colour spaces of curves and primaries, and the ICC profiles that say the same.

ICC.1:2022, https://www.color.org/specification/ICC.1-2022-05.pdf
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
"""XYZ of the white of ICC profiles."""
HEADER_BYTES = 128
"""Size of the header of an ICC profile."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Curve:
    """The light of a value x: (a·x + b)^g where x ≥ d, else c·x. This is ICC's parametric curve of type 3."""

    g: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(x >= self.d, np.maximum(self.a * x + self.b, 0) ** self.g, self.c * x)


@dataclass(frozen=True)
class Primaries:
    """CIE xy chromaticities of red, green, blue and white."""

    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float] = (0.3127, 0.3290)  # D65

    def to_xyz(self) -> NDArray[np.float64]:
        """Return the 3×3 matrix from linear RGB to XYZ relative to D50. Raises ValueError for impossible ones."""
        adaptation = self.adaptation()
        columns = np.array([_xyz(xy) for xy in (self.red, self.green, self.blue)]).T
        try:
            light = np.linalg.solve(columns, _xyz(self.white))
        except np.linalg.LinAlgError as error:
            raise ValueError("the primaries lie on a line") from error
        matrix: NDArray[np.float64] = adaptation @ (columns * light)
        return matrix

    def adaptation(self) -> NDArray[np.float64]:
        """Return the 3×3 matrix that adapts XYZ from the white to D50 (Bradford)."""
        cone_ratio = (_BRADFORD @ D50) / (_BRADFORD @ _xyz(self.white))
        matrix: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(cone_ratio) @ _BRADFORD
        return matrix


def _xyz(xy: tuple[float, float]) -> NDArray[np.float64]:
    x, y = xy
    if y <= 0:
        raise ValueError("a chromaticity has no light")
    return np.array([x / y, 1.0, (1 - x - y) / y])


SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""IEC 61966-2-1."""
BT709 = Primaries((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
"""Also those of sRGB."""


def gray_profile(curve: Curve) -> bytes:
    """Return a profile for gray pixels, version 4.4."""
    return _profile(b"GRAY", {b"wtpt": _xyz_tag(D50), b"kTRC": _curve_tag(curve)})


def rgb_profile(curve: Curve, primaries: Primaries) -> bytes:
    """Return a profile for RGB pixels, version 4.4. Raises ValueError for impossible primaries."""
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.to_xyz().T, strict=True)
    return _profile(
        b"RGB ",
        {b"wtpt": _xyz_tag(D50), b"chad": b"sf32\0\0\0\0" + _fixed(primaries.adaptation().ravel())}
        | {tag: _xyz_tag(column) for tag, column in columns}
        | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve_tag(curve)),
    )


def _profile(colour_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text_tag("Colours of the file"), b"cprt": _text_tag("No copyright")} | tags
    body, entries = b"", b""
    start = HEADER_BYTES + 4 + 12 * len(tags)
    for tag, data in tags.items():
        entries += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(
        ">I4xI4s4s4s6H4s28x",
        start + len(body),
        0x04400000,
        b"mntr",
        colour_space,
        b"XYZ ",
        2000,
        1,
        1,
        0,
        0,
        0,
        b"acsp",
    )
    return (header + _fixed(D50)).ljust(HEADER_BYTES, b"\0") + struct.pack(">I", len(tags)) + entries + body


def _fixed(values: Sequence[float] | NDArray[np.float64]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _xyz_tag(xyz: Sequence[float] | NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(xyz)


def _curve_tag(curve: Curve) -> bytes:
    return b"para\0\0\0\0\0\3\0\0" + _fixed((curve.g, curve.a, curve.b, curve.c, curve.d))


def _text_tag(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
