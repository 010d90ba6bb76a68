"""Encode arrays as image files."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import did_you_mean, enumerated
from gan_tasks.datasets.images.atomic import write_bytes
from gan_tasks.datasets.images.pixels import ImageError, Picture, Pixels

_XMP_TAG = 700
_TIFF_BYTES = 1  # the TIFF field type BYTE
_PNG_XMP_KEYWORD = "XML:com.adobe.xmp"


def write(path: Path, picture: Picture, *, quality: int = 95, xmp: bytes | None = None) -> None:
    """Encode an image in the format of the path's suffix, and write the file atomically.

    PNG keeps 8 and 16 bits. TIFF and NPY keep any type and number of channels. JPEG, WebP and BMP have 8 bits, and
    16-bit pixels are rounded to them. The ICC profile is kept if the format supports one (all but BMP and NPY) and if
    it is for this number of channels. quality (1–100) is for JPEG and WebP. xmp is an XMP packet, for PNG, JPEG, WebP
    and TIFF.

    Raises ImageError for an unknown suffix, alpha in a JPEG, channels or values that the format does not support, and
    an XMP packet in a format that cannot hold one.
    """
    try:
        data = _encode(path.suffix.lower(), picture, quality, xmp)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    write_bytes(path, data)


def _encode(suffix: str, picture: Picture, quality: int, xmp: bytes | None) -> bytes:
    pixels, profile = picture.pixels, _matching_profile(picture)
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
    if suffix == ".png" and pixels.dtype == np.uint16:
        return _encode_png16(pixels, profile, xmp)
    if suffix in (".jpg", ".jpeg") and channels in (2, 4):
        raise ImageError("JPEG has no alpha channel; write .png instead, or drop the alpha")
    return _encode_with_pil(suffix, _to_8_bits(pixels), profile, quality, xmp)


def _matching_profile(picture: Picture) -> bytes | None:
    """Return the profile if it is for this number of channels: viewers reject or miscolour files with a wrong one."""
    if picture.icc_profile is None:
        return None
    colour_space = picture.icc_profile[16:20]  # the field "data colour space" of the ICC header
    expected = b"GRAY" if picture.pixels.shape[2] <= 2 else b"RGB "
    return picture.icc_profile if colour_space == expected else None


def _to_8_bits(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint16:
        return np.rint(pixels / np.float32(257)).astype(np.uint8)
    return pixels


def _encode_with_pil(suffix: str, pixels: Pixels, profile: bytes | None, quality: int, xmp: bytes | None) -> bytes:
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
        options["quality"] = quality
        if xmp is not None:
            options["xmp"] = xmp
    file = BytesIO()
    image.save(file, {".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}.get(suffix, "JPEG"), **options)
    return file.getvalue()


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
    encoded = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded)


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
