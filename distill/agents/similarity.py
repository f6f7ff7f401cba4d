"""Near-duplicates by MinHash over character shingles.

Broder, "On the resemblance and containment of documents" (1997). Candidates come from locality-sensitive
hashing; the Jaccard similarity of those is then computed exactly. Knows no records.
"""

from __future__ import annotations

import re

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

SHINGLE = 5
PERMUTATIONS = 128
_LOOSER = 0.15
"""The hashing looks this much below the threshold, so that few pairs above it are missed."""


def shingles(text: str) -> frozenset[str]:
    """The 5-character pieces of the text, letter case and blanks evened out; short texts are one piece."""
    even = re.sub(r"\W+", " ", text.casefold()).strip() or text.strip()
    return frozenset(even[at : at + SHINGLE] for at in range(max(1, len(even) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared pieces over all pieces; 1 for equal sets."""
    return len(one & other) / len(one | other) if one or other else 1.0


def minhash(pieces: frozenset[str]) -> MinHash:
    """The signature of a set of shingles."""
    signature = MinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update_batch([piece.encode("utf-8", "surrogatepass") for piece in sorted(pieces)])
    return signature


def signatures(texts: list[str]) -> NDArray[np.uint32]:
    """[N, 128] MinHash signatures: the share of equal places estimates the Jaccard similarity."""
    rows = [np.asarray(minhash(shingles(text)).hashvalues, dtype=np.uint32) for text in texts]
    return np.stack(rows) if rows else np.zeros((0, PERMUTATIONS), np.uint32)


class NearDuplicates:
    """Texts seen so far, of which a new one may be a near-duplicate."""

    def __init__(self, threshold: float) -> None:
        """`threshold`: Jaccard similarity from which two are the same; above 1 nothing is."""
        self._threshold = threshold
        self._lsh = MinHashLSH(threshold=min(0.95, max(0.05, threshold - _LOOSER)), num_perm=PERMUTATIONS)
        self._texts: list[tuple[str, str]] = []

    def add(self, text: str, variant: str = "") -> str | None:
        """The earlier text that this one repeats; None where there is none, and then it counts as seen.

        Texts of different `variant` (another required form of the answer) are never the same.
        """
        pieces = shingles(text)
        signature = minhash(pieces)
        for found in sorted(int(key) for key in self._lsh.query(signature)):
            seen, its_variant = self._texts[found]
            if its_variant == variant and jaccard(pieces, shingles(seen)) >= self._threshold:
                return seen
        self._lsh.insert(str(len(self._texts)), signature)
        self._texts.append((text, variant))
        return None
