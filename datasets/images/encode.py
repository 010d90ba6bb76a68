"""Encode arrays as image files."""

import struct
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import did_you_mean, enumerated
from gan_tasks.datasets.images.atomic import write_bytes
from gan_tasks.datasets.images.icc import COLOUR_KINDS, ColourKind, colour_kind, fits, to_srgb
from gan_tasks.datasets.images.pixels import Coding, ImageError, Picture, Pixels
from gan_tasks.datasets.images.png_chunks import chunk, with_chunks

_XMP_TAG = 700
_TIFF_BYTES = 1  # the TIFF field type BYTE
_PNG_XMP_KEYWORD = "XML:com.adobe.xmp"


def write(path: Path, picture: Picture, *, quality: int = 95, xmp: bytes | None = None) -> None:
    """Encode an image in the format of the path's suffix, and write the file atomically.

    PNG keeps 8 and 16 bits. TIFF and NPY keep any type and number of channels. JPEG, WebP and BMP have 8 bits, and
    16-bit pixels are rounded to them.

    The ICC profile is kept if the format supports one (all but NPY and BMP) and if it is for this number of channels;
    otherwise the colours of integer pixels are converted to sRGB. NPY keeps the values as they are.

    A JPEG has the chroma subsampling of the JPEG that the picture was read from; 4:4:0 becomes 4:4:4, and 4:1:1
    becomes 4:2:2. Other pictures become 4:4:4, because subsampling blurs edges between saturated colours. A WebP is
    written without loss if the picture was read from such a WebP and has 8 bits.

    quality (1–100) is for JPEG and WebP with loss. xmp is an XMP packet, for PNG, JPEG, WebP and TIFF.

    Raises ImageError for an unknown suffix, alpha in a JPEG, channels or values that the format does not support, and
    an XMP packet in a format that cannot hold one.
    """
    try:
        data = _encode(path.suffix.lower(), picture, quality, xmp)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    write_bytes(path, data)


def _encode(suffix: str, picture: Picture, quality: int, xmp: bytes | None) -> bytes:
    if suffix != ".npy" and not _keeps_profile(suffix, picture):
        picture = to_srgb(picture)
    pixels, profile = picture.pixels, picture.icc_profile
    if suffix in (".bmp", ".npy") and xmp is not None:
        raise ImageError(f"a {suffix} file cannot hold XMP metadata; write .png, .jpg, .webp or .tif")
    if suffix == ".npy":
        return _encode_npy(pixels)
    if suffix in (".tif", ".tiff"):
        return _encode_tiff(pixels, profile, xmp)
    if suffix not in (".png", ".jpg", ".jpeg", ".webp", ".bmp"):
        known = (".png", ".jpg", ".webp", ".bmp", ".tif", ".npy")
        hint = did_you_mean(suffix, known, f"; use {enumerated(known)}")
        raise ImageError(f"cannot write {suffix or 'a file without a suffix'}{hint}")

    channels = pixels.shape[2]
    if pixels.dtype == np.float32:
        raise ImageError("only .tif and .npy files hold float pixels; write one of these, or convert to 8 bits first")
    if channels > 4:
        raise ImageError(f"only .tif and .npy files hold {channels} channels; write one of these")
    if suffix in (".jpg", ".jpeg") and channels in (2, 4):
        raise ImageError("JPEG has no alpha channel; write .png instead, or drop the alpha")
    if suffix == ".png" and pixels.dtype == np.uint16:
        encoded = _encode_png16(pixels, profile, xmp)
    else:
        is_lossless = picture.coding.is_lossless_webp and pixels.dtype == np.uint8
        coding = replace(picture.coding, is_lossless_webp=is_lossless)
        encoded = _encode_with_pil(suffix, _to_8_bits(pixels), profile, coding, quality, xmp)
    return with_chunks(encoded, picture.coding.png_chunks) if suffix == ".png" else encoded


def kinds_with_profile(suffix: str) -> frozenset[ColourKind]:
    """Return the kinds of images whose ICC profile a file with this suffix holds. NPY holds none, and needs none."""
    if suffix == ".webp":  # which has no gray
        return frozenset({"rgb"})
    return frozenset() if suffix == ".bmp" else COLOUR_KINDS


def _keeps_profile(suffix: str, picture: Picture) -> bool:
    channels, profile = picture.pixels.shape[2], picture.icc_profile
    return colour_kind(channels) in kinds_with_profile(suffix) and profile is not None and fits(profile, channels)


def _to_8_bits(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint16:
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    return pixels


def _encode_with_pil(
    suffix: str, pixels: Pixels, profile: bytes | None, coding: Coding, quality: int, xmp: bytes | None
) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"icc_profile": profile}
    if suffix == ".png":
        options["pnginfo"] = PngInfo()
        if xmp is not None:
            options["pnginfo"].add_itxt(_PNG_XMP_KEYWORD, xmp.decode())
    elif suffix == ".bmp":
        options = {}
        if image.mode == "LA":
            image = image.convert("RGBA")
    else:
        if xmp is not None:
            options["xmp"] = xmp
        if suffix == ".webp" and coding.is_lossless_webp:
            options |= {"lossless": True, "exact": True}  # exact: also colours of transparent pixels
        else:
            options["quality"] = quality
        if suffix in (".jpg", ".jpeg") and image.mode == "RGB":
            options["subsampling"] = _subsampling(coding)
    file = BytesIO()
    image.save(file, {".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}.get(suffix, "JPEG"), **options)
    return file.getvalue()


def _subsampling(coding: Coding) -> str:
    """Return the chroma subsampling that Pillow can write and that is not coarser than the one of the coding."""
    across, down = coding.subsampling or (1, 1)
    if across == 1:
        return "4:4:4"
    return "4:2:2" if down == 1 else "4:2:0"


def _encode_png16(pixels: Pixels, profile: bytes | None, xmp: bytes | None) -> bytes:
    """Encode 16-bit PNG with metadata, by the W3C PNG specification, third edition.

    PIL writes no 16-bit colour, and OpenCV writes no metadata.
    """
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    step = 2 * channels  # bytes per pixel
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 1  # filter "Sub": the difference to the pixel on the left, modulo 256
    filtered[:, 1 : 1 + step] = rows[:, :step]
    filtered[:, 1 + step :] = rows[:, step:] - rows[:, :-step]

    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))]
    if profile is not None:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if xmp is not None:
        chunks.append((b"iTXt", _PNG_XMP_KEYWORD.encode() + b"\0\0\0\0\0" + xmp))
    chunks += [(b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def _encode_tiff(pixels: Pixels, profile: bytes | None, xmp: bytes | None) -> bytes:
    import tifffile

    channels = pixels.shape[2]
    file = BytesIO()
    tifffile.imwrite(
        file,
        pixels[..., 0] if channels == 1 else pixels,
        photometric="rgb" if channels in (3, 4) else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=profile,
        extratags=[] if xmp is None else [(_XMP_TAG, _TIFF_BYTES, len(xmp), xmp, True)],
        metadata=None,  # without the description that tifffile adds
    )
    return file.getvalue()


def _encode_npy(pixels: Pixels) -> bytes:
    file = BytesIO()
    np.save(file, pixels, allow_pickle=False)
    return file.getvalue()
