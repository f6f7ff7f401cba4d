"""A diverse subset under a budget: shares for the categories, then farthest first within each.

Greedy farthest-first (Gonzalez 1985) on MinHash distances, weighted by quality: the next one is that with the
largest quality × distance to what is chosen. Deterministic; O(candidates × chosen) in each category.
Knows no records.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_NEAR = 1e-3
"""Equal texts are told apart by quality alone."""


def shares(available: Mapping[str, int], budget: int, balance: float) -> dict[str, int]:
    """How many of each category: `balance` 1 gives equal shares, 0 shares as they came.

    What a small category cannot fill goes to the others. Sums to min(budget, all there is).
    """
    left = min(budget, sum(available.values()))
    taken = dict.fromkeys(sorted(available), 0)
    total = sum(available.values())
    weights = {
        name: balance / len(available) + (1 - balance) * count / total for name, count in available.items()
    }
    while left:
        open_names = [name for name in taken if taken[name] < available[name]]
        whole = sum(weights[name] for name in open_names)
        given = 0
        for name in open_names:
            more = min(available[name] - taken[name], int(left * weights[name] / whole + 1e-9))
            taken[name] += more
            given += more
        if not given:
            # Less than one for each: one by one, those with the largest share lacking first.
            lacking = sorted(open_names, key=lambda name: (taken[name] - budget * weights[name], name))
            for name in lacking[:left]:
                taken[name] += 1
                given += 1
        left -= given
    return taken


def farthest_first(signatures: NDArray[np.uint32], quality: NDArray[np.float64], count: int) -> list[int]:
    """`count` row numbers, in the order chosen; begins with the best. Equal ones: the lower number first.

    signatures [N, permutations] as of `similarity.signatures`; quality [N], above 0.
    """
    if count >= len(quality):
        return [int(at) for at in np.argsort(-quality, kind="stable")]
    distance = np.ones(len(quality))
    chosen: list[int] = []
    left = np.ones(len(quality), dtype=bool)
    for _ in range(count):
        gain = np.where(left, quality * (distance + _NEAR), -1.0)
        best = int(np.argmax(gain))
        chosen.append(best)
        left[best] = False
        similarity = (signatures == signatures[best]).mean(axis=1)
        distance = np.minimum(distance, 1.0 - similarity)
    return chosen
