"""Which files are images, by suffix and first bytes, and which images a format can hold. Nothing is decoded."""

import os
from pathlib import Path
from typing import Literal

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.decode import IMAGE_SUFFIXES

FileKind = Literal["image", "unreadable", "other"]
"""An image that `read` reads, an image in a format that it does not read, or another file."""

UNREADABLE_FORMATS = {
    "HEIC": (".heic", ".heif", ".hif", ".heics"),
    "AVIF": (".avif", ".avifs"),
    "JPEG XL": (".jxl",),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm"),
    "JPEG XR": (".jxr", ".wdp", ".hdp"),
    "Photoshop": (".psd", ".psb"),
    "GIMP": (".xcf",),
    "Krita": (".kra",),
    "OpenRaster": (".ora",),
    "SVG": (".svg", ".svgz"),
    "PostScript": (".eps",),
    "OpenEXR": (".exr",),
    "Radiance": (".hdr", ".rgbe"),
    "Netpbm": (".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
    "Targa": (".tga",),
    "DirectDraw": (".dds",),
    "icon": (".ico", ".cur", ".icns"),
    "PCX": (".pcx",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba"),
    "FITS": (".fits",),
    "DICOM": (".dcm",),
    "camera raw": (
        *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mef", ".mos"),
        *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    ),
}
"""Image formats that `read` does not read, with their suffixes."""
UNREADABLE_SUFFIXES = {suffix: name for name, suffixes in UNREADABLE_FORMATS.items() for suffix in suffixes}
"""The formats by suffix."""
_OTHER_SUFFIXES = frozenset(
    {".txt", ".json", ".jsonl", ".csv", ".tsv", ".md", ".xml", ".xmp", ".yaml", ".yml", ".ini", ".log", ".db"}
    | {".bak", ".old", ".orig", ".tmp", ".part", ".crdownload", ".thm"}
)
"""Suffixes of text, of copies, unfinished downloads and thumbnails: no images, whatever they contain."""

_SIGNATURES = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("WebP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    ("TIFF", 0, b"II+\0"),
    ("TIFF", 0, b"MM\0+"),
    ("NPY", 0, b"\x93NUMPY"),
    ("AVIF", 4, b"ftypavif"),
    ("AVIF", 4, b"ftypavis"),
    *(("HEIC", 4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    ("camera raw", 4, b"ftypcrx "),
    ("JPEG XL", 0, b"\0\0\0\x0cJXL "),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP  "),
    ("Photoshop", 0, b"8BPS"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("QOI", 0, b"qoif"),
)
_BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)

LONGEST_NAME_BYTES = 255
"""Longest name of a file in usual file systems."""
_LONGEST_SIDE_PX = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}
"""Largest height and width that libwebp and libjpeg write."""


def format_of(path: Path) -> str:
    """Return the image format of a file by its first bytes, such as "JPEG"; empty if it is none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(26)
    except OSError:
        return ""
    if head.startswith(b"BM"):  # two letters that also begin texts
        return "BMP" if int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES else ""
    return next((name for name, start, bytes_ in _SIGNATURES if head.startswith(bytes_, start)), "")


def kind_of(path: Path) -> FileKind:
    """Return whether a file is an image: by its suffix, or, if that is not the suffix of an image, by its content."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    if suffix in _OTHER_SUFFIXES or path.name.endswith("~"):
        return "other"
    name = format_of(path)
    if name in UNREADABLE_FORMATS or (suffix in UNREADABLE_SUFFIXES and name in ("", "TIFF")):  # many raws are TIFFs
        return "unreadable"
    return "image" if name else "other"


def unreadable_reason(path: Path) -> str:
    """Return why `read` does not read this image, and how to convert it; empty for an image in a known format."""
    name = format_of(path)
    if name not in UNREADABLE_FORMATS:
        if kind_of(path) != "unreadable":
            return ""
        name = UNREADABLE_SUFFIXES[path.suffix.lower()]
    return (
        f"{name} images cannot be read: convert it to PNG, JPEG or TIFF, such as with ImageMagick "
        "(magick FILE FILE.png)"
    )


def fitting_name(path: Path, shape: tuple[int, int, int]) -> tuple[Path, str]:
    """Return the name for an image of this (height, width, channels), and why it is not `path`, or "".

    .png is added if the format of `path` cannot hold the image. Raises UserError for a name that is too long.
    """
    reason = _limit(path.suffix.lower(), *shape)
    name = _with_png(path) if reason else path
    check_length(name)
    return name, reason


def check_length(path: Path) -> None:
    """Raise UserError for the path of a result whose name is too long for file systems."""
    if _is_too_long(path):
        raise UserError(
            f"the result would be called {path.name}, which is longer than the {LONGEST_NAME_BYTES} bytes that file "
            "systems allow: rename the input"
        )


def other_name(path: Path) -> Path | None:
    """Return the other name that `fitting_name` may give; None if there is none."""
    if path.suffix.lower() not in _LONGEST_SIDE_PX or _is_too_long(_with_png(path)):
        return None
    return _with_png(path)


def _limit(suffix: str, height: int, width: int, channels: int) -> str:
    """Return why the format of a suffix cannot hold an image, as a sentence; empty if it can."""
    longest = _LONGEST_SIDE_PX.get(suffix)
    if longest is None:
        return ""
    name = "WebP" if suffix == ".webp" else "JPEG"
    if max(height, width) > longest:
        return f"{name} images have at most {longest:,} px on a side, and the result has {width} × {height} px"
    if name == "JPEG" and channels in (2, 4):
        return "JPEG has no alpha channel"
    return ""


def _with_png(path: Path) -> Path:
    return path.with_name(f"{path.name}.png")


def _is_too_long(path: Path) -> bool:
    return len(os.fsencode(path.name)) > LONGEST_NAME_BYTES
