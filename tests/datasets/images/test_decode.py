"""Compare the result of `read` for every kind of file with arrays that are built by hand."""

import io
import itertools
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from gan_tasks.datasets.images import ImageError, read
from gan_tasks.datasets.images.png_chunks import with_chunks

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (13, 17), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)
GRAY16 = RNG.integers(0, 65536, (13, 17), dtype=np.uint16)


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def tiff(values: NDArray[np.generic], **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def by_opencv(suffix: str, values: NDArray[np.generic], *options: int) -> bytes:
    return cv2.imencode(suffix, values, options)[1].tobytes()


def png(
    width: int, height: int, depth: int, colour_type: int, rows: bytes, *, interlaced: bool = False, trns: bytes = b""
) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *([(b"tRNS", trns)] if trns else []), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*entry) for entry in chunks)


def png16(values: NDArray[np.uint16], colour_type: int, *, adam7: bool = False, transparent: bool = False) -> bytes:
    """Encode unfiltered rows, in one pass or in the seven Adam7 passes of the PNG specification (8.2).

    transparent: make the colour of pixel (3, 4) transparent.
    """
    starts_and_steps = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    big_endian = values.astype(">u2")
    passes = [big_endian[y::dy, x::dx] for y, x, dy, dx in (starts_and_steps if adam7 else [(0, 0, 1, 1)])]
    rows = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    height, width = values.shape[:2]
    trns = big_endian[3, 4:5].tobytes() if transparent else b""
    return png(width, height, 16, colour_type, rows, interlaced=adam7, trns=trns)


def with_tag(data: bytes, name: str, value: int) -> bytes:
    """Change the value of a tag of type SHORT in a little-endian TIFF."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offset = file.pages.first.tags[name].valueoffset
    return data[:offset] + struct.pack("<H", value) + data[offset + 2 :]


def npy(values: NDArray[np.generic], **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


RGBA = np.dstack([RGB, GRAY])
BITS = GRAY > 127
PALETTE = np.array([(255, 0, 0), (0, 255, 0), (10, 20, 30)], np.uint8)
INDICES = GRAY % 3


def palette_image() -> Image.Image:
    image = Image.fromarray(INDICES, "L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(PALETTE.tobytes())
    return image


LA16 = np.dstack([GRAY16, GRAY16[::-1]])
RGBA16 = np.dstack([RGB16, GRAY16])
LZW16 = by_opencv(".tif", RGB16[..., ::-1], cv2.IMWRITE_TIFF_COMPRESSION, 5)
GRAY16_LZW = by_opencv(".tif", GRAY16, cv2.IMWRITE_TIFF_COMPRESSION, 5)
FLOATS = (GRAY / 300).astype(np.float32)


def with_alpha(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Add alpha, which is 0 where the colour is that of pixel (3, 4)."""
    return np.dstack([values, np.where((values == values[3, 4]).all(axis=2), 0, 65535).astype(np.uint16)])


LOSSLESS = {
    "RGB png": (encoded(Image.fromarray(RGB)), RGB),
    "RGB bmp": (encoded(Image.fromarray(RGB), "BMP"), RGB),
    "RGB webp": (encoded(Image.fromarray(RGB), "WEBP", lossless=True), RGB),
    "RGB tiff": (encoded(Image.fromarray(RGB), "TIFF"), RGB),
    "RGB tiff LZW": (encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB),
    "RGB tiff planar": (tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), RGB),
    "RGBA png": (encoded(Image.fromarray(RGBA)), RGBA),
    "RGBA tiff": (tiff(RGBA, photometric="rgb", extrasamples=["unassalpha"]), RGBA),
    "RGB with a transparent colour": (
        encoded(Image.fromarray(RGB), transparency=tuple(map(int, RGB[3, 4]))),
        np.dstack([RGB, np.where((RGB[3, 4] == RGB).all(axis=2), 0, 255).astype(np.uint8)]),
    ),
    "L png": (encoded(Image.fromarray(GRAY)), GRAY[..., None]),
    "L tiff, white is zero": (tiff(255 - GRAY, photometric="miniswhite"), GRAY[..., None]),
    "LA png": (encoded(Image.fromarray(RGBA[..., 2:])), RGBA[..., 2:]),
    "1-bit png": (encoded(Image.fromarray(BITS)), np.where(BITS, 255, 0).astype(np.uint8)[..., None]),
    "1-bit tiff": (
        encoded(Image.fromarray(BITS), "TIFF", compression="group4"),
        np.where(BITS, 255, 0).astype(np.uint8)[..., None],
    ),
    "palette png": (encoded(palette_image()), PALETTE[INDICES]),
    "palette gif": (encoded(palette_image(), "GIF"), PALETTE[INDICES]),
    "palette tiff": (encoded(palette_image(), "TIFF"), PALETTE[INDICES]),
    "palette with transparency": (
        encoded(palette_image(), transparency=1),
        np.dstack([PALETTE[INDICES], np.where(INDICES == 1, 0, 255).astype(np.uint8)]),
    ),
    "gray 16 png": (encoded(Image.fromarray(GRAY16)), GRAY16[..., None]),
    "gray 16 tiff": (tiff(GRAY16), GRAY16[..., None]),
    "gray 16 tiff LZW": (GRAY16_LZW, GRAY16[..., None]),
    "gray 16 tiff LZW, white is zero": (
        with_tag(GRAY16_LZW, "PhotometricInterpretation", 0),
        65535 - GRAY16[..., None],
    ),
    "gray 16 tiff LZW, big-endian": (
        encoded(Image.frombytes("I;16B", (17, 13), GRAY16.astype(">u2").tobytes()), "TIFF", compression="tiff_lzw"),
        GRAY16[..., None],
    ),
    "gray + alpha 16 png": (png16(LA16, 4), LA16),
    "gray + alpha 16 png, interlaced": (png16(LA16, 4, adam7=True), LA16),
    "gray 16 png with a transparent colour": (png16(GRAY16, 0, transparent=True), with_alpha(GRAY16[..., None])),
    "RGB 16 png": (by_opencv(".png", RGB16[..., ::-1]), RGB16),
    "RGB 16 png, interlaced": (png16(RGB16, 2, adam7=True), RGB16),
    "RGB 16 png with a transparent colour": (png16(RGB16, 2, transparent=True), with_alpha(RGB16)),
    "RGB 16 tiff": (tiff(RGB16, photometric="rgb"), RGB16),
    "RGB 16 tiff, big-endian": (tiff(RGB16, photometric="rgb", byteorder=">"), RGB16),
    "RGB 16 tiff LZW": (LZW16, RGB16),
    "RGBA 16 png": (by_opencv(".png", RGBA16[..., [2, 1, 0, 3]]), RGBA16),
    "RGBA 16 png, interlaced": (png16(RGBA16, 6, adam7=True), RGBA16),
    "RGBA 16 tiff LZW": (by_opencv(".tif", RGBA16[..., [2, 1, 0, 3]], cv2.IMWRITE_TIFF_COMPRESSION, 5), RGBA16),
    "7 channels, 16-bit tiff": (
        tiff(np.dstack([RGB16, RGB16, GRAY16]), photometric="minisblack", planarconfig="contig"),
        np.dstack([RGB16, RGB16, GRAY16]),
    ),
    "2 channels, 8-bit tiff": (tiff(RGBA[..., 2:], photometric="minisblack", planarconfig="contig"), RGBA[..., 2:]),
    "float tiff": (tiff(GRAY.astype(np.float64) / 300), FLOATS[..., None]),
    "float tiff LZW": (by_opencv(".tif", FLOATS, cv2.IMWRITE_TIFF_COMPRESSION, 5), FLOATS[..., None]),
    "npy": (npy(RGB16), RGB16),
    "npy, Fortran order, no channel axis": (npy(np.asfortranarray(GRAY)), GRAY[..., None]),
    "npy, big-endian": (npy(RGB16.astype(">u2")), RGB16),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_are_decoded_exactly(kind: str) -> None:
    data, expected = LOSSLESS[kind]
    pixels = read(data).pixels
    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    assert pixels.shape == expected.shape
    np.testing.assert_array_equal(pixels, expected)


def test_16_bit_ramp_keeps_all_levels() -> None:
    ramp = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(4, 256)
    for data in (encoded(Image.fromarray(ramp)), tiff(ramp), npy(ramp)):
        assert len(np.unique(read(data).pixels)) == len(np.unique(ramp))


def packed(levels: NDArray[np.uint8], depth: int) -> bytes:
    """Return unfiltered rows of 1-, 2-, 4- or 8-bit levels."""
    bits = np.unpackbits(levels[..., None], axis=2)[..., 8 - depth :].reshape(len(levels), -1)
    return b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("high_bits", [0, 0xFF00])
def test_a_gray_level_is_transparent_at_every_depth(depth: int, high_bits: int) -> None:
    """Bits above the depth are ignored (PNG, third edition, 11.3.1.1)."""
    levels = RNG.integers(0, 2**depth, (13, 17), dtype=np.uint8)
    hidden = int(levels[3, 4])
    trns = struct.pack(">H", hidden | high_bits)
    pixels = read(png(17, 13, depth, 0, packed(levels, depth), trns=trns)).pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels[..., 0], levels * (255 // (2**depth - 1)))
    np.testing.assert_array_equal(pixels[..., 1], np.where(levels == hidden, 0, 255))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_entries_have_alpha_at_every_depth(depth: int) -> None:
    count = min(2**depth, 16)
    indices = RNG.integers(0, count, (13, 17), dtype=np.uint8)
    palette = RNG.integers(0, 256, (count, 3), dtype=np.uint8)
    alpha = np.array([0, 100, 255, 7][: min(count, 4)], np.uint8)
    data = with_chunks(
        png(17, 13, depth, 3, packed(indices, depth)), [(b"PLTE", palette.tobytes()), (b"tRNS", alpha.tobytes())]
    )
    opacity = np.concatenate([alpha, np.full(count - len(alpha), 255, np.uint8)])
    np.testing.assert_array_equal(read(data).pixels, np.dstack([palette[indices], opacity[indices]]))


ALPHA = np.clip((np.arange(60) - 10) / 40, 0, 1)[None, :, None].repeat(20, 0)
SOFT = np.stack(np.meshgrid(np.linspace(0, 1, 60), np.linspace(1, 0.2, 20)), axis=2)
SOFT = np.concatenate([SOFT, SOFT[..., :1] * 0.5], axis=2)


def soft(channels: int, dtype: type, *, is_premultiplied: bool) -> NDArray[np.generic]:
    """Return gray or RGB with soft alpha, of integers or of floats in [0, 1]."""
    colour = SOFT[..., :channels] * (ALPHA if is_premultiplied else 1)
    values = np.concatenate([colour, ALPHA], axis=2)
    return (values if dtype is np.float32 else np.rint(values * np.iinfo(dtype).max)).astype(dtype)


def over_white(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return what is seen over white, 0 to 255."""
    values = pixels / (1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max))
    return 255 * (values[..., :-1] * values[..., -1:] + 1 - values[..., -1:])


def lzw(channels: int, dtype: type) -> bytes:
    """Encode premultiplied pixels with libtiff, which gets the bytes of 16-bit pixels as 8-bit pixels.

    The tags are changed afterwards to those of the real pixels.
    """
    pixels = soft(channels, dtype, is_premultiplied=True)
    samples = pixels.shape[2]
    if dtype is np.uint8:
        return with_tag(encoded(Image.fromarray(pixels), "TIFF", compression="tiff_lzw"), "ExtraSamples", 1)
    data = encoded(Image.fromarray(pixels.view(np.uint8).reshape(20, -1, 4)), "TIFF", compression="tiff_lzw")
    for name, value in {
        "ImageWidth": 60,
        "SamplesPerPixel": samples,
        "PhotometricInterpretation": 1 if samples == 2 else 2,
        "ExtraSamples": 1,
    }.items():
        data = with_tag(data, name, value)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        bits = file.pages.first.tags["BitsPerSample"]
    if samples == 2:  # two values stand in the tag itself
        return data[: bits.offset + 4] + struct.pack("<IHH", 2, 16, 16) + data[bits.offset + 12 :]
    return data[: bits.valueoffset] + struct.pack("<4H", 16, 16, 16, 16) + data[bits.valueoffset + 8 :]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *itertools.product(["none", "zlib", "big-endian", "planar"], [np.uint8, np.uint16, np.float32]),
        ("LZW", np.uint8),
        ("LZW", np.uint16),
    ],
)
def test_premultiplied_tiff_looks_like_the_straight_one(kind: str, dtype: type, channels: int) -> None:
    pixels = soft(channels, dtype, is_premultiplied=True)
    photometric = "rgb" if channels == 3 else "minisblack"
    options = {
        "none": {"planarconfig": "contig"},
        "zlib": {"planarconfig": "contig", "compression": "zlib"},
        "big-endian": {"planarconfig": "contig", "byteorder": ">"},
        "planar": {"planarconfig": "separate"},
    }
    if kind == "LZW":
        data = lzw(channels, dtype)
    else:
        values = np.moveaxis(pixels, 2, 0) if kind == "planar" else pixels
        data = tiff(values, photometric=photometric, extrasamples=["assocalpha"], **options[kind])
    found = read(data).pixels
    assert found.dtype == dtype and found.shape == pixels.shape
    np.testing.assert_array_equal(found[..., -1], pixels[..., -1])
    straight = soft(channels, dtype, is_premultiplied=False)
    assert np.abs(over_white(found) - over_white(straight)).mean() < 0.3
    assert np.abs(over_white(pixels) - over_white(straight)).mean() > 5  # so that the test can fail


def test_alpha_is_not_inverted_with_white_as_zero() -> None:
    values = RGBA[..., 2:]
    data = tiff(
        np.dstack([255 - values[..., 0], values[..., 1]]),
        photometric="miniswhite",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    np.testing.assert_array_equal(read(data).pixels, values)


SMOOTH = np.dstack(np.meshgrid(np.linspace(0, 250, 40), np.linspace(20, 230, 30), indexing="xy")).astype(np.uint8)
SMOOTH = np.dstack([SMOOTH, SMOOTH[..., 0] // 2])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_matches_the_reference_decoder(mode: str) -> None:
    data = encoded(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=90)
    expected = np.atleast_3d(np.asarray(Image.open(io.BytesIO(data))))
    np.testing.assert_allclose(read(data).pixels.astype(int), expected.astype(int), atol=1)


WAVES = np.clip(SMOOTH[:24, :32] + 8 * np.sin(np.arange(32))[:, None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_may_be_decoded_at_a_fraction_of_its_size(
    divisor: int, orientation: int, options: dict[str, object], mode: str
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(Image.fromarray(WAVES).convert(mode), "JPEG", quality=95, exif=exif, **options)
    full, sizes = read(data).pixels, []
    reduced = read(data, reduction=lambda *size: sizes.append(size) or divisor).pixels
    assert sizes == [full.shape[:2]]
    height, width = (length // divisor for length in full.shape[:2])
    means = full.reshape(height, divisor, width, divisor, -1).mean((1, 3))
    assert reduced.shape == means.shape
    assert np.abs(reduced - means).mean() < 1


@pytest.mark.parametrize("kind", ["odd width", "odd height", "CMYK", "PNG", "16 bits"])
def test_other_images_keep_their_size(kind: str) -> None:
    data = {
        "odd width": encoded(Image.fromarray(SMOOTH[:, :39]), "JPEG"),
        "odd height": encoded(Image.fromarray(SMOOTH[:29]), "JPEG"),
        "CMYK": encoded(Image.new("CMYK", (8, 8)), "JPEG"),
        "PNG": encoded(Image.fromarray(SMOOTH)),
        "16 bits": png16(RGB16[:12, :16], 2),
    }[kind]
    np.testing.assert_array_equal(read(data, reduction=lambda *_: 2).pixels, read(data).pixels)


def test_cmyk_without_profile_is_converted_to_rgb() -> None:
    cmyk = np.zeros((16, 32, 4), np.uint8)
    cmyk[:, :16, 1:3] = 255  # magenta + yellow = red
    cmyk[:, 16:, 3] = 128  # half black = gray
    image = Image.frombytes("CMYK", (32, 16), cmyk.tobytes())
    for data in (encoded(image, "JPEG", quality=95), encoded(image, "TIFF")):
        pixels = read(data).pixels
        assert pixels.shape == (16, 32, 3)
        np.testing.assert_allclose(pixels[:, :12].mean((0, 1)), (255, 0, 0), atol=3)
        np.testing.assert_allclose(pixels[:, 20:].mean((0, 1)), (127, 127, 127), atol=3)


def test_cmyk_with_an_rgb_profile_ignores_the_profile() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    picture = read(encoded(image, "JPEG", icc_profile=SRGB))
    assert picture.icc_profile is None
    np.testing.assert_allclose(picture.pixels.mean((0, 1)), (255, 0, 0), atol=3)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_icc_profile_is_kept(file_format: str) -> None:
    assert read(encoded(Image.fromarray(RGB), file_format, icc_profile=SRGB)).icc_profile == SRGB
    assert read(encoded(Image.fromarray(RGB), file_format)).icc_profile is None


# The transform from stored to upright pixels by EXIF 2.32, tag 274, independent of the code under test.
UPRIGHT = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.swapaxes(p, 0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(np.swapaxes(p, 0, 1), 2),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    tag = [(274, 3, 1, orientation, True)]
    tagged_lzw = encoded(Image.fromarray(RGB), "TIFF", exif=exif, compression="tiff_lzw")
    for data in (encoded(Image.fromarray(RGB), exif=exif), tagged_lzw, tiff(RGB, photometric="rgb", extratags=tag)):
        np.testing.assert_array_equal(read(data).pixels, UPRIGHT[orientation](RGB))
    deep = tiff(RGB16, photometric="rgb", extratags=tag)
    np.testing.assert_array_equal(read(deep).pixels, UPRIGHT[orientation](RGB16))
    jpeg = read(encoded(Image.fromarray(SMOOTH), "JPEG", quality=95, subsampling=0, exif=exif)).pixels
    np.testing.assert_allclose(jpeg.astype(int), UPRIGHT[orientation](SMOOTH).astype(int), atol=12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_block_is_ignored() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert read(data).pixels.shape == SMOOTH.shape


FRAMES = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
REJECTED = {
    "empty": (b"", "empty"),
    "text": (b"not an image, but long enough for a header", "known format"),
    "half a png": (encoded(Image.fromarray(RGB))[:300], "decoded"),
    "half a 16-bit png": (by_opencv(".png", RGB16[..., ::-1])[:600], "decoded"),
    "half a jpeg": (encoded(Image.fromarray(RGB), "JPEG")[:-200], "decoded"),
    "half a tiff": (tiff(RGB16)[:-400], "decoded"),
    "half an npy": (npy(RGB)[:-10], "decoded"),
    "animated gif": (encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), "animated"),
    "animated png": (encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), "animated"),
    "animated webp": (encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), "animated"),
    "half a 16-bit tiff LZW": (LZW16[: len(LZW16) // 2], "decoded"),
    "16-bit tiff LZW, planar": (with_tag(LZW16, "PlanarConfiguration", 2), "save it with Deflate"),
    "several tiff pages": (tiff(np.stack([RGB, RGB]), photometric="rgb"), "pages"),
    "npy with objects": (npy(np.array([[{}]]), allow_pickle=True), "pickled"),
    "npy of one axis": (npy(np.arange(5, dtype=np.uint8)), "shape"),
    "npy of integers": (npy(np.zeros((3, 3), np.int64)), "int64"),
    "not a number": (npy(np.full((3, 3), np.nan, np.float32)), "finite"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + b" " * 30, "known format"),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_unusable_files_are_rejected_with_name_and_reason(kind: str, tmp_path: Path) -> None:
    data, reason = REJECTED[kind]
    path = tmp_path / "some image.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read(tmp_path / "nothing.png")


@pytest.mark.parametrize("cut", [1, 10, 40, 100, 200])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_truncated_file_raises_only_image_error(file_format: str, cut: int) -> None:
    with pytest.raises(ImageError):
        read(encoded(Image.fromarray(RGB), file_format)[:cut])


def bomb_tiff() -> bytes:
    data = tiff(np.zeros((1, 1), np.uint8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offsets = [file.pages.first.tags[tag].valueoffset for tag in ("ImageWidth", "ImageLength")]
    for offset in offsets:
        data = data[:offset] + struct.pack("<I", 30_000) + data[offset + 4 :]
    return data


def bomb_npy() -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (30_000, 30_000, 3)})
    return file.getvalue()


def bomb_jpeg() -> bytes:
    data = bytearray(encoded(Image.fromarray(RGB), "JPEG"))
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", 30_000, 30_000)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [png(30_000, 30_000, 8, 2, b""), png(30_000, 30_000, 16, 0, b""), bomb_tiff(), bomb_npy(), bomb_jpeg()],
    ids=["png", "16-bit png", "tiff", "npy", "jpeg"],
)
def test_decompression_bomb_is_rejected_before_decoding(data: bytes) -> None:
    with pytest.raises(ImageError):
        read(b"\x89PNG")  # import the decoders before time is measured
    start = time.process_time()
    with pytest.raises(ImageError, match="30000 × 30000"):
        read(data)
    assert time.process_time() - start < 0.05


def endless_tiff(*, thumbnail: bool) -> bytes:
    """A TIFF whose last page is its own successor."""
    file = io.BytesIO()
    writer = tifffile.TiffWriter(file)
    writer.write(RGB, photometric="rgb", metadata=None)
    if thumbnail:
        writer.write(RGB[:4, :4], photometric="rgb", subfiletype=1, metadata=None)
    data = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as pages:
        last = pages.pages[-1].aspage()
    at = last.offset + 2 + 12 * len(last.tags)  # of the offset of the next page
    return data[:at] + struct.pack("<I", last.offset) + data[at + 4 :]


def test_an_endless_tiff_ends() -> None:
    with pytest.raises(ImageError, match="several pages"):
        read(endless_tiff(thumbnail=False))
    np.testing.assert_array_equal(read(endless_tiff(thumbnail=True)).pixels, RGB)


def test_a_jpeg_of_hundreds_of_scans_is_refused() -> None:
    data = encoded(Image.fromarray(GRAY), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert read(data).pixels.shape == (13, 17, 1)
    with pytest.raises(ImageError, match="scans"):
        read(data[:-2] + data[last:-2] * 300 + data[-2:])


def test_pixel_limit_can_be_changed() -> None:
    data = encoded(Image.fromarray(RGB))
    assert read(data, max_pixels=13 * 17).pixels.shape == RGB.shape
    with pytest.raises(ImageError, match=r"17 × 13 px \(221\) is over the limit of 220 px; .*raise.*--max-pixels$"):
        read(data, max_pixels=13 * 17 - 1)


def test_the_limit_message_says_the_reason() -> None:
    with pytest.raises(ImageError, match=r"over the limit of 100,000,000 px; make it smaller$"):
        read(png(20_001, 5_000, 1, 0, b""))
    many = tiff(np.zeros((4, 5, 9), np.uint8), photometric="minisblack", planarconfig="contig")
    with pytest.raises(ImageError, match=r"5 × 4 px with 9 channels \(180 values\) is over the limit of 160 values"):
        read(many, max_pixels=40)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("444", (1, 1)), ("422", (2, 1)), ("420", (2, 2)), ("440", (1, 2)), ("411", (4, 1)), ("Gray", None)],
)
def test_chroma_subsampling_of_a_jpeg(sampling: str, expected: tuple[int, int] | None) -> None:
    assert read(simplejpeg.encode_jpeg(RGB, colorsubsampling=sampling)).coding.subsampling == expected


def test_a_webp_tells_whether_it_is_lossless() -> None:
    for image in (Image.fromarray(RGB), Image.fromarray(RGBA)):
        for options in ({}, {"icc_profile": SRGB, "exif": Image.Exif().tobytes()}):
            assert read(encoded(image, "WEBP", lossless=True, **options)).coding.is_lossless_webp
            assert not read(encoded(image, "WEBP", **options)).coding.is_lossless_webp
    assert not read(encoded(Image.fromarray(RGB), "PNG")).coding.is_lossless_webp
