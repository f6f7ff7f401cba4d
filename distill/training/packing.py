"""Examples into packed forward passes, and passes onto ranks. Knows lengths only: no tokens, no model.

A pass is one row of whole examples end to end without padding; examples in it do not see each other
(`attention`). Every rank gets the same number of passes, as the ranks meet in every one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def pack(lengths: Sequence[int], limit: int, ranks: int = 1) -> list[list[int]]:
    """Indices into `lengths`, in as few bins of at most `limit` tokens as greedy filling finds.

    The number of bins is a multiple of `ranks` and bin i is rank i % ranks's; bins are even in tokens (longest
    first, each into the emptiest bin). Bins are empty where there are fewer examples than ranks. ValueError
    where one example alone is over the limit.
    """
    if lengths and max(lengths) > limit:
        raise ValueError(f"an example of {max(lengths)} tokens does not fit into {limit}")
    bins = ranks * -(-sum(lengths) // (limit * ranks)) or ranks
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while (filled := _fill(order, lengths, limit, bins)) is None:
        bins += ranks
    return filled


def _fill(order: list[int], lengths: Sequence[int], limit: int, bins: int) -> list[list[int]] | None:
    """None where that many bins do not do."""
    filled: list[list[int]] = [[] for _ in range(bins)]
    loads = [(0, number) for number in range(bins)]
    for index in order:
        load, number = loads[0]
        if load + lengths[index] > limit:
            return None
        filled[number].append(index)
        heapq.heapreplace(loads, (load + lengths[index], number))
    for bin in filled:
        bin.sort()
    return filled
