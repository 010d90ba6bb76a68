"""Decompress the strips and tiles of a TIFF up to the size that they should have, and no further."""

import lzma
import zlib
from collections.abc import Callable

Decompress = Callable[[bytes, int], bytes]
"""From compressed bytes, and the most bytes to return: what is beyond them is not decompressed."""
_LZMA_MEMORY_BYTES = 2**27
"""For the dictionary; the strongest preset of xz takes 65 MiB."""


def inflate(data: bytes, most_bytes: int) -> bytes:
    """Deflate. Raises zlib.error for damaged data."""
    return zlib.decompressobj().decompress(data, most_bytes)


def unpack_lzma(data: bytes, most_bytes: int) -> bytes:
    """LZMA and xz. Raises lzma.LZMAError for damaged data, and for a dictionary of more than 128 MiB."""
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES).decompress(data, most_bytes)


def unpack_bits(data: bytes, most_bytes: int) -> bytes:
    """PackBits (TIFF 6.0, section 9)."""
    unpacked, at = bytearray(), 0
    while at < len(data) - 1 and len(unpacked) < most_bytes:
        count = data[at]
        if count < 128:
            unpacked += data[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            if count > 128:
                unpacked += data[at + 1 : at + 2] * (257 - count)
            at += 2 if count > 128 else 1
    return bytes(unpacked[:most_bytes])
