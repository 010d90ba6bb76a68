"""The parts that PNG, JPEG and GIF files consist of: how many there may be, as decoders loop over them in Python."""

from collections.abc import Iterator
from typing import BinaryIO

from gan_tasks.datasets.images.limits.directories import is_plausible_exif
from gan_tasks.datasets.images.pixels import ImageError

_FREE_PARTS = 4096
"""That any file may have."""
_BYTES_OF_A_PART = 128
"""On average, of those beyond; libpng writes pixels in parts of 8 KiB."""
_MAX_FILL_BYTES = 2**16
"""Bytes of value 255 in a row between the segments of a JPEG."""
_MAX_SCANS, _USUAL_SCANS = 100, 20
"""Scans of a progressive JPEG, and of a large one; usual ones have about 10, and each takes as long as an image."""
_MAX_SCANNED_PIXELS = 1_000_000_000
"""Pixels times scans, from the usual number of scans on."""
_MAX_PIXELS_PER_BYTE = 1024
"""Of a JPEG with Huffman codes, where each block of 8 × 8 px has a bit at least, in one channel of 2."""
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
_MAX_EXIF_BYTES = 2**20
"""Of all EXIF segments of a JPEG; usual files have one, of at most 64 KiB."""
_JPEG_ALONE = (0x01, *range(0xD0, 0xD8))
"""Markers without a length."""
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1


def check_png(file: BinaryIO) -> None:
    """Raise ImageError for more chunks than the file's bytes need."""
    _check_parts(file, _chunk_ends(file), "chunks")


def check_gif(file: BinaryIO) -> None:
    """Raise ImageError for more blocks than the file's bytes need."""
    _check_parts(file, _gif_blocks(file), "blocks", bytes_of_a_part=64)


def check_webp(file: BinaryIO) -> None:
    """Raise ImageError for more chunks than the file's bytes need."""
    _check_parts(file, _riff_chunks(file), "chunks")


def check_jpeg(data: bytes) -> None:
    """Raise ImageError for more segments than an image needs, for EXIF values that overlap, and for a size that the
    file's bytes cannot hold."""
    segments, exif, at = 0, b"", 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        start = at
        while at < len(data) and data[at] == 0xFF and at - start <= _MAX_FILL_BYTES:
            at += 1
        if at - start > _MAX_FILL_BYTES or segments > _FREE_PARTS:
            raise ImageError(f"has over {_FREE_PARTS:,} segments before its pixels: expected a few; save it again")
        marker = data[at] if at < len(data) else _END_OF_IMAGE
        at += 1
        segments += 1
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        if marker and marker not in _JPEG_ALONE:
            length = int.from_bytes(data[at : at + 2])
            if marker == _APP1 and data[at + 2 : at + 8] == b"Exif\0\0":
                exif += data[at + 2 + (6 if exif else 0) : at + length]  # Pillow joins them
            if marker in _HUFFMAN_FRAMES:
                height, width = int.from_bytes(data[at + 3 : at + 5]), int.from_bytes(data[at + 5 : at + 7])
                if height * width > _MAX_PIXELS_PER_BYTE * len(data):
                    raise ImageError(f"is damaged: {len(data):,} bytes cannot hold {width} × {height} px")
            at += max(2, length)
            if len(exif) > _MAX_EXIF_BYTES:
                break
    if exif and (len(exif) > _MAX_EXIF_BYTES or not is_plausible_exif(exif)):
        raise ImageError("has EXIF data that take much memory: save it without metadata")


def check_scans(data: bytes, pixels: int) -> None:
    """Raise ImageError for a progressive JPEG of many scans. pixels: height × width."""
    scans = data.count(b"\xff\xda")  # compressed data do not contain these bytes
    most = min(_MAX_SCANS, max(_USUAL_SCANS, _MAX_SCANNED_PIXELS // pixels))
    if scans > most:
        raise ImageError(f"has {scans:,} scans, which take very long: expected at most {most}; save it again")


def _check_parts(file: BinaryIO, parts: Iterator[int], kind: str, bytes_of_a_part: int = _BYTES_OF_A_PART) -> None:
    """parts: where each begins in the file."""
    file_bytes = file.seek(0, 2)
    most = _FREE_PARTS + file_bytes // bytes_of_a_part
    for number, _ in enumerate(parts):
        if number > most:
            raise ImageError(f"has over {most:,} {kind} in {file_bytes:,} bytes: expected fewer; save it again")


def _chunk_ends(file: BinaryIO) -> Iterator[int]:
    at = file.seek(8)
    while len(start := file.read(8)) == 8:
        yield at
        at = file.seek(at + 12 + int.from_bytes(start[:4]))


def _riff_chunks(file: BinaryIO) -> Iterator[int]:
    at = file.seek(12)
    while len(start := file.read(8)) == 8:
        yield at
        length = int.from_bytes(start[4:], "little")
        at = file.seek(at + 8 + length + length % 2)


def _gif_blocks(file: BinaryIO) -> Iterator[int]:
    """Yield for each block and sub-block."""
    file.seek(0)
    head = file.read(13).ljust(13, b"\0")
    at = file.seek(13 + (3 << (head[10] & 7) + 1 if head[10] & 128 else 0))
    while kind := file.read(1):
        yield at
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            flags = file.read(9).ljust(9, b"\0")[8]
            file.seek((3 << (flags & 7) + 1 if flags & 128 else 0) + 1, 1)
        elif kind == b";":
            return
        else:
            continue
        while (length := file.read(1)) and length[0]:
            yield at
            at = file.seek(length[0], 1)
