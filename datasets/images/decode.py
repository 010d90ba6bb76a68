"""Decode image files. Files are not trusted: size and format are checked in the header before decoding."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from gan_tasks.datasets.images.pixels import ImageError, Picture, Pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile
    from tifffile import TiffPage

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".npy"})
"""Suffixes of image files, in lower case. They select files in a folder; `read` detects the format from the bytes."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION_TAG = 274
_ICC_TAG = 34675


def read(source: Path | bytes, *, max_pixels: int = 100_000_000) -> Picture:
    """Decode a still image from a file or its bytes.

    EXIF orientation is applied and the ICC profile kept. Palettes become RGB or RGBA, 1-bit becomes gray, CMYK
    becomes RGB (through the embedded profile, if there is one). 16-bit PNG and TIFF stay uint16. TIFF and NPY may
    have any number of channels.

    Raises ImageError, with the file and the reason, if the file is missing, empty, damaged, truncated, animated,
    multi-page, of an unknown format, or larger than max_pixels (height × width). The size is checked before decoding.
    """
    name = "the image" if isinstance(source, bytes) else str(source)
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            return _decode(file, max_pixels)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # decoders raise all kinds of exceptions for damaged bytes
        raise ImageError(f"{name}: cannot be decoded ({error or type(error).__name__})") from error


def from_pil(image: "Image") -> Picture:
    """Convert an open PIL image as `read` converts a file. 16-bit gray stays uint16.

    Raises ImageError for pixels of 32 bits.
    """
    orientation = _orientation(image)
    if image.mode.startswith("I;16"):
        return _upright(Picture(_pixels(np.asarray(image)), image.info.get("icc_profile")), orientation)
    if image.mode == "F":
        raise ImageError("the image has float pixels; convert it to 8 or 16 bits first")
    return _upright(_picture_from_pil(image), orientation)


def _decode(file: BinaryIO, max_pixels: int) -> Picture:
    head = file.read(26)
    file.seek(0)
    if not head:
        raise ImageError("the file is empty")
    if head.startswith(b"\x93NUMPY"):
        return _decode_npy(file, max_pixels)
    if head.startswith(_TIFF_MAGIC):
        return _decode_tiff(file, max_pixels)

    image = _open_with_pil(file, head)
    _check_size(image.height, image.width, 4, max_pixels)
    if getattr(image, "is_animated", False):
        raise ImageError("is animated; save the frame that you want as a still image")
    orientation = _orientation(image)
    if image.format == "JPEG" and image.mode in ("L", "RGB"):
        pixels = _jpeg_pixels(file, image)
    elif image.format == "PNG" and head[24] == 16:  # bit depth in the PNG header
        from gan_tasks.datasets.images.high_bit_depth import read_png

        pixels = read_png(file, image)
    else:
        return _upright(_picture_from_pil(image), orientation)
    return _upright(Picture(pixels, image.info.get("icc_profile")), orientation)


def _open_with_pil(file: BinaryIO, head: bytes) -> "ImageFile":
    """Read only the header. The Pillow plug-ins are called directly, because this limits the formats to those below,
    and because `Image.open` would apply its own, process-wide pixel limit."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(file)
    if head.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(file)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WebPImageFile(file)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile(file)
    if head.startswith(b"BM"):
        return BmpImageFile(file)
    raise ImageError("is not an image in a known format (PNG, JPEG, WebP, TIFF, BMP, GIF, NPY)")


def _check_size(height: int, width: int, channels: int, max_pixels: int) -> None:
    if height * width > max_pixels or height * width * channels > 4 * max_pixels:
        raise ImageError(
            f"{width} × {height} px with {channels} channels is over the limit of {max_pixels:,} px; "
            "make it smaller or raise the limit"
        )


def _orientation(image: "Image") -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # pixels can still be used if the EXIF block is damaged
        return 1


def _jpeg_pixels(file: BinaryIO, image: "ImageFile") -> Pixels:
    import simplejpeg

    file.seek(0)
    try:
        return _pixels(simplejpeg.decode_jpeg(file.read(), "GRAY" if image.mode == "L" else "RGB"))
    except ValueError:  # simplejpeg is stricter than PIL, so PIL decides whether the file is usable
        file.seek(0)
        return _pixels(np.asarray(image))


def _picture_from_pil(image: "Image") -> Picture:
    image.load()
    profile = image.info.get("icc_profile")
    if image.mode == "I":
        raise ImageError("has 32-bit integer pixels; save it with 8-bit, 16-bit or float pixels")
    if image.mode == "CMYK":
        return Picture(_pixels(np.asarray(_rgb_from_cmyk(image, profile))))
    is_gray = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if is_gray else "RGB") + ("A" if image.has_transparency_data else "")
    return Picture(_pixels(np.asarray(image.convert(mode))), profile)


def _rgb_from_cmyk(image: "Image", profile: bytes | None) -> "Image":
    from PIL import ImageCms

    if profile:
        try:
            cmyk = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, cmyk, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (OSError, ImageCms.PyCMSError):
            pass  # the profile is damaged or not for CMYK
        else:
            assert converted is not None  # None is returned only for conversion in place
            return converted
    return image.convert("RGB")


def _decode_tiff(file: BinaryIO, max_pixels: int) -> Picture:
    """Decode a TIFF with tifffile or PIL.

    tifffile reads gray, RGB and many-channel pages in the compressions that it decodes without extra packages. PIL
    reads the other 8-bit pages (palette, CMYK, YCbCr, LZW, JPEG …), 16-bit gray and RGB(A), and float gray (LZW,
    ZSTD).
    """
    from PIL.TiffImagePlugin import TiffImageFile
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

    plain_photometrics = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    plain_compressions = (
        COMPRESSION.NONE,
        COMPRESSION.ADOBE_DEFLATE,
        COMPRESSION.DEFLATE,
        COMPRESSION.PACKBITS,
        COMPRESSION.LZMA,
    )
    with TiffFile(file) as tiff:
        page, *others = (page.aspage() for page in tiff.pages)
        if page.is_reduced or not all(other.is_reduced for other in others):  # reduced = a thumbnail
            raise ImageError("has several pages; save the page that you want as a separate file")
        _check_size(page.imagelength, page.imagewidth, page.imagedepth * page.samplesperpixel, max_pixels)
        is_deep = page.dtype is not None and page.dtype.itemsize > 1
        is_plain = page.photometric in plain_photometrics and page.compression in plain_compressions
        if is_plain and (is_deep or page.bitspersample == 8):
            picture = Picture(_tiff_pixels(page), page.tags.valueof(_ICC_TAG))
            return _upright(picture, page.tags.valueof(_ORIENTATION_TAG, 1))
        if is_deep and page.photometric in plain_photometrics:
            return Picture(_libtiff_pixels(file, page), page.tags.valueof(_ICC_TAG))
    file.seek(0)
    return _picture_from_pil(TiffImageFile(file))  # PIL applies the orientation of TIFF pages


def _tiff_pixels(page: "TiffPage") -> Pixels:
    values = page.asarray()
    if page.axes == "SYX":  # one plane per channel
        values = values.transpose(1, 2, 0)
    elif page.axes not in ("YX", "YXS"):
        raise ImageError(f"has the axes {page.axes}; save it with the axes height, width and channels")
    return _white_as_maximum(_pixels(values), page)


def _libtiff_pixels(file: BinaryIO, page: "TiffPage") -> Pixels:
    from gan_tasks.datasets.images.high_bit_depth import read_tiff

    kind = (str(page.dtype), page.bitspersample, page.samplesperpixel)
    modes = {("uint16", 16, 1): "I;16", ("uint16", 16, 3): "RGB", ("uint16", 16, 4): "RGBA", ("float32", 32, 1): "F"}
    mode = modes.get(kind) if page.planarconfig == 1 else None
    if mode is None:
        raise ImageError("has an unsupported layout or compression; save it with Deflate or uncompressed")
    return _white_as_maximum(read_tiff(file, mode), page)


def _white_as_maximum(pixels: Pixels, page: "TiffPage") -> Pixels:
    """Invert integer pixels whose white is stored as 0 (MINISWHITE)."""
    is_inverted = page.photometric == 0 and pixels.dtype != np.float32  # 0 is MINISWHITE
    return np.iinfo(pixels.dtype).max - pixels if is_inverted else pixels


def _decode_npy(file: BinaryIO, max_pixels: int) -> Picture:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ImageError(f"is an NPY file of version {version}; save it as version 1.0 or 2.0")
    if dtype.hasobject:
        raise ImageError("contains pickled Python objects, which are never loaded; save an array of numbers")
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(f"has the shape {shape}; save an array of H×W or H×W×C")
    _check_size(shape[0], shape[1], shape[2] if len(shape) == 3 else 1, max_pixels)
    file.seek(0)
    return Picture(_pixels(np.load(file, allow_pickle=False)))


def _pixels(values: Pixels) -> Pixels:
    """Convert H×W or H×W×C to contiguous H×W×C uint8, uint16 or float32; raise ImageError for other types."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    if values.dtype.kind != "f":
        raise ImageError(f"has {values.dtype} pixels; save it with uint8, uint16 or float pixels")
    pixels = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(pixels).all():
        raise ImageError("has pixels that are NaN or infinite; save finite numbers")
    return pixels


def _upright(picture: Picture, orientation: int) -> Picture:
    """Apply the EXIF orientation (1–8): transpose for 5–8, then mirror left to right and top to bottom."""
    pixels = picture.pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return Picture(np.ascontiguousarray(pixels), picture.icc_profile)
