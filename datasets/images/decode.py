"""Decode image files. Files are not trusted: size and format are checked in the header before decoding."""

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gan_tasks.datasets.images.icc import COLOUR_KINDS, ColourKind, converted_to_srgb, usable, with_kept_profile
from gan_tasks.datasets.images.limits.decompress import Decompress, inflate, unpack_bits, unpack_lzma
from gan_tasks.datasets.images.limits.directories import is_plausible_exif
from gan_tasks.datasets.images.limits.parts import check_gif, check_jpeg, check_png, check_scans, check_webp
from gan_tasks.datasets.images.limits.sizes import SizeLimit, check_type
from gan_tasks.datasets.images.limits.tiff import MAX_THUMBNAILS, check_tiff
from gan_tasks.datasets.images.pixels import (
    Coding,
    ImageError,
    Picture,
    Pixels,
    unassociated,
    with_transparent_colour,
)
from gan_tasks.datasets.images.png_chunks import Header, read_header, without_metadata
from gan_tasks.datasets.images.png_colour import colour_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile
    from tifffile import TiffPage

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".npy"})
"""Suffixes of image files, in lower case. They select files in a folder; `read` detects the format from the bytes."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_UNCOMPRESSED = 1
_DECOMPRESS: dict[int, Decompress] = {8: inflate, 32946: inflate, 32773: unpack_bits, 34925: unpack_lzma}
"""By the number of the compression in a TIFF: Deflate with its number of Adobe and the older one, PackBits, LZMA."""
_MAX_NPY_HEADER_BYTES = 10_000  # numpy's own limit
_MAX_RUN_LENGTH_SIDE, _MAX_RUN_LENGTH_PIXELS = 2**16, 2**24
_JPEG_MAGIC = b"\xff\xd8\xff"
_ORIENTATION_TAG = 274
_ICC_TAG = 34675

Reduction = Callable[[int, int], int]
"""Takes the height and width of an image, and returns by which number, 1, 2, 4 or 8, both may be divided."""


def read(
    source: Path | bytes,
    *,
    max_pixels: int | None = None,
    keep_profiles: Collection[ColourKind] = COLOUR_KINDS,
    on_size: Callable[[int], object] | None = None,
    reduction: Reduction | None = None,
) -> Picture:
    """Decode a still image from a file or its bytes.

    EXIF orientation is applied and the ICC profile kept; the colour space that a PNG declares in other chunks becomes
    a profile. Palettes become RGB or RGBA, 1-bit becomes gray, CMYK becomes RGB (through the embedded profile, if
    there is one), and premultiplied colours are divided by alpha. 16-bit PNG and TIFF stay uint16. TIFF and NPY may
    have any number of channels. A profile of more than 8 MiB is ignored, with a remark, and so are the texts of a PNG
    if one has more than 1 MiB.

    max_pixels: largest height × width; MAX_PIXELS by default. The size is checked before decoding.
    keep_profiles: kinds of images that keep their profile; the colours of others are converted to sRGB.
    on_size: is called with height × width × channels before the pixels are decoded.
    reduction: lets a gray or colour JPEG be decoded at a fraction of its size, which is quicker, if that divides
        height and width without remainder. Other images have their full size.

    Raises ImageError, with the file and the reason, if the file is missing, empty, damaged, truncated, animated,
    multi-page, of an unknown format, or too large.
    """
    name = "the image" if isinstance(source, bytes) else str(source)
    try:
        with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            return with_kept_profile(_decode(file, SizeLimit(max_pixels, on_size), reduction), keep_profiles)
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


def _decode(file: BinaryIO, limit: SizeLimit, reduction: Reduction | None) -> Picture:
    head = file.read(26)
    file.seek(0)
    if not head:
        raise ImageError("the file is empty")
    if head.startswith(b"\x93NUMPY"):
        return _decode_npy(file, limit)
    if head.startswith(_TIFF_MAGIC):
        return _decode_tiff(file, limit)
    if head.startswith(_PNG_MAGIC):
        return _decode_png(file, limit)
    if head.startswith(_JPEG_MAGIC):
        return _decode_jpeg(file.read(), limit, reduction)

    image = _open_with_pil(file, head)
    _check_still(image, limit)
    orientation = _orientation(image)
    coding = Coding(is_lossless_webp=image.format == "WEBP" and _is_lossless_webp(file))
    return _upright(replace(_picture_from_pil(image), coding=coding), orientation)


def _check_still(image: "ImageFile", limit: SizeLimit) -> None:
    """Raise ImageError for an image that is too large or animated."""
    limit.check(image.height, image.width, len(image.getbands()))
    if getattr(image, "is_animated", False):
        raise ImageError("is animated; save the frame that you want as a still image")


def _picture(pixels: Pixels, profile: bytes | None) -> Picture:
    """Return the picture with its profile, if that can be used."""
    profile, note = usable(profile, pixels.shape[2])
    return Picture(pixels, profile, notes=(note,) if note else ())


def _decode_png(file: BinaryIO, limit: SizeLimit) -> Picture:
    check_png(file)
    header = read_header(file)
    colour = colour_of(header)
    try:
        pixels, orientation = _png_pixels(file, header, limit)
    except ImageError:
        raise
    except ValueError:  # Pillow refuses large metadata
        file.seek(0)
        pixels, orientation = _png_pixels(BytesIO(without_metadata(file.read())), header, limit)
    notes = (colour.note,) if colour.note else ()
    return _upright(Picture(pixels, colour.icc_profile, Coding(png_chunks=colour.chunks), notes), orientation)


def _png_pixels(file: BinaryIO, header: Header, limit: SizeLimit) -> tuple[Pixels, int]:
    """Decode the pixels and the EXIF orientation; the transparent colour of a gray or RGB file becomes alpha."""
    from PIL.PngImagePlugin import PngImageFile

    file.seek(0)
    image = PngImageFile(file)
    _check_still(image, limit)
    image.load()  # EXIF may come after the pixels
    orientation = _orientation(image)
    if header.has_palette:
        return _pixels(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))), orientation
    if header.bit_depth == 16:
        from gan_tasks.datasets.images.high_bit_depth import read_png

        pixels = read_png(file, image)
    else:
        pixels = _pixels(np.asarray(image.convert("L") if image.mode == "1" else image))
    transparent = header.transparent_colour()
    return pixels if transparent is None else with_transparent_colour(pixels, transparent), orientation


def _open_with_pil(file: BinaryIO, head: bytes) -> "ImageFile":
    """Read only the header. The Pillow plug-ins are called directly, because this limits the formats to those below,
    and because `Image.open` would apply its own, process-wide pixel limit."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        check_webp(file)
        file.seek(0)
        return WebPImageFile(file)
    if head.startswith((b"GIF87a", b"GIF89a")):
        check_gif(file)
        file.seek(0)
        return GifImageFile(file)
    if head.startswith(b"BM"):
        image = BmpImageFile(file)
        _check_run_length(image)
        return image
    raise ImageError("is not an image in a known format (PNG, JPEG, WebP, TIFF, BMP, GIF, NPY)")


def _check_run_length(image: "ImageFile") -> None:
    """Raise ImageError for a large BMP of runs, which Pillow decodes in Python; a skip of 2 bytes adds 255 rows."""
    if any(tile.codec_name == "bmp_rle" for tile in image.tile) and (
        max(image.size) > _MAX_RUN_LENGTH_SIDE or math.prod(image.size) > _MAX_RUN_LENGTH_PIXELS
    ):
        raise ImageError(
            f"is a BMP of {image.width} × {image.height} px with run-length encoding: expected at most "
            f"{_MAX_RUN_LENGTH_PIXELS:,} px and {_MAX_RUN_LENGTH_SIDE:,} on a side; save it as PNG"
        )


def _exif(image: "Image") -> bytes:
    """Return the EXIF block that `Image.getexif` reads: that of the file, or in a text of a PNG."""
    text = image.info.get("Raw profile type exif", "")
    exif: bytes = image.info["exif"] if "exif" in image.info else bytes.fromhex("".join(text.split("\n")[3:]))
    return exif


def _orientation(image: "Image") -> int:
    try:
        if not is_plausible_exif(_exif(image)):
            return 1
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # pixels can still be used if the EXIF block is damaged
        return 1


def _decode_jpeg(data: bytes, limit: SizeLimit, reduction: Reduction | None) -> Picture:
    from PIL.JpegImagePlugin import JpegImageFile

    check_jpeg(data)
    image = JpegImageFile(BytesIO(data))
    _check_still(image, limit)
    if image.info.get("progressive"):  # only scans of these files can be long and yet few bytes
        check_scans(data, image.width * image.height)
    orientation = _orientation(image)
    if image.mode in ("L", "RGB"):
        size = (image.height, image.width) if orientation < 5 else (image.width, image.height)
        divisor = reduction(*size) if reduction is not None else 1
        picture = _picture(_jpeg_pixels(data, image, divisor), image.info.get("icc_profile"))
    else:
        picture = _picture_from_pil(image)
    return _upright(replace(picture, coding=Coding(subsampling=_subsampling(image))), orientation)


def _jpeg_pixels(data: bytes, image: "ImageFile", divisor: int) -> Pixels:
    """Decode at 1/divisor of the size, if that is a whole number of pixels."""
    import simplejpeg

    is_whole = image.height % divisor == 0 and image.width % divisor == 0
    least = {"min_height": image.height // divisor, "min_width": image.width // divisor} if is_whole else {}
    try:
        return _pixels(simplejpeg.decode_jpeg(data, "GRAY" if image.mode == "L" else "RGB", **least))
    except ValueError:  # simplejpeg is stricter than PIL, so PIL decides whether the file is usable
        return _pixels(np.asarray(image))


def _subsampling(image: "ImageFile") -> tuple[int, int] | None:
    """Return the (horizontal, vertical) pixels per chroma value of a JPEG; None for gray and CMYK."""
    sampling = [(across, down) for _, across, down, _ in getattr(image, "layer", ())]
    if len(sampling) != 3:
        return None
    across, down = (max(1, luma // max(chroma)) for luma, *chroma in zip(*sampling[:3], strict=True))
    return across, down


def _is_lossless_webp(file: BinaryIO) -> bool:
    """Return whether the pixels are in a VP8L chunk (RFC 9649)."""
    file.seek(12)  # after the RIFF header
    while len(start := file.read(8)) == 8:
        kind, length = start[:4], int.from_bytes(start[4:], "little")
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        file.seek(length + length % 2, 1)
    return False


def _picture_from_pil(image: "Image") -> Picture:
    image.load()
    profile = image.info.get("icc_profile")
    if image.mode == "I":
        raise ImageError("has 32-bit integer pixels; save it with 8-bit, 16-bit or float pixels")
    if image.mode == "CMYK":
        return Picture(_pixels(np.asarray(_rgb_from_cmyk(image, profile))))
    is_gray = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if is_gray else "RGB") + ("A" if image.has_transparency_data else "")
    return _picture(_pixels(np.asarray(image.convert(mode))), profile)


def _rgb_from_cmyk(image: "Image", profile: bytes | None) -> "Image":
    converted = converted_to_srgb(image, profile) if profile else None
    return image.convert("RGB") if converted is None else converted


def _decode_tiff(file: BinaryIO, limit: SizeLimit) -> Picture:
    """Decode a TIFF with tifffile or PIL.

    tifffile reads gray, RGB and many-channel pages in the compressions that it decodes without extra packages. PIL
    reads the other 8-bit pages (palette, CMYK, YCbCr, LZW, JPEG …), 16-bit gray and RGB with or without alpha, and
    float gray (LZW, ZSTD).
    """
    from PIL.TiffImagePlugin import TiffImageFile
    from tifffile import EXTRASAMPLE, PHOTOMETRIC, TiffFile

    check_tiff(file, limit)
    file.seek(0)
    plain_photometrics = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB)
    with TiffFile(file) as tiff:
        pages = (page.aspage() for page in tiff.pages)  # endless if a page is its own successor
        page, others = next(pages), islice(pages, MAX_THUMBNAILS)
        if page.is_reduced or not all(other.is_reduced for other in others):  # reduced = a thumbnail
            raise ImageError("has several pages; save the page that you want as a separate file")
        limit.check(page.imagelength, page.imagewidth, page.imagedepth * page.samplesperpixel)
        is_deep = page.dtype is not None and page.dtype.itemsize > 1
        if page.dtype is not None and is_deep:
            check_type(page.dtype)
        is_plain = page.photometric in plain_photometrics and page.compression in (_UNCOMPRESSED, *_DECOMPRESS)
        if is_plain and (is_deep or page.bitspersample == 8):
            picture = _picture(_tiff_pixels(page), page.tags.valueof(_ICC_TAG))
            return _upright(picture, page.tags.valueof(_ORIENTATION_TAG, 1))
        if tiff.is_bigtiff and tiff.byteorder == ">":  # PIL takes it for another layout
            raise ImageError("is a big-endian BigTIFF in a form that cannot be read; save it uncompressed")
        has_alpha = page.samplesperpixel == 2 or page.extrasamples == (EXTRASAMPLE.ASSOCALPHA,)
        is_raw = is_deep or (has_alpha and page.bitspersample == 8 and page.planarconfig == 1)
        if is_raw and page.photometric in plain_photometrics:
            return _picture(_libtiff_pixels(file, page), page.tags.valueof(_ICC_TAG))
    file.seek(0)
    return _picture_from_pil(TiffImageFile(file))  # PIL applies the orientation of TIFF pages


def _tiff_pixels(page: "TiffPage") -> Pixels:
    if page.compression in _DECOMPRESS:
        _bound(page, _DECOMPRESS[page.compression])
    values = page.asarray()
    if page.axes == "SYX":  # one plane per channel
        values = values.transpose(1, 2, 0)
    elif page.axes not in ("YX", "YXS"):
        raise ImageError(f"has the axes {page.axes}; save it with the axes height, width and channels")
    return _plain_colours(_pixels(values), page)


def _bound(page: "TiffPage", decompress: Decompress) -> None:
    """Let the page decompress no more of a strip or tile than what it should have; tifffile itself has no limit."""
    assert page.dtype is not None  # see _decode_tiff
    compression, page.compression = page.compression, _UNCOMPRESSED
    unpack = page.decode  # of bytes that are not compressed
    page.compression = compression
    tile = (
        (page.tiledepth, page.tilelength, page.tilewidth)
        if page.is_tiled
        else (1, page.rowsperstrip, page.imagewidth)
    )
    most_bytes = math.prod(tile) * page.shaped[-1] * page.dtype.itemsize

    def decode(data: bytes | None, index: int, **options: Any) -> Any:
        return unpack(None if data is None else decompress(data, most_bytes), index, **options)

    page.decode = decode


def _libtiff_pixels(file: BinaryIO, page: "TiffPage") -> Pixels:
    from gan_tasks.datasets.images.high_bit_depth import read_tiff

    kind = (str(page.dtype), page.bitspersample, page.samplesperpixel)
    modes = {
        ("uint8", 8, 2): "LA",
        ("uint8", 8, 4): "RGBA",
        ("uint16", 16, 1): "I;16",
        ("uint16", 16, 2): "LA;16",
        ("uint16", 16, 3): "RGB;16",
        ("uint16", 16, 4): "RGBA;16",
        ("float32", 32, 1): "F",
    }
    mode = modes.get(kind) if page.planarconfig == 1 else None
    if mode is None:
        raise ImageError("has an unsupported layout or compression; save it with Deflate or uncompressed")
    return _plain_colours(read_tiff(file, mode), page)


def _plain_colours(pixels: Pixels, page: "TiffPage") -> Pixels:
    """Invert integer colours whose white is stored as 0 (MINISWHITE), and divide premultiplied colours by alpha."""
    from tifffile import EXTRASAMPLE, PHOTOMETRIC

    if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype != np.float32:
        pixels = pixels.copy()
        pixels[..., :1] = np.iinfo(pixels.dtype).max - pixels[..., :1]
    if pixels.shape[2] in (2, 4) and EXTRASAMPLE.ASSOCALPHA in page.extrasamples:
        return unassociated(pixels)
    return pixels


def _decode_npy(file: BinaryIO, limit: SizeLimit) -> Picture:
    version = np.lib.format.read_magic(file)
    header_bytes = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if header_bytes > _MAX_NPY_HEADER_BYTES:
        raise ImageError(f"has a header of {header_bytes:,} bytes; save an array of numbers")
    file.seek(8)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ImageError(f"is an NPY file of version {version}; save it as version 1.0 or 2.0")
    if dtype.hasobject:
        raise ImageError("contains pickled Python objects, which are never loaded; save an array of numbers")
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ImageError(f"has the shape {shape}; save an array of H×W or H×W×C")
    limit.check(shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
    check_type(dtype)
    file.seek(0)
    return Picture(_pixels(np.load(file, allow_pickle=False)))


def _pixels(values: Pixels) -> Pixels:
    """Convert H×W or H×W×C to contiguous H×W×C uint8, uint16 or float32; raise ImageError for other types."""
    if values.ndim == 2:
        values = values[..., None]
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    check_type(values.dtype)
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
    return replace(picture, pixels=np.ascontiguousarray(pixels))
