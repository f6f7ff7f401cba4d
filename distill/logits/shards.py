"""One file of a logit store: how examples lie in it, and how what is whole is found in a damaged one.

    header    magic, version, K, digest of the store's manifest, CRC
    example   magic, CRC, number of positions P, key (32 bytes), P packed rows (`rows`), padded to 4 bytes
    ...
    index     (first 8 bytes of the key as a number, offset) of every example, sorted
    trailer   where the index begins, examples, positions, CRC of the index and these counts, magic

Each example has a CRC of its own that also covers key, length and the store it belongs to; index and trailer have
one together with the count of examples: any changed, missing or foreign byte of a shard is found, and the examples
around it stay usable. A shard that is still being written (`.part`) is the same without index and trailer.
Knows nothing of folders.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.logits.manifest import FORMAT_VERSION, StoreManifest
from distill.logits.rows import RowFormat
from distill.teachers.base import TopK
from serve.errors import Unprocessable

KEY_BYTES = 32
_HEADER = struct.Struct("<8sII16sI")
_EXAMPLE = struct.Struct("<4sII32s")
_TRAILER = struct.Struct("<QIQI8s")
_COUNTS = struct.Struct("<QIQ")
_HEADER_MAGIC = b"DSLOGITS"
_EXAMPLE_MAGIC = b"\xd5EX\xa7"
_TRAILER_MAGIC = b"DSLINDEX"
_CRC_END = 8
"""Of an example's bytes, those up to here (magic and CRC) are not under its CRC."""
HEADER_BYTES = _HEADER.size
INDEX = np.dtype([("prefix", "<u8"), ("offset", "<u8")])


class DamagedShard(Unprocessable):
    """A shard, or an example in it, that is not what was written."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}: {what}. Run the capture stage again: it keeps every whole example and captures only the "
            "damaged ones"
        )
        self.path = path


@dataclass(frozen=True, slots=True)
class Layout:
    """How the shards of one store are read and written."""

    rows: RowFormat
    digest: bytes
    """Of the manifest: 16 bytes."""

    @classmethod
    def of(cls, manifest: StoreManifest) -> Layout:
        """The layout of the store that `manifest` describes."""
        return cls(manifest.rows, manifest.digest)

    def header(self) -> bytes:
        """The first bytes of every shard."""
        fields = (_HEADER_MAGIC, FORMAT_VERSION, self.rows.top_k, self.digest)
        return _HEADER.pack(*fields, zlib.crc32(_HEADER.pack(*fields, 0)[:-4]))

    def example(self, key: bytes, rows: TopK) -> bytes:
        """One example as it lies in a shard."""
        body = self.rows.pack(rows)
        covered = _EXAMPLE.pack(b"", 0, len(rows.target_logprobs), key)[_CRC_END:] + body
        crc = zlib.crc32(covered, zlib.crc32(self.digest))
        return _EXAMPLE_MAGIC + crc.to_bytes(4, "little") + covered + b"\0" * (-(_CRC_END + len(covered)) % 4)

    def size(self, positions: int) -> int:
        """Bytes of an example, padding included."""
        return -(-(_EXAMPLE.size + positions * self.rows.row_bytes) // 4) * 4

    def whole_at(self, data: memoryview, offset: int) -> Place | None:
        """The example at `offset`, None unless all of it is there and unchanged."""
        if offset + _EXAMPLE.size > len(data):
            return None
        magic, crc, positions, key = _EXAMPLE.unpack_from(data, offset)
        end = offset + _EXAMPLE.size + positions * self.rows.row_bytes
        if magic != _EXAMPLE_MAGIC or offset + self.size(positions) > len(data):
            return None
        if zlib.crc32(data[offset + _CRC_END : end], zlib.crc32(self.digest)) != crc:
            return None
        return Place(key, offset, positions)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an example lies."""

    key: bytes
    offset: int
    positions: int


def index_and_trailer(places: Sequence[Place], index_offset: int) -> bytes:
    """The end of a finished shard."""
    table = np.array([(int.from_bytes(place.key[:8], "big"), place.offset) for place in places], dtype=INDEX)
    table.sort(order=["prefix", "offset"])
    index = table.tobytes()
    counts = (index_offset, len(places), sum(place.positions for place in places))
    crc = zlib.crc32(_COUNTS.pack(*counts), zlib.crc32(index))
    return index + _TRAILER.pack(*counts, crc, _TRAILER_MAGIC)


def scan(data: memoryview, layout: Layout, start: int, end: int) -> Iterator[Place]:
    """The whole examples between `start` and `end`; what is not one is passed over to the next."""
    raw = data[:end]
    offset = start
    while offset < end:
        place = layout.whole_at(raw, offset)
        if place is not None:
            yield place
            offset += layout.size(place.positions)
            continue
        offset = _next_magic(data, offset + 1, end)


def _next_magic(data: memoryview, start: int, end: int) -> int:
    """Examples begin at multiples of 4 behind the header; `end` where there is none left."""
    block = 1 << 20
    for begin in range(start, end, block):
        stop = min(end, begin + block + len(_EXAMPLE_MAGIC) - 1)
        found = bytes(data[begin:stop]).find(_EXAMPLE_MAGIC)
        if found >= 0:
            return begin + found
    return end


class Shard:
    """A finished shard, memory-mapped and read-only.

    DamagedShard where its frame (header, index, trailer, size) is damaged, and from `read` where an example is.
    Unprocessable where it belongs to another store.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self._data = mapped(path)
        refuse_foreign(path, self._data, layout)
        self.index, self.positions = self._frame()

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return len(self._data)

    def _frame(self) -> tuple[NDArray[np.void], int]:
        data = self._data
        if len(data) < HEADER_BYTES + _TRAILER.size or bytes(data[:HEADER_BYTES]) != self.layout.header():
            raise DamagedShard(self.path, f"its header is damaged or the file cut off at {len(data)} bytes")
        index_offset, examples, positions, crc, magic = _TRAILER.unpack(data[-_TRAILER.size :])
        if magic != _TRAILER_MAGIC:
            raise DamagedShard(self.path, f"it is cut off at {len(data)} bytes")
        index = data[index_offset : -_TRAILER.size]
        counted = zlib.crc32(_COUNTS.pack(index_offset, examples, positions), zlib.crc32(index))
        if counted != crc or len(index) != examples * INDEX.itemsize:
            raise DamagedShard(self.path, "its index is damaged")
        return np.frombuffer(index, INDEX), positions

    def read(self, offset: int) -> tuple[Place, TopK]:
        """The example at `offset`, checked."""
        place = self.layout.whole_at(self._data, offset)
        if place is None:
            raise DamagedShard(self.path, f"the example at byte {offset} is damaged")
        return place, self.layout.rows.unpack(self._data[offset + _EXAMPLE.size :], place.positions)

    def key_at(self, offset: int) -> bytes:
        """The key of the example at `offset`, unchecked."""
        return bytes(self._data[offset + _EXAMPLE.size - KEY_BYTES : offset + _EXAMPLE.size])

    @cached_property
    def whole(self) -> list[Place]:
        """Every whole example, in file order; all bytes are read and checked."""
        offsets = sorted(self.index["offset"].tolist())
        places = (self.layout.whole_at(self._data, offset) for offset in offsets)
        return [place for place in places if place is not None]


def mapped(path: Path) -> memoryview:
    """The file, memory-mapped; empty for an empty file."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def refuse_foreign(path: Path, data: memoryview, layout: Layout) -> None:
    """Unprocessable where a whole header says that the shard is of another store."""
    if len(data) < HEADER_BYTES:
        return
    magic, version, top_k, digest, crc = _HEADER.unpack(data[:HEADER_BYTES])
    if magic != _HEADER_MAGIC or zlib.crc32(data[: HEADER_BYTES - 4]) != crc:
        return
    if (version, top_k, digest) != (FORMAT_VERSION, layout.rows.top_k, layout.digest):
        raise Unprocessable(
            f"{path} belongs to another logit store (its K is {top_k}) than the manifest beside it: move it away, "
            "or restore the manifest it was written with"
        )
