"""The bookkeeping of sequences and cells, against a memory that records what it was told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engines.kv_cache import CachedSequence, KVCache, common_prefix


@dataclass
class RecordingMemory:
    """Mirrors what llama.cpp would hold: for each sequence the cells at its positions."""

    sequences: dict[int, int] = field(default_factory=dict)
    copies: list[tuple[int, int, int]] = field(default_factory=list)

    def copy(self, source: int, target: int, length: int) -> None:
        self.copies.append((source, target, length))
        self.sequences[target] = length

    def truncate(self, sequence: int, length: int) -> None:
        self.sequences[sequence] = min(self.sequences.get(sequence, 0), length)


def make(sequences: int = 4, cells: int = 20) -> tuple[KVCache, RecordingMemory]:
    memory = RecordingMemory()
    return KVCache(memory, sequences, cells), memory


def filled(cache: KVCache, tokens: list[int]) -> CachedSequence:
    sequence = cache.open()
    assert sequence is not None
    assert cache.reserve(len(tokens))
    cache.extend(sequence, tokens)
    return sequence


def array(*tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(tokens, np.int32)


def test_common_prefix() -> None:
    assert common_prefix(array(1, 2, 3), array(1, 2, 4, 5)) == 2
    assert common_prefix(array(), array(1)) == 0
    assert common_prefix(array(1, 2), array(1, 2)) == 2


def test_the_longest_prefix_wins_over_all_sequences() -> None:
    cache, _ = make()
    filled(cache, [1, 2])
    longer = filled(cache, [1, 2, 3, 4])
    match, length = cache.match(array(1, 2, 3, 9))
    assert match is longer
    assert length == 3


def test_a_shared_prefix_takes_no_cells_of_its_own() -> None:
    cache, memory = make()
    first = filled(cache, [1, 2, 3])
    second = cache.open()
    assert second is not None
    cache.adopt(second, first, 2)
    cache.extend(second, [8])
    assert cache.used_cells == 4
    assert memory.copies == [(first.id, second.id, 2)]
    cache.remove(first)
    assert cache.used_cells == 3
    assert second.tokens.tolist() == [1, 2, 8]


def test_the_sequence_used_longest_ago_goes_first_and_anchors_last() -> None:
    cache, _ = make(sequences=4, cells=12)
    schema = filled(cache, [7, 7, 7])
    cache.anchor(schema, 3)
    cache.remove(schema)
    for start in (10, 20):
        cache.retire(filled(cache, [start, start + 1, start + 2]))
    assert cache.match(array(10, 11))[1] == 2
    assert cache.reserve(6)
    assert cache.match(array(10, 11))[1] == 0
    assert cache.match(array(20, 21))[1] == 2
    assert cache.match(array(7, 7, 7))[1] == 3


def test_old_sequences_are_let_go_before_the_pool_is_full_and_the_latest_stay() -> None:
    cache, _ = make(sequences=100, cells=1000)
    running = filled(cache, [0] * 50)
    cache.anchor(running, 20)
    for number in range(1, 60):
        cache.retire(filled(cache, [number] * 20))
    assert cache.used_cells <= 400
    assert cache.match(array(0, 0))[1] == 2
    assert [cache.match(array(number, number))[1] for number in (1, 30, 45, 59)] == [0, 0, 2, 2]
    roomy, _ = make(sequences=100, cells=4000)
    for number in range(1, 60):
        roomy.retire(filled(roomy, [number] * 20))
    assert roomy.match(array(1, 1))[1] == 2


def test_schemas_that_are_not_used_any_more_are_let_go_too() -> None:
    cache, _ = make(sequences=100, cells=1000)
    for number in range(1, 13):
        sequence = filled(cache, [number] * 80)
        cache.anchor(sequence, 70)
        cache.retire(sequence)
    assert [cache.match(array(number))[1] for number in range(1, 13)] == [0] * 4 + [1] * 8


def test_nothing_in_use_is_evicted() -> None:
    cache, _ = make(cells=4)
    filled(cache, [1, 2, 3, 4])
    assert not cache.reserve(1)


def test_extending_past_the_pool_is_an_error_not_a_corruption() -> None:
    cache, _ = make(cells=2)
    sequence = cache.open()
    assert sequence is not None
    with pytest.raises(RuntimeError, match="3 cells needed"):
        cache.extend(sequence, [1, 2, 3])


def test_a_retired_sequence_that_adds_nothing_is_dropped() -> None:
    cache, _ = make()
    cache.retire(filled(cache, [1, 2, 3]))
    shorter = filled(cache, [1, 2])
    cache.retire(shorter)
    assert len(cache) == 1
    longer = filled(cache, [1, 2, 3, 4])
    cache.retire(longer)
    assert len(cache) == 1
    assert cache.match(array(1, 2, 3, 4))[1] == 4


def test_anchoring_twice_keeps_one_copy() -> None:
    cache, _ = make(sequences=8)
    sequence = filled(cache, [1, 2, 3])
    cache.anchor(sequence, 2)
    cache.anchor(sequence, 2)
    assert len(cache) == 2


def test_truncating_frees_the_tail() -> None:
    cache, memory = make()
    sequence = filled(cache, [1, 2, 3, 4])
    cache.truncate(sequence, 1)
    assert cache.used_cells == 1
    assert sequence.tokens.tolist() == [1]
    assert memory.sequences[sequence.id] == 0 or memory.sequences[sequence.id] <= 1


@given(
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=6)), max_size=40)
)
def test_cells_are_never_lost_or_counted_twice(steps: list[tuple[int, list[int]]]) -> None:
    cache, _ = make(sequences=5, cells=16)
    running: list[CachedSequence] = []
    for action, tokens in steps:
        if action == 0 and len(running) < 2:
            sequence = cache.open()
            assert sequence is not None
            match, length = cache.match(np.array(tokens, np.int32))
            if match is not None and match is not sequence:
                cache.adopt(sequence, match, length)
            if cache.reserve(len(tokens) - sequence.length):
                cache.extend(sequence, tokens[sequence.length :])
            running.append(sequence)
        elif action == 1 and running:
            cache.retire(running.pop(0))
        elif action == 2 and running:
            cache.truncate(running[0], len(tokens) // 2)
        elif action == 3 and running:
            cache.anchor(running[0], min(2, running[0].length))
        held = {int(cell) for sequence in cache._sequences.values() for cell in sequence.cells}
        assert cache.used_cells == len(held)
    for sequence in running:
        cache.retire(sequence)
    while cache.evict():
        pass
    assert cache.used_cells == 0
