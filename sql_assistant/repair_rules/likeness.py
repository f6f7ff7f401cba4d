"""How alike two names are: spelling, and the words they are made of."""

from __future__ import annotations

import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+|\d+")
_MIN_SHARED = 3


@lru_cache(maxsize=65_536)
def distance(first: str, second: str, bound: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours between two words; bound + 1
    stands for all above `bound`. Optimal string alignment (Damerau 1964, Wagner and Fischer 1974)."""
    if abs(len(first) - len(second)) > bound:
        return bound + 1
    before_last: list[int] = []
    last = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                best = min(best, before_last[j - 2] + 1)
            row.append(best)
        if min(row) > bound:
            return bound + 1
        before_last, last = last, row
    return min(last[-1], bound + 1)


@lru_cache(maxsize=65_536)
def unlike(wrong: str, right: str) -> float | None:
    """What it costs to take `wrong` for a slip of `right`: 0.2 (letter case) to 1.3; None where they
    have too little in common for that."""
    first, second = wrong.lower(), right.lower()
    if first == second:
        return 0.2
    words, others = _words(wrong), _words(right)
    if "".join(words) == "".join(others):
        return 0.3
    if [word.rstrip("s") for word in words] == [word.rstrip("s") for word in others]:
        return 0.35
    bound = (len(first) + 1) // 4 if len(first) > 3 else 1
    far = distance(first, second, min(bound, 3))
    if far <= min(bound, 3) and far < min(len(first), len(second)):
        same_letters = 0.1 * (sorted(first) != sorted(second))
        return 0.2 + 0.2 * far + same_letters
    shared = set(words) & set(others)
    if shared and max(map(len, shared)) >= _MIN_SHARED and (shared in (set(words), set(others))):
        return 0.9 + 0.1 * (len(words) + len(others) - 2 * len(shared))
    return None


def _words(name: str) -> list[str]:
    """customer_id and customerID: customer, id."""
    return [word.lower() for word in _WORD.findall(name)]
