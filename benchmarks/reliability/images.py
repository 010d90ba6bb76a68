"""Read hostile and randomly damaged images, and list those that crash, never end, or take too much memory.

    python benchmarks/reliability/images.py [--seconds 30] [--seed 0] [--limit-s 10] [--memory-mb 200]

First come files that are made to cost much: little bytes that declare or unpack to much. Then good files of every
format get random bytes, cuts and repetitions until the time is over. Each is read in a process that can be killed.
Right is an image, or an ImageError, within the time; a file that is refused may take `--memory-mb` beyond Python and
its libraries, and 8 bytes for each value that its header declares; one that is read 16 bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import lzma
import multiprocessing
import os
import random
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from gan_tasks.datasets.images import ImageError, read

ADDRESS_SPACE_BYTES = 12_000_000_000
BYTES_PER_VALUE, BYTES_PER_REFUSED_VALUE = 16, 8


@dataclass(frozen=True)
class Outcome:
    """answer: the size that was read, the start of the ImageError, or what went wrong. is_wrong: whether it did."""

    kind: str
    answer: str
    seconds: float
    peak_bytes: int
    is_wrong: bool


# Hostile files

SMALL = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)


def encoded(file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SMALL).save(file, file_format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def zeros_deflated(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(2**20)) for _ in range(count // 2**20)]
    return b"".join([*parts, packer.compress(bytes(count % 2**20)), packer.flush()])


def tiff(entries: dict[int, tuple[int, list[int]]], data: bytes, *, repeat: int = 1) -> bytes:
    """A little-endian TIFF; its pixels are at 8. entries: (type, values) by tag, of SHORT or LONG."""
    body, tags = bytearray(data), []
    for tag, (kind, values) in sorted(entries.items()):
        packed = b"".join(struct.pack("<H" if kind == 3 else "<I", value) for value in values)
        if len(packed) > 4:
            body += bytes(len(body) % 2)
            packed, body = struct.pack("<I", 8 + len(body)), body + packed
        tags.extend([struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")] * repeat)
    body += bytes(len(body) % 2)
    return (
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + b"".join(tags) + bytes(4)
    )


def strip_tiff(width: int, height: int, data: bytes, *, samples: int = 1, **changes: tuple[int, list[int]]) -> bytes:
    entries = {
        "256": (4, [width]),
        "257": (4, [height]),
        "258": (3, [8] * samples),
        "259": (3, [8]),
        "262": (3, [1]),
        "273": (4, [8]),
        "277": (3, [samples]),
        "278": (4, [height]),
        "279": (4, [len(data)]),
    } | {name.removeprefix("t"): value for name, value in changes.items()}
    return tiff({int(tag): value for tag, value in entries.items() if value[1]}, data)


def lzma_of_zeros(count: int) -> bytes:
    packer = lzma.LZMACompressor(preset=1)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(count // 2**20)), packer.flush()])


def lzma_of_dictionary(dictionary_bytes: int) -> bytes:
    """The dictionary that a decoder has to make is said in the header."""
    packed = lzma.compress(bytes(64), lzma.FORMAT_ALONE)
    return packed[:1] + struct.pack("<I", dictionary_bytes) + packed[5:]


def exif_of_overlapping_values(value_bytes: int, tags: int) -> bytes:
    entries = b"".join(struct.pack("<HHII", 1000 + number, 7, value_bytes, 8) for number in range(tags))
    return b"II*\0" + struct.pack("<IH", 8, tags) + entries + bytes(4 + value_bytes)


def hex_exif() -> bytes:
    return b"\nexif\n300000\n" + exif_of_overlapping_values(2**17, 10_000).hex().encode()


def tiff_of_exif(tags: int, value_bytes: int) -> bytes:
    """An LZW file, whose EXIF directory lies where the pixels should."""
    entries = b"".join(struct.pack("<HHII", 1000 + number, 7, value_bytes, 8) for number in range(tags))
    body = struct.pack("<H", tags) + entries + bytes(4 + value_bytes)
    return strip_tiff(8, 8, body, t259=(3, [5]), t34665=(4, [8]))


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    data = encoded("JPEG")
    return (
        data[:2]
        + b"".join(bytes([255, kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
        + data[2:]
    )


def jpeg_of_scans(count: int, side: int) -> bytes:
    data = encoded("JPEG", progressive=True)
    frame = data.index(b"\xff\xc2") + 5
    data = data[:frame] + struct.pack(">HH", side, side) + data[frame + 4 :]
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def resized_jpeg(side: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    frame = data.index(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def twelve_bit_jpeg() -> bytes:
    data = bytearray(encoded("JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def npy(header: str, version: int = 1) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode()


def bmp(width: int, height: int, body: bytes, *, compression: int = 0, bits: int = 8, colours: int = 256) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    table = bytes(4 * min(colours, 256))
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header) + len(table)) + header + table + body


def gif(width: int, height: int, *, blocks: bytes = b"", frames: int = 1) -> bytes:
    image = encoded("GIF")
    start = 13 + (3 << (image[10] & 7) + 1)
    return image[:6] + struct.pack("<HH", width, height) + image[10:start] + blocks + image[start:-1] * frames + b";"


def webp_canvas(width: int, height: int) -> bytes:
    still = encoded("WEBP")[12:]
    extended = (
        b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(still)) + b"WEBP" + extended + still


def webp_frames(side: int, count: int) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (side, side), (number % 256, 0, 0)) for number in range(count)]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], lossless=True, method=0)
    return file.getvalue()


def icc_of_overlapping_tags(profile_bytes: int) -> bytes:
    entries = b"".join(struct.pack(">4sII", f"t{number:03d}".encode(), 0, profile_bytes) for number in range(100))
    head = bytearray(128)
    head[16:20], head[36:40] = b"RGB ", b"acsp"
    return (bytes(head) + struct.pack(">I", 100) + entries).ljust(profile_bytes, b"\0")


def icc_of_steps(count: int) -> bytes:
    """A profile whose conversion (multiProcessElementsType) multiplies by the same matrix again and again."""
    step = b"matf" + struct.pack(">4xHH12f", 3, 3, *np.eye(3).ravel(), 0, 0, 0)
    begin = 16 + 8 * count
    steps = b"mpet" + struct.pack(">4xHHI", 3, 3, count) + struct.pack(">II", begin, len(step)) * count + step
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\4\x20\0\0", b"mntrRGB Lab ", b"acsp"
    head[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    profile = bytes(head) + struct.pack(">I4sII", 1, b"D2B0", 144, len(steps)) + steps
    return struct.pack(">I", len(profile)) + profile[4:]


def pages_of_tiff(count: int) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number in range(count):
            writer.write(SMALL, photometric="rgb", subfiletype=1 if number else 0, metadata=None)
    return file.getvalue()


def looped_tiff() -> bytes:
    data = bytearray(strip_tiff(4, 4, zlib.compress(bytes(16))))
    (first,) = struct.unpack_from("<I", data, 4)
    data[-4:] = struct.pack("<I", first)
    return bytes(data)


MANY = 3_000_000
IDAT = chunk(b"IDAT", zlib.compress(bytes(200)))
"""All pixels of an image of 8 × 8."""
HOSTILE: dict[str, Callable[[], bytes]] = {
    "TIFF, a directory that points to itself": looped_tiff,
    "TIFF, LZMA of 2 GB for 64 px": lambda: strip_tiff(8, 8, lzma_of_zeros(2**31), t259=(3, [34925])),
    "TIFF, LZMA with a dictionary of 1 GB": lambda: strip_tiff(8, 8, lzma_of_dictionary(2**30), t259=(3, [34925])),
    "TIFF, Deflate of 2 GB for 64 px": lambda: strip_tiff(8, 8, zeros_deflated(2**31)),
    "TIFF, Deflate in 1,000 strips of 16 MB each": lambda: strip_tiff(
        8,
        1000,
        zeros_deflated(2**24),
        t273=(4, [8] * 1000),
        t278=(4, [1]),
        t279=(4, [len(zeros_deflated(2**24))] * 1000),
    ),
    "TIFF, 4,000 strips of the same 2 MB": lambda: strip_tiff(
        8, 4000, bytes(2_000_000), t273=(4, [8] * 4000), t278=(4, [1]), t279=(4, [2_000_000] * 4000)
    ),
    "TIFF, PackBits of 64 MB for 64 px": lambda: strip_tiff(8, 8, b"\x81\0" * 500_000, t259=(3, [32773])),
    "TIFF, LZW of zeros for 64 px": lambda: strip_tiff(8, 8, bytes(2_000_000), t259=(3, [5])),
    "TIFF, 3,000,000 strips for 64 px": lambda: strip_tiff(
        8, 8, b"", t273=(4, [8] * MANY), t278=(4, [1]), t279=(4, [1] * MANY)
    ),
    "TIFF, 90,000,000 strips of one row": lambda: strip_tiff(1, 90_000_000, zlib.compress(b"\0"), t278=(4, [1])),
    "TIFF, a tile of 65,535 × 65,535": lambda: strip_tiff(
        8, 8, zlib.compress(bytes(64)), t322=(4, [65535]), t323=(4, [65535]), t324=(4, [8]), t325=(4, [20])
    ),
    "TIFF, LZW tile of 65,535 × 65,535": lambda: strip_tiff(
        8, 8, bytes(64), t259=(3, [5]), t322=(4, [65520]), t323=(4, [65520]), t324=(4, [8]), t325=(4, [20])
    ),
    "TIFF, tiles of 1 × 1": lambda: strip_tiff(
        9000, 9000, b"\0", t322=(4, [1]), t323=(4, [1]), t324=(4, [8]), t325=(4, [1])
    ),
    "TIFF, 65,535 planes": lambda: strip_tiff(
        30, 30, zlib.compress(bytes(900)), samples=65535, t284=(3, [2]), t273=(4, [8] * 65535), t279=(4, [9] * 65535)
    ),
    "TIFF, 65,535 interleaved samples": lambda: strip_tiff(70, 70, zlib.compress(bytes(99)), samples=65535),
    "TIFF, tags repeated 1,000 times": lambda: tiff(
        {256: (4, [8]), 257: (4, [8]), 273: (4, [8] * 20_000), 279: (4, [1] * 20_000)}, bytes(64), repeat=1000
    ),
    "TIFF, 3,000 pages": lambda: pages_of_tiff(3000),
    "TIFF, EXIF of overlapping values": lambda: tiff_of_exif(4000, 10**6),
    "TIFF, complex pixels": lambda: strip_tiff(
        9000, 9000, zeros_deflated(2**28), t258=(3, [128]), t339=(3, [6]), t262=(3, [1])
    ),
    "PNG, 1 × 1,000,000": lambda: png(1, 10**6, chunk(b"IDAT", zeros_deflated(4 * 10**6)), colour=2),
    "PNG, IDAT of 2 GB for 64 px": lambda: png(8, 8, chunk(b"IDAT", zeros_deflated(2**31))),
    "PNG, 3,000,000 empty chunks": lambda: png(8, 8, chunk(b"vpAg", b"") * MANY, IDAT),
    "PNG, 3,000,000 empty IDAT chunks": lambda: png(8, 8, chunk(b"IDAT", b"") * MANY, IDAT),
    "PNG, zTXt of 1 GB": lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zeros_deflated(2**30)), IDAT),
    "PNG, 200 zTXt of 1 MB": lambda: png(8, 8, *[chunk(b"zTXt", b"a\0\0" + zeros_deflated(2**20 - 9))] * 200, IDAT),
    "PNG, iCCP of 1 GB": lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + zeros_deflated(2**30)), IDAT),
    "PNG, profile of 100 tags of 8 MB": lambda: png(
        8,
        8,
        chunk(b"iCCP", b"a\0\0" + zlib.compress(icc_of_overlapping_tags(8 * 2**20))),
        IDAT,
    ),
    "PNG, profile of 100,000 steps for each pixel": lambda: png(
        300,
        300,
        chunk(b"iCCP", b"a\0\0" + zlib.compress(icc_of_steps(100_000))),
        chunk(b"IDAT", zeros_deflated(300 * 901)),
    ),
    "PNG, eXIf of overlapping values": lambda: png(
        8, 8, chunk(b"eXIf", exif_of_overlapping_values(2**20, 60_000)), IDAT
    ),
    "PNG, EXIF of overlapping values in a text": lambda: png(
        8, 8, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(hex_exif())), IDAT
    ),
    "PNG, interlaced, without pixels": lambda: png(9000, 9000, chunk(b"IDAT", zlib.compress(b"\0")), interlaced=1),
    "PNG, 16 bits, without pixels": lambda: png(9000, 9000, chunk(b"IDAT", zlib.compress(b"\0")), depth=16, colour=6),
    "JPEG, 5,000 scans": lambda: jpeg_of_scans(5000, 16),
    "JPEG, 190 scans of 9,000 × 9,000": lambda: jpeg_of_scans(190, 9000) + bytes(100_000),
    "JPEG, 20 scans of 9,000 × 9,000": lambda: jpeg_of_scans(10, 9000) + bytes(100_000),
    "JPEG, 9,000 × 9,000 without pixels": lambda: resized_jpeg(9000),
    "JPEG, 12 bits": twelve_bit_jpeg,
    "JPEG, 3,000,000 empty comments": lambda: jpeg_with(*[(0xFE, b"")] * MANY),
    "JPEG, 100 MB of fill bytes": lambda: b"\xff\xd8" + b"\xff" * 10**8 + encoded("JPEG")[2:],
    "JPEG, EXIF of overlapping values": lambda: jpeg_with(
        (0xE1, b"Exif\0\0" + exif_of_overlapping_values(5000, 4900))
    ),
    "JPEG, EXIF in 100 segments": lambda: jpeg_with(*[(0xE1, b"Exif\0\0" + b"a" * 65_000)] * 100),
    "JPEG, 255 segments of a profile": lambda: jpeg_with(
        *[(0xE2, b"ICC_PROFILE\0" + bytes([number, 255]) + bytes(65_000)) for number in range(1, 256)]
    ),
    "JPEG, restart markers": lambda: encoded("JPEG")[:-2] + b"\xff\xd0" * 10**7 + b"\xff\xd9",
    "GIF, screen of 65,535 × 65,535": lambda: gif(65535, 65535),
    "GIF, screen of 9,900 × 9,900": lambda: gif(9900, 9900),
    "GIF, 100,000 frames": lambda: gif(16, 16, frames=100_000),
    "GIF, 3,000,000 comments": lambda: gif(16, 16, blocks=b"!\xfe\0" * MANY),
    "GIF, a comment in blocks of one byte": lambda: gif(16, 16, blocks=b"!\xfe" + b"\1a" * MANY + b"\0"),
    "WebP, canvas of 16,384 × 16,384": lambda: webp_canvas(2**14, 2**14),
    "WebP, canvas of 65,535 × 65,535": lambda: webp_canvas(2**16 - 1, 2**16 - 1),
    "WebP, 200 frames": lambda: webp_frames(500, 200),
    "WebP, 3,000,000 chunks": lambda: encoded("WEBP") + b"abcd\0\0\0\0" * MANY,
    "BMP, header that lies": lambda: bmp(9000, 9000, b""),
    "BMP, negative sizes": lambda: bmp(-9000, -9000, b""),
    "BMP, 4 billion colours": lambda: bmp(8, 8, bytes(64), colours=2**32 - 1),
    "BMP, runs that skip 255 rows": lambda: bmp(90_000_000, 1, b"\0\2\xff\xff" * 10, compression=1),
    "BMP, ends of lines": lambda: bmp(9000, 9000, b"\0\0\1\1" * 5000, compression=1),
    "NPY, header that lies": lambda: npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9000, 9000, 4), }"),
    "NPY, header of 100 MB": lambda: npy("{" + " " * 10**8 + "}", 2),
    "NPY, nested header": lambda: npy("(" * 9000, 1),
    "NPY, pixels of 1 GB each": lambda: npy("{'descr': '|S1000000000', 'fortran_order': False, 'shape': (9, 9), }"),
    "NPY, negative shape": lambda: npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-9000, -9000), }"),
}


# Good files, and damage


def good_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (60, 45), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(small)

    def saved(file_format: str, image: Image.Image = small, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    def by_tifffile(values: NDArray[Any], **options: Any) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, values, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[274] = 6
    array = io.BytesIO()
    np.save(array, pixels)
    deep = pixels.astype(np.uint16) * 257
    return {
        "JPEG": saved("JPEG", exif=exif.tobytes()),
        "JPEG, progressive": saved("JPEG", progressive=True, quality=95),
        "JPEG, CMYK": saved("JPEG", small.convert("CMYK")),
        "PNG": saved("PNG", exif=exif.tobytes()),
        "PNG, palette": saved("PNG", small.quantize(32)),
        "PNG, 16 bits": saved("PNG", Image.fromarray(deep[..., 0])),
        "WebP": saved("WEBP", exif=exif.tobytes()),
        "WebP, lossless": saved("WEBP", lossless=True),
        "GIF": saved("GIF"),
        "BMP": saved("BMP"),
        "BMP, runs": bmp(60, 45, b"".join(bytes([60, row]) + b"\0\0" for row in range(45)) + b"\0\1", compression=1),
        "NPY": array.getvalue(),
        "TIFF": by_tifffile(pixels, photometric="rgb"),
        "TIFF, Deflate tiles": by_tifffile(deep, photometric="rgb", compression="zlib", tile=(16, 16)),
        "TIFF, Deflate, predictor": by_tifffile(
            pixels, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=4
        ),
        "TIFF, LZMA, planar": by_tifffile(
            np.moveaxis(pixels, 2, 0).copy(), photometric="rgb", compression="lzma", planarconfig="separate"
        ),
        "TIFF, LZW": saved("TIFF", compression="tiff_lzw"),
        "TIFF, JPEG": saved("TIFF", compression="jpeg"),
        "TIFF, PackBits": saved("TIFF", compression="packbits"),
        "TIFF, palette": saved("TIFF", small.quantize(32), compression="tiff_lzw"),
        "TIFF, 1 bit, Group 4": saved("TIFF", small.convert("1"), compression="group4"),
        "TIFF, 16-bit LZW": saved("TIFF", Image.fromarray(deep[..., 0]), compression="tiff_lzw"),
    }


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, most of them near the start, where the headers are; or cut, or repeat a part.

    Most PNG files get right checksums again.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        reach = rng.choice((64, 400, len(changed)))
        at = rng.randrange(max(1, min(reach, len(changed))))
        if rng.random() < 0.3:
            at = max(0, len(changed) - 1 - at)
        match rng.randrange(6):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at : at + 1] = bytes([changed[at] ^ 1 << rng.randrange(8)]) if changed else b""
            case 2:
                changed[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
            case 3:
                changed[at : at + 2] = struct.pack(rng.choice("<>") + "H", rng.choice((0, 1, 255, 4096, 65535)))
            case 4:
                del changed[rng.randrange(len(changed) + 1) :]
            case 5:
                part = changed[at : at + rng.randrange(1, 200)]
                changed[at:at] = part * rng.choice((1, 1, 2, 50))
        if not changed:
            break
    return with_checksums(bytes(changed)) if rng.random() < 0.9 else bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """Put the right checksum after each chunk of a PNG; return other files as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        parts.append(chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])[4:])
        parts.insert(-1, data[at : at + 4])
        at += 12 + length
    return b"".join([*parts, data[at:]])


# Running


def reader(pipe: Connection, memory_bytes: int) -> None:
    """In a process of its own: answer each file that comes with what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    for data in good_files().values():  # loads the decoders
        read(data)
    pipe.send(peak_bytes())
    while True:
        data = pipe.recv_bytes()
        reset_peak()
        before, start, declared, wrong = peak_bytes(), time.perf_counter(), [0], False
        most = 0
        try:  # with the conversion to sRGB, as for most models
            pixels = read(data, keep_profiles=(), on_size=declared.append).pixels
            answer = f"read, {'×'.join(map(str, pixels.shape))} {pixels.dtype}"
            most = BYTES_PER_VALUE * max(pixels.size, *declared)
            del pixels
        except ImageError as refused:
            answer, most = str(refused).removeprefix("the image: "), BYTES_PER_REFUSED_VALUE * max(declared)
        except BaseException as bug:
            answer, wrong = f"{type(bug).__name__}: {bug}", True
        pipe.send((answer, time.perf_counter() - start, peak_bytes() - before, most, wrong))


def reset_peak() -> None:
    """Let the kernel count the peak anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Readers:
    """A process that reads, and another when it was killed."""

    def __init__(self, limit_s: float, memory_bytes: int) -> None:
        self.limit_s, self.memory_bytes = limit_s, memory_bytes
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def read(self, kind: str, data: bytes) -> Outcome:
        pipe = self._started()
        start = time.perf_counter()
        try:
            pipe.send_bytes(data)
            if not pipe.poll(self.limit_s):
                self.stop()
                return Outcome(kind, "never ends", time.perf_counter() - start, 0, True)
            answer, seconds, peak, most, wrong = pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return Outcome(kind, "crashes", time.perf_counter() - start, 0, True)
        if peak > self.memory_bytes + most + len(data):
            answer, wrong = f"takes {peak / 1e6:,.0f} MB: {answer}", True
        return Outcome(kind, answer, seconds, peak, wrong)

    def _started(self) -> Connection:
        if self._process is None or self._pipe is None:
            spawn = multiprocessing.get_context("spawn")
            self._pipe, theirs = spawn.Pipe()
            self._process = spawn.Process(target=reader, args=(theirs, ADDRESS_SPACE_BYTES), daemon=True)
            self._process.start()
            theirs.close()
            self._pipe.recv()
        return self._pipe

    def stop(self) -> None:
        if self._process is not None and self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = self._pipe = None


def fuzzed(readers: Readers, seed: int, seconds: float) -> Iterator[tuple[Outcome, bytes]]:
    rng, files = random.Random(seed), list(good_files().items())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind, data = rng.choice(files)
        data = damaged(data, rng)
        yield readers.read(kind, data), data


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="how long damaged files are read")
    parser.add_argument("--seed", type=int, default=0, help="another seed damages the files in other ways")
    parser.add_argument("--limit-s", type=float, default=10, help="a file that takes longer never ends")
    parser.add_argument("--memory-mb", type=float, default=200, help="that a refused file may take")
    parser.add_argument("--keep", default="", help="a folder for damaged files that went wrong")
    parser.add_argument("--only", default="", help="hostile files whose name contains this")
    return parser.parse_args()


def run_all(options: argparse.Namespace) -> int:
    readers = Readers(options.limit_s, int(options.memory_mb * 1e6))
    print("| File | Bytes | Answer | Seconds | Peak |\n|---|---|---|---|---|")
    hostile = []
    for kind, make in HOSTILE.items():
        if options.only in kind:
            data = make()
            hostile.append(readers.read(kind, data))
            print(row(hostile[-1], data), flush=True)
    by_kind: dict[str, list[Outcome]] = {}
    for ended, data in fuzzed(readers, options.seed, options.seconds):
        by_kind.setdefault(ended.kind, []).append(ended)
        if ended.is_wrong:
            print(row(ended, data), flush=True)
            if options.keep:
                Path(options.keep, f"{zlib.crc32(data):08x}").write_bytes(data)
    readers.stop()
    print("\n| Damaged | Files | Read | Refused | Wrong | Slowest | Largest |\n|---|---|---|---|---|---|---|")
    for kind, ends in sorted(by_kind.items()):
        print(sums(kind, ends))
    ends = [*hostile, *(ended for each in by_kind.values() for ended in each)]
    wrong = [ended.answer for ended in ends if ended.is_wrong]
    crashes, endless = wrong.count("crashes"), wrong.count("never ends")
    large = sum(answer.startswith("takes") for answer in wrong)
    print(f"\n{len(ends)} files: {crashes} crash, {endless} never end, {large} over the memory, {len(wrong)} wrong")
    return 1 if wrong else 0


def row(ended: Outcome, data: bytes) -> str:
    answer = ("**WRONG** " if ended.is_wrong else "") + ended.answer[:110].replace("\n", " ")
    return f"| {ended.kind} | {len(data):,} | {answer} | {ended.seconds:.2f} | {ended.peak_bytes / 1e6:,.0f} MB |"


def sums(kind: str, ends: list[Outcome]) -> str:
    good = sum(ended.answer.startswith("read") for ended in ends)
    wrong = sum(ended.is_wrong for ended in ends)
    slowest, largest = max(ended.seconds for ended in ends), max(ended.peak_bytes for ended in ends)
    refused = len(ends) - good - wrong
    return f"| {kind} | {len(ends)} | {good} | {refused} | {wrong} | {slowest:.2f} s | {largest / 1e6:,.0f} MB |"


if __name__ == "__main__":
    sys.exit(run_all(parsed()))
