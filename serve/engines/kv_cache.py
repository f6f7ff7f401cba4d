"""Which tokens are in the KV cache under which sequence id: bookkeeping only, no model.

All sequences live in one pool of cells (unified KV). A sequence that starts like another one shares
its cells instead of computing them again, so a cell is free only when the last sequence that holds
it lets go. The pool here mirrors the one inside llama.cpp cell by cell in number, not in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
_ROOMY = 0.4
"""Share of the pool above which idle sequences are let go though nobody needs their room: each step looks
at every cell up to the last one in use, which costs a batch of eight a third of its time in a full pool."""
_KEPT_PROMPTS = 8
_KEPT_ANCHORS = 4
"""Idle sequences that stay even then, the latest ones; a snapshot brings an anchor back in milliseconds."""


def common_prefix(left: Tokens, right: Tokens) -> int:
    """How many leading tokens two arrays share."""
    length = min(len(left), len(right))
    differ = left[:length] != right[:length]
    return int(differ.argmax()) if differ.any() else length


class SequenceMemory(Protocol):
    """What the bookkeeping asks of the model's memory, per sequence id."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target` hold the first `length` positions of `source` too."""

    def truncate(self, sequence: int, length: int) -> None:
        """Forget everything of `sequence` from position `length` on."""


@dataclass(slots=True, eq=False)
class CachedSequence:
    """The tokens whose keys and values are cached under one sequence id, in position order."""

    id: int
    capacity: int
    length: int = 0
    in_use: bool = False
    """A request computes on it; it cannot be evicted."""
    anchor: bool = False
    """Holds exactly a prefix that many requests share (a schema): evicted last."""
    last_used: int = 0
    _tokens: Tokens = field(init=False)
    _cells: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = np.empty(64, np.int32)
        self._cells = np.empty(64, np.int32)

    @property
    def tokens(self) -> Tokens:
        """Shape [length]."""
        return self._tokens[: self.length]

    @property
    def cells(self) -> NDArray[np.int32]:
        """Shape [length]: the pool's cell of every position."""
        return self._cells[: self.length]

    def append(self, tokens: Tokens, cells: NDArray[np.int32]) -> None:
        """Add computed tokens at the end."""
        end = self.length + len(tokens)
        if end > len(self._tokens):
            size = min(self.capacity, max(end, 2 * len(self._tokens)))
            self._tokens = np.resize(self._tokens, size)
            self._cells = np.resize(self._cells, size)
        self._tokens[self.length : end] = tokens
        self._cells[self.length : end] = cells
        self.length = end


class KVCache:
    """Sequence ids and cells: longest-prefix match, sharing, least-recently-used eviction.

    Not thread-safe: it belongs to the decode thread.
    """

    def __init__(self, memory: SequenceMemory, sequences: int, cells: int) -> None:
        self._memory = memory
        self._cells = cells
        self._references = np.zeros(cells, np.int32)
        self._free_cells = list(range(cells - 1, -1, -1))
        self._free_ids = list(range(sequences - 1, -1, -1))
        self._sequences: dict[int, CachedSequence] = {}
        self._max_anchors = max(1, sequences // 2)
        self._clock = 0

    @property
    def used_cells(self) -> int:
        """Cells that at least one sequence holds."""
        return self._cells - len(self._free_cells)

    @property
    def total_cells(self) -> int:
        """Size of the pool."""
        return self._cells

    def __len__(self) -> int:
        return len(self._sequences)

    def match(self, tokens: Tokens, *, in_use: bool = False) -> tuple[CachedSequence | None, int]:
        """The sequence that shares the longest prefix with `tokens`, and how long that is; with
        `in_use`, only among those that requests are computing on."""
        best, length = None, 0
        for sequence in self._sequences.values():
            if in_use and not sequence.in_use:
                continue
            shared = common_prefix(sequence.tokens, tokens)
            if shared > length:
                best, length = sequence, shared
        return best, length

    def reclaimable_cells(self) -> int:
        """Cells that would be free if every sequence not in use were evicted."""
        held = np.zeros(self._cells, np.bool_)
        for sequence in self._sequences.values():
            if sequence.in_use:
                held[sequence.cells] = True
        return self._cells - int(held.sum())

    def open(self) -> CachedSequence | None:
        """A new empty sequence in use; None when every id is in use."""
        if not self._free_ids and not self.evict():
            return None
        sequence = CachedSequence(self._free_ids.pop(), self._cells, in_use=True)
        self._sequences[sequence.id] = sequence
        self.touch(sequence)
        return sequence

    def adopt(self, target: CachedSequence, source: CachedSequence, length: int) -> None:
        """Let `target` share the first `length` positions of `source`, dropping what it had."""
        if source is target:
            raise ValueError("a sequence cannot adopt its own tokens")
        self.truncate(target, 0)
        self._memory.copy(source.id, target.id, length)
        self._references[source.cells[:length]] += 1
        target.append(source.tokens[:length], source.cells[:length])
        self.touch(source)

    def reserve(self, count: int) -> bool:
        """Evict until `count` cells are free. False when sequences in use hold too many."""
        while len(self._free_cells) < count:
            if not self.evict():
                return False
        return True

    def extend(self, sequence: CachedSequence, tokens: Sequence[int]) -> None:
        """Record that `tokens` were computed at the end of `sequence`.

        Raises RuntimeError when the pool has no room: `reserve` comes first.
        """
        if len(tokens) > len(self._free_cells):
            raise RuntimeError(f"{len(tokens)} cells needed, {len(self._free_cells)} free")
        cells = np.array([self._free_cells.pop() for _ in tokens], np.int32)
        self._references[cells] = 1
        sequence.append(np.asarray(tokens, np.int32), cells)

    def truncate(self, sequence: CachedSequence, length: int) -> None:
        """Forget the positions of `sequence` from `length` on."""
        self._memory.truncate(sequence.id, length)
        if length < sequence.length:
            self._release(sequence.cells[length:])
            sequence.length = length

    def retire(self, sequence: CachedSequence) -> None:
        """The request is over: keep what it computed for others, unless that adds nothing."""
        sequence.in_use = False
        self.touch(sequence)
        if sequence.length == 0 or self._is_covered(sequence):
            self.remove(sequence)
            return
        for other in self._idle():
            if not other.anchor and other is not sequence and self._covers(sequence, other):
                self.remove(other)
        self._tidy()

    def _tidy(self) -> None:
        """Let go of the oldest idle sequences while the pool is fuller than it need be."""
        while self.used_cells > _ROOMY * self._cells:
            idle = sorted(self._idle(), key=lambda sequence: sequence.last_used)
            prompts = [sequence for sequence in idle if not sequence.anchor][:-_KEPT_PROMPTS]
            anchors = [sequence for sequence in idle if sequence.anchor][:-_KEPT_ANCHORS]
            if not prompts and not anchors:
                return
            self.remove(min(prompts + anchors, key=lambda sequence: sequence.last_used))

    def anchor(self, source: CachedSequence, length: int) -> None:
        """Keep the first `length` positions of `source` as a sequence of their own, evicted last."""
        prefix = source.tokens[:length]
        for other in self._sequences.values():
            if other.anchor and other.length == length and common_prefix(other.tokens, prefix) == length:
                self.touch(other)
                return
        anchors = [other for other in self._idle() if other.anchor]
        if len(anchors) >= self._max_anchors:
            self.remove(min(anchors, key=lambda other: other.last_used))
        target = self.open()
        if target is None:
            return
        self.adopt(target, source, length)
        target.in_use, target.anchor = False, True

    def evict(self) -> bool:
        """Drop the idle sequence used longest ago, anchors last. False when all are in use."""
        idle = list(self._idle())
        if not idle:
            return False
        self.remove(min(idle, key=lambda sequence: (sequence.anchor, sequence.last_used)))
        return True

    def remove(self, sequence: CachedSequence) -> None:
        """Drop a sequence and free its id."""
        self.truncate(sequence, 0)
        del self._sequences[sequence.id]
        self._free_ids.append(sequence.id)

    def touch(self, sequence: CachedSequence) -> None:
        """Mark as used now."""
        self._clock += 1
        sequence.last_used = self._clock

    def _idle(self) -> Iterable[CachedSequence]:
        return [sequence for sequence in self._sequences.values() if not sequence.in_use]

    def _is_covered(self, sequence: CachedSequence) -> bool:
        return any(
            self._covers(other, sequence) for other in self._sequences.values() if other is not sequence
        )

    @staticmethod
    def _covers(longer: CachedSequence, shorter: CachedSequence) -> bool:
        return common_prefix(longer.tokens, shorter.tokens) == shorter.length

    def _release(self, cells: NDArray[np.int32]) -> None:
        self._references[cells] -= 1
        freed = cells[self._references[cells] == 0]
        self._free_cells.extend(int(cell) for cell in freed)
