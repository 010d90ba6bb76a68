"""What a TIFF file is refused for before a decoder opens it: structures that cost more than its image."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from gan_tasks.datasets.errors import counted
from gan_tasks.datasets.images.limits.directories import Directory, is_plausible, read_directories
from gan_tasks.datasets.images.limits.sizes import SizeLimit
from gan_tasks.datasets.images.pixels import ImageError

MAX_THUMBNAILS = 16
"""Pages of a TIFF that are looked at after the first."""
_MAX_SEGMENTS = 2**19
"""Strips or tiles of one image: 100 megapixels in tiles of 16 × 16 have 390,625."""
_FEW_SEGMENTS = 1024
"""So many cost nothing, also if the image has fewer or should have more."""
_MAX_NUMBERS = 2**21
"""Values of tags, bytes and texts aside, which decoders make Python numbers of."""
_MAX_TAGS = 4096
"""Tags of a directory, as in tifffile."""
_PADDING_VALUES = 2**24
"""By which the tiles may be larger than the image, beside 4 times its size: one tile of 2048 × 2048 RGBA."""
_WIDTH, _LENGTH, _STRIP_OFFSETS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 256, 257, 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_DEPTH, _TILE_DEPTH = 32997, 32998


def check_tiff(file: BinaryIO, limit: SizeLimit) -> None:
    """Raise ImageError for directories, strips or tiles that are out of proportion to the image."""
    file_bytes = file.seek(0, 2)
    try:
        directories = list(islice(_small(read_directories(file), file_bytes), 2 + MAX_THUMBNAILS))
    except struct.error as error:
        raise ImageError("cannot be decoded (a directory of the TIFF is cut off)") from error
    if not directories:
        raise ImageError("cannot be decoded (the TIFF has no directory)")
    if len(directories) > 1 + MAX_THUMBNAILS:
        raise ImageError("has several pages; save the page that you want as a separate file")
    _check_image(directories[0], file_bytes, limit)


def _small(directories: Iterator[Directory], file_bytes: int) -> Iterator[Directory]:
    """Pass on directories. Raises ImageError for one that is large or makes the sum of them large."""
    numbers = 0
    for directory in directories:
        for each in (directory, *directory.children()):
            numbers += each.numbers
            if each.tags > _MAX_TAGS or not is_plausible(each, file_bytes) or numbers > _MAX_NUMBERS:
                raise ImageError(
                    f"has tags of {each.value_bytes:,} bytes and {counted(numbers, 'number')} in a file of "
                    f"{file_bytes:,} bytes: expected an image with little metadata; save it again"
                )
        yield directory


def _check_image(page: Directory, file_bytes: int, limit: SizeLimit) -> None:
    width, height, samples = page.integer(_WIDTH, 0), page.integer(_LENGTH, 0), page.integer(_SAMPLES, 1)
    depth = page.integer(_DEPTH, 1)
    limit.check(height, width, depth * samples)
    if 0 in (width, height, depth, samples):
        raise ImageError(f"has {width} × {height} px with {counted(samples, 'channel')}, which is no image")
    planes = samples if page.integer(_PLANAR, 1) == 2 else 1
    is_tiled = _TILE_WIDTH in page.entries
    if is_tiled:
        tile = (page.integer(_TILE_DEPTH, 1), page.integer(_TILE_LENGTH, 0), page.integer(_TILE_WIDTH, 0))
    else:
        tile = (1, min(page.integer(_ROWS, height), height), width)
    if 0 in tile:
        raise ImageError("has strips or tiles without pixels; save it again")
    layers, down, across = (-(-side // part) for side, part in zip((depth, height, width), tile, strict=True))
    segments = planes * layers * down * across
    values = height * width * depth * samples
    padded_values = layers * down * across * tile[0] * tile[1] * tile[2] * samples
    if padded_values > 4 * values + _PADDING_VALUES:
        raise ImageError(
            f"has tiles of {tile[2]} × {tile[1]} px for {width} × {height} px: expected tiles about as large as the "
            "image at most; save it again"
        )
    offsets, lengths = (_TILE_OFFSETS, _TILE_BYTES) if is_tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    listed = max(page.count(offsets), page.count(lengths))
    if segments > _MAX_SEGMENTS or listed > max(2 * segments, _FEW_SEGMENTS):
        raise ImageError(
            f"has {max(segments, listed):,} strips or tiles for {width} × {height} px: expected at most "
            f"{min(_MAX_SEGMENTS, max(2 * segments, _FEW_SEGMENTS)):,}; save it again"
        )
    if listed < segments and segments > _FEW_SEGMENTS:
        raise ImageError(f"is damaged: it lists {listed:,} of its {segments:,} strips or tiles")
    compressed = sum(page.integers(lengths, segments))
    if compressed > 2 * file_bytes + _PADDING_VALUES:
        raise ImageError(
            f"has strips or tiles of {compressed:,} bytes in a file of {file_bytes:,} bytes: expected each byte to "
            "be in one of them; save it again"
        )
