"""Files of few bytes that declare or unpack to much are refused, or read at the cost of their image."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from PIL import Image
from reliability.images import (
    HOSTILE,
    IDAT,
    bmp,
    chunk,
    encoded,
    exif_of_overlapping_values,
    gif,
    icc_of_overlapping_tags,
    icc_of_steps,
    jpeg_of_scans,
    jpeg_with,
    lzma_of_zeros,
    npy,
    pages_of_tiff,
    png,
    resized_jpeg,
    strip_tiff,
    zeros_deflated,
)

from gan_tasks.datasets.images import ImageError, Picture, read, to_srgb
from gan_tasks.datasets.images.limits.decompress import inflate, unpack_bits, unpack_lzma

SIDE = 5000
"""Of images that nothing of is decoded."""
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    kind: (HOSTILE[kind], expected)
    for kind, expected in {
        "TIFF, a directory that points to itself": "several pages",
        "TIFF, LZMA with a dictionary of 1 GB": "Memory usage limit",
        "TIFF, 4,000 strips of the same 2 MB": "strips or tiles of 8,000,000,000 bytes",
        "TIFF, 90,000,000 strips of one row": "90,000,000 strips or tiles",
        "TIFF, a tile of 65,535 × 65,535": "tiles of 65535 × 65535 px for 8 × 8 px",
        "TIFF, LZW tile of 65,535 × 65,535": "tiles of 65520 × 65520 px for 8 × 8 px",
        "TIFF, tiles of 1 × 1": "81,000,000 strips or tiles",
        "TIFF, tags repeated 1,000 times": "tags of 160,008,000 bytes",
        "TIFF, EXIF of overlapping values": "tags of 4,000,000,000 bytes",
        "NPY, pixels of 1 GB each": "pixels; save it with",
        "NPY, negative shape": "the shape",
        "BMP, runs that skip 255 rows": "run-length encoding",
        "GIF, screen of 65,535 × 65,535": "over the limit",
    }.items()
} | {
    "TIFF, a tile listed of 90,000": (
        lambda: strip_tiff(
            4800,
            4800,
            bytes(9),
            t322=(4, [16]),
            t323=(4, [16]),
            t324=(4, [8]),
            t325=(4, [9]),
            t273=(4, []),
            t279=(4, []),
        ),
        "lists 1 of its 90,000",
    ),
    "TIFF, 2,000 strips of 1": (
        lambda: strip_tiff(8, 8, bytes(8), t273=(4, [8] * 2000), t279=(4, [8] * 2000)),
        "2,000 strips or tiles",
    ),
    "TIFF, tags of many numbers": (
        lambda: strip_tiff(8, 8, bytes(8), t700=(3, [1] * 2_200_000)),
        "2,200,0.. numbers",
    ),
    "TIFF, thumbnails": (lambda: pages_of_tiff(30), "several pages"),
    "TIFF, cut in its directory": (lambda: b"II*\0\x20\0\0\0", "cut off"),
    "TIFF, without a directory": (lambda: b"II*\0" + bytes(4), "no directory"),
    "TIFF, without rows": (lambda: strip_tiff(8, 8, bytes(8), t278=(4, [0])), "without pixels"),
    "TIFF, complex": (lambda: strip_tiff(8, 8, b"", t258=(3, [128]), t339=(3, [6])), "complex128"),
    "PNG, empty chunks": (lambda: png(8, 8, chunk(b"vpAg", b"") * 6000, IDAT), "chunks in"),
    "PNG, empty IDAT chunks": (lambda: png(8, 8, chunk(b"IDAT", b"") * 6000, IDAT), "chunks in"),
    "WebP, empty chunks": (lambda: encoded("WEBP") + b"abcd\0\0\0\0" * 6000, "chunks in"),
    "GIF, empty comments": (lambda: gif(16, 16, blocks=b"!\xfe\0" * 6000), "blocks in"),
    "GIF, blocks of one byte": (lambda: gif(16, 16, blocks=b"!\xfe" + b"\1a" * 6000 + b"\0"), "blocks in"),
    "JPEG, comments": (lambda: jpeg_with(*[(0xFE, b"")] * 5000), "segments before its pixels"),
    "JPEG, fill bytes": (lambda: b"\xff\xd8" + b"\xff" * 70_000 + encoded("JPEG")[2:], "segments before its pixels"),
    "JPEG, EXIF": (lambda: jpeg_with((0xE1, b"Exif\0\0" + exif_of_overlapping_values(5000, 4900))), "EXIF data"),
    "JPEG, much EXIF": (lambda: jpeg_with(*[(0xE1, b"Exif\0\0" + b"a" * 65_000)] * 20), "EXIF data"),
    "JPEG, a size that lies": (lambda: resized_jpeg(SIDE), "bytes cannot hold 5000 × 5000 px"),
    "JPEG, scans": (lambda: jpeg_of_scans(300, 16), "310 scans"),
    "JPEG, scans of a large image": (lambda: jpeg_of_scans(100, 9000) + bytes(100_000), "110 scans"),
    "NPY, a long header": (lambda: npy("{" + " " * 20_000 + "}", 2), "header of 20,002 bytes"),
    "BMP, runs": (lambda: bmp(SIDE, SIDE, b"\0\1", compression=1), "run-length encoding"),
}


@contextmanager
def at_most(most_bytes: float) -> Iterator[None]:
    """Fail if what runs takes more memory, as far as Python and numpy see it."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most_bytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_that_costs_more_than_its_image_is_refused(kind: str) -> None:
    make, expected = REFUSED[kind]
    data = make()
    with at_most(30e6 + len(data)), pytest.raises(ImageError, match=expected):
        read(data)


ZEROS = 2**25
BOMBS = {
    "Deflate": lambda: strip_tiff(8, 8, zeros_deflated(ZEROS)),
    "LZMA": lambda: strip_tiff(8, 8, lzma_of_zeros(ZEROS), t259=(3, [34925])),
    "PackBits": lambda: strip_tiff(8, 8, b"\x81\0" * 300_000, t259=(3, [32773])),
    "PNG pixels": lambda: png(8, 8, chunk(b"IDAT", zeros_deflated(ZEROS))),
    "PNG text": lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zeros_deflated(ZEROS)), IDAT),
    "PNG EXIF in a text": HOSTILE["PNG, EXIF of overlapping values in a text"],
    "PNG EXIF": lambda: png(8, 8, chunk(b"eXIf", exif_of_overlapping_values(2**17, 2000)), IDAT),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_what_unpacks_to_more_than_the_image_is_read_at_the_cost_of_the_image(kind: str) -> None:
    data = BOMBS[kind]()
    with at_most(10e6):
        pixels = read(data).pixels
    assert pixels.shape[:2] == (8, 8)
    assert not pixels.any()


def test_a_profile_whose_tags_overlap_is_not_copied_for_each() -> None:
    profile = icc_of_overlapping_tags(2**22)
    with at_most(20e6):
        to_srgb(Picture(np.zeros((2, 2, 3), np.uint8), profile))


def test_the_steps_of_a_profile_are_not_computed_for_each_pixel() -> None:
    pixels = np.full((40, 50, 3), 100, np.uint8)
    np.testing.assert_array_equal(to_srgb(Picture(pixels, icc_of_steps(30))).pixels, pixels)


COMPRESSIONS = {"zlib": {}, "lzma": {}, "zlib with a predictor": {"predictor": True}}
LAYOUTS = {
    "strips": {"rowsperstrip": 3},
    "one strip": {"rowsperstrip": 1000},
    "tiles": {"tile": (16, 32)},
    "planes": {"planarconfig": "separate", "rowsperstrip": 4},
    "planes of tiles": {"planarconfig": "separate", "tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strips_and_tiles_are_decompressed_to_the_bit(compression: str, layout: str, dtype: type) -> None:
    pixels = np.random.default_rng(0).integers(0, 4, (37, 53, 3)).astype(dtype) * 60
    options = COMPRESSIONS[compression] | LAYOUTS[layout]
    values = np.moveaxis(pixels, 2, 0).copy() if "planarconfig" in options else pixels
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb", compression=compression.split()[0], **options)
    np.testing.assert_array_equal(read(file.getvalue()).pixels, pixels)


def test_packbits_are_read_as_pillow_reads_them() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 3, (37, 53, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "TIFF", compression="packbits")
    np.testing.assert_array_equal(read(file.getvalue()).pixels, np.asarray(image))


def test_decompression_ends_at_the_bytes_that_are_wanted() -> None:
    data = bytes(range(100)) * 50 + bytes(5000)
    bits = (
        b"".join(b"\x63" + bytes(range(100)) for _ in range(50)) + b"\x9d\0" * 50
    )  # 50 × 100 bytes, 50 × 100 times 0
    for unpack, packed, whole in (
        (inflate, zlib.compress(data), data),
        (unpack_lzma, lzma_of_zeros(2**20), bytes(2**20)),
        (unpack_bits, bits, data),
    ):
        for most_bytes in (1, 127, 5100, len(whole), len(whole) + 5):
            assert unpack(packed, most_bytes) == whole[:most_bytes]
    assert unpack_bits(b"\x80\x80\2abc\xfez\1", 100) == b"abczzz"


def test_usual_metadata_are_no_reason() -> None:
    exif = Image.Exif()
    exif[274], exif[270], exif[37500] = 6, "x" * 5000, bytes(40_000)
    for file_format in ("JPEG", "PNG", "WEBP", "TIFF"):
        file = io.BytesIO()
        pixels = np.zeros((13, 17, 3), np.uint8)
        Image.fromarray(pixels).save(file, file_format, exif=exif.tobytes(), icc_profile=bytes(300_000))
        assert read(file.getvalue()).pixels.shape == (17, 13, 3), file_format


def test_a_plain_jpeg_of_one_colour_is_read() -> None:
    """It has the fewest bytes for a pixel."""
    for options in ({}, {"progressive": True}, {"optimize": True}):
        file = io.BytesIO()
        Image.new("L", (4000, 2000), 128).save(file, "JPEG", quality=1, **options)
        assert read(file.getvalue()).pixels.shape == (2000, 4000, 1)


def test_an_exif_block_of_a_layout_that_pillow_takes_for_another_is_ignored() -> None:
    exif = b"MM\0+" + struct.pack(">HHQ", 8, 0, 16) + bytes(16)
    assert read(png(8, 8, chunk(b"eXIf", exif), IDAT)).pixels.shape == (8, 8, 3)
