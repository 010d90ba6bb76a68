"""The chunks of PNG files, by the W3C PNG specification, third edition, https://www.w3.org/TR/png-3/."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from gan_tasks.datasets.images.icc import MAX_PROFILE_BYTES

Chunks = Mapping[bytes, bytes]
"""Chunk bodies by chunk type."""
MAX_METADATA_BYTES = 2**20
"""Pillow refuses files with larger texts or profiles, inflated, and with 64 times as much text in total."""
_SIGNATURE_BYTES = 8
_IHDR_END = _SIGNATURE_BYTES + 25
_NEEDED = frozenset({b"IHDR", b"tRNS", b"cICP", b"mDCV", b"cLLI", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})


@dataclass(frozen=True)
class Header:
    """What comes before the pixels of a PNG. chunks: those of transparency and colour, as in the file."""

    bit_depth: int
    colour_type: int
    chunks: Chunks

    @property
    def is_gray(self) -> bool:
        return self.colour_type in (0, 4)

    @property
    def has_palette(self) -> bool:
        return self.colour_type == 3

    def transparent_colour(self) -> tuple[int, ...] | None:
        """Return the transparent colour of a gray or RGB file, in the 8 or 16 bits of its decoded pixels."""
        levels = self.chunks.get(b"tRNS", b"")
        if self.colour_type not in (0, 2) or len(levels) != (2 if self.is_gray else 6):
            return None
        highest = 2**self.bit_depth - 1
        scale = max(1, 255 // highest)  # 1-, 2- and 4-bit levels are decoded as 8 bits
        return tuple((level & highest) * scale for (level,) in struct.iter_unpack(">H", levels))


def read_header(file: BinaryIO) -> Header:
    """Read the chunks before the first IDAT, or as many as there are. Raises ValueError if the first is not IHDR."""
    file.seek(_SIGNATURE_BYTES)
    chunks: dict[bytes, bytes] = {}
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IDAT":
            break
        if kind in _NEEDED:
            chunks.setdefault(kind, file.read(length))
            file.seek(4, 1)  # the checksum
        else:
            file.seek(length + 4, 1)
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise ValueError("the file has no header")
    return Header(chunks[b"IHDR"][8], chunks[b"IHDR"][9], chunks)


def inflated_profile(iccp: bytes) -> bytes:
    """Return the profile in an iCCP chunk, at most one byte more than MAX_PROFILE_BYTES; empty if it is damaged."""
    compressed = iccp.partition(b"\0")[2][1:]  # after a name and the compression method
    try:
        return zlib.decompressobj().decompress(compressed, MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return b""


def without_metadata(png: bytes) -> bytes:
    """Leave out texts, and a profile over MAX_METADATA_BYTES."""
    return png[:_SIGNATURE_BYTES] + b"".join(whole for kind, whole in _chunks(png) if not _is_metadata(kind, whole))


def _is_metadata(kind: bytes, whole: bytes) -> bool:
    if kind == b"iCCP":
        return len(inflated_profile(whole[8:-4])) > MAX_METADATA_BYTES
    return kind in _TEXTS


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, whole chunk) of each chunk; the last may be cut."""
    position = _SIGNATURE_BYTES
    while len(png) - position >= 8:
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + length + 12
        yield kind, png[position:end]
        position = end


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a whole chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png: bytes, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Insert (type, body) chunks after the header."""
    return b"".join([png[:_IHDR_END], *(chunk(*each) for each in chunks), png[_IHDR_END:]])
