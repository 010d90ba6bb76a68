"""The directories of tags in TIFF files and EXIF blocks, without the values of the tags.

TIFF 6.0, section 2, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF,
https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

_BYTES_OF_TYPE = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_BYTE_TYPES = (1, 2, 7)
"""BYTE, ASCII and UNDEFINED, which decoders keep as bytes; values of other types become Python numbers."""
_CHILDREN = (34665, 34853, 40965)
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SHARED_BYTES = 2**16
"""Values of small files may overlap by so much."""


@dataclass(frozen=True)
class Directory:
    """The tags of one image.

    tags: their number. entries: (type, count, place in the file) by tag; the last one where a tag comes twice.
    value_bytes: of all values. numbers: count of all values that are not bytes.
    """

    file: BinaryIO
    order: str
    is_big: bool
    tags: int
    entries: dict[int, tuple[int, int, int]]
    value_bytes: int
    numbers: int

    def children(self) -> Iterator["Directory"]:
        """Yield the directories of EXIF, GPS and interoperability tags, which decoders read too."""
        for tag in _CHILDREN:
            if place := self.integer(tag, 0):
                yield _read_directory(self.file, place, self.order, is_big=self.is_big)[0]

    def count(self, tag: int) -> int:
        return self.entries[tag][1] if tag in self.entries else 0

    def integers(self, tag: int, most: int) -> tuple[int, ...]:
        """Return the first values of a tag, at most `most`; empty if it is not there or holds no integers."""
        kind, count, place = self.entries.get(tag, (0, 0, 0))
        if kind not in _INTEGERS:
            return ()
        self.file.seek(place)
        data = self.file.read(min(count, most) * _BYTES_OF_TYPE[kind])
        return tuple(value for (value,) in struct.iter_unpack(f"{self.order}{_INTEGERS[kind]}", data))

    def integer(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return next(iter(self.integers(tag, 1)), default)


def read_directories(file: BinaryIO) -> Iterator[Directory]:
    """Yield the directories, each once. Raises struct.error for a damaged one, and OSError as the file does."""
    file.seek(0)
    head = file.read(16).ljust(16, b"\0")
    order = "<" if head[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    (place,) = struct.unpack_from(f"{order}Q", head, 8) if is_big else struct.unpack_from(f"{order}I", head, 4)
    seen: set[int] = set()
    while place and place not in seen:
        seen.add(place)
        directory, place = _read_directory(file, place, order, is_big=is_big)
        yield directory


def _read_directory(file: BinaryIO, place: int, order: str, *, is_big: bool) -> tuple[Directory, int]:
    """Return the directory at a place, and the place of the next."""
    count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    file.seek(min(place, 2**63 - 1))
    (count,) = struct.unpack(f"{order}{count_format}", file.read(struct.calcsize(count_format)))
    start, size = file.tell(), struct.calcsize(f"{order}{entry_format}")
    data = file.read(min(count, 2**16) * size)
    following = file.read(struct.calcsize(offset_format))
    (next_place,) = struct.unpack(f"{order}{offset_format}", following) if len(following) >= 4 else (0,)
    entries: dict[int, tuple[int, int, int]] = {}
    value_bytes = numbers = 0
    for number, (tag, kind, values, field) in enumerate(
        struct.iter_unpack(f"{order}{entry_format}", data[: len(data) // size * size])
    ):
        length = values * _BYTES_OF_TYPE.get(kind, 0)
        value_bytes += length
        numbers += 0 if kind in _BYTE_TYPES or not length else values
        inside = start + (number + 1) * size - len(field)
        at = inside if length <= len(field) else struct.unpack(f"{order}{offset_format}", field)[0]
        entries[tag] = (kind, values, min(at, 2**63 - 1))
    return Directory(file, order, is_big, count, entries, value_bytes, numbers), next_place


def is_plausible(directory: Directory, file_bytes: int) -> bool:
    """Return whether all values fit into the file side by side. Decoders read each, however they overlap."""
    return directory.value_bytes <= file_bytes + _SHARED_BYTES


def is_plausible_exif(exif: bytes) -> bool:
    """Return whether the first directory of an EXIF block can be read at the cost of its bytes; damage costs none."""
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    if exif.startswith(b"MM\0+"):  # BigTIFF, which Pillow takes for another layout
        return False
    try:
        directory = next(read_directories(BytesIO(exif)), None)
    except struct.error:
        return True
    return directory is None or is_plausible(directory, len(exif))
