"""Reading a GGUF file: its metadata, and its tensors a few rows at a time.

Memory-mapped, and fast on vocabularies (the `gguf` package's reader takes seconds for 300,000 strings); the
quantised blocks themselves are read by the `gguf` package. Format: docs/gguf.md of the ggml project. Knows
nothing of what the metadata or the tensors mean.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import NotFound, Unprocessable

_MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""`struct` letters by the format's value type."""
_STRING, _ARRAY = 8, 9
_ROW_BLOCK_VALUES = 16 * 1024 * 1024
"""Values dequantised at once: 64 MiB as float32."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies in the file."""

    name: str
    shape: tuple[int, ...]
    """As PyTorch writes it: [rows, columns]."""
    type: int
    """`gguf.GGMLQuantizationType`"""
    offset: int
    """From the start of the file, in bytes."""

    @property
    def type_name(self) -> str:
        """`F16`, `Q5_0`, ..."""
        from gguf import GGMLQuantizationType

        return str(GGMLQuantizationType(self.type).name)


class GgufFile:
    """One open file. `metadata` has plain Python values (arrays as lists, texts as str)."""

    def __init__(self, path: Path) -> None:
        """Raises NotFound, or Unprocessable when it is no GGUF or is cut off."""
        self.path = path
        if not path.is_file():
            raise NotFound(f"there is no file {path}")
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise Unprocessable(f"{path} is no GGUF file")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._read_header()
        except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
            raise Unprocessable(f"{path} is a damaged GGUF file: its header cannot be read") from error

    def _read_header(self) -> None:
        _, version, tensors, pairs = self._unpack("<4sIQQ", 0)
        if version not in (2, 3):
            raise Unprocessable(f"{self.path} is GGUF version {version}; versions 2 and 3 can be read")
        at = 24
        self.metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key, at = self._string(at)
            (kind,) = self._unpack("<I", at)
            self.metadata[key], at = self._value(kind, at + 4)
        found = []
        for _ in range(tensors):
            name, at = self._string(at)
            (dimensions,) = self._unpack("<I", at)
            *shape, kind, offset = self._unpack(f"<{dimensions}QIQ", at + 4)
            at += 4 + 8 * dimensions + 12
            found.append((name, tuple(reversed(shape)), kind, offset))
        alignment = int(self.metadata.get("general.alignment", 32))
        start = -(-at // alignment) * alignment
        self.tensors = {
            name: TensorInfo(name, shape, kind, start + offset) for name, shape, kind, offset in found
        }

    def _unpack(self, layout: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(layout, self._data, at)

    def _string(self, at: int) -> tuple[str, int]:
        (length,) = self._unpack("<Q", at)
        end = at + 8 + length
        if end > len(self._data):
            raise IndexError(end)
        return self._data[at + 8 : end].decode("utf-8"), end

    def _value(self, kind: int, at: int) -> tuple[Any, int]:
        if kind == _STRING:
            return self._string(at)
        if kind == _ARRAY:
            return self._array(at)
        letter = _SCALARS[kind]
        (value,) = self._unpack(f"<{letter}", at)
        return value, at + struct.calcsize(letter)

    def _array(self, at: int) -> tuple[list[Any], int]:
        kind, count = self._unpack("<IQ", at)
        at += 12
        if kind in _SCALARS:
            layout = f"<{count}{_SCALARS[kind]}"
            return list(self._unpack(layout, at)), at + struct.calcsize(layout)
        values = []
        for _ in range(count):
            value, at = self._value(kind, at)
            values.append(value)
        return values, at

    def rows(self, name: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """A tensor dequantised in blocks of rows: (index of the first row, [rows, columns]); of a vector, one
        block [length]. Raises Unprocessable for a type that the `gguf` package cannot dequantise."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize

        info = self.tensors[name]
        kind = GGMLQuantizationType(info.type)
        values_per_block, bytes_per_block = GGML_QUANT_SIZES[kind]
        columns = info.shape[-1]
        row_bytes = columns // values_per_block * bytes_per_block
        count = int(np.prod(info.shape[:-1], dtype=np.int64))
        if info.offset + count * row_bytes > len(self._data):
            raise Unprocessable(f"{self.path} is cut off: the tensor {name} is not all there")
        step = max(1, _ROW_BLOCK_VALUES // columns)
        for first in range(0, count, step):
            rows = min(step, count - first)
            raw = np.frombuffer(self._data, np.uint8, rows * row_bytes, info.offset + first * row_bytes)
            try:
                block = dequantize(raw.reshape(rows, row_bytes), kind)
            except NotImplementedError as error:
                raise Unprocessable(f"{self.path}: the tensor {name} is {kind.name}: {error}") from error
            block = np.asarray(block, np.float32).reshape(rows, columns)
            yield first, block if len(info.shape) > 1 else block[0]
