"""An index over a tokenizer's vocabulary: which tokens agree with given bytes. Built once a model."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from serve.engines.base import TokenMask

_KEPT = 96
"""Masks of either kind; each takes 0.15 MB."""
_AFTER_ALL = b"\xff" * 8
_WORD_BYTES = frozenset(
    value for value in range(256) if value >= 128 or chr(value).isalnum() or chr(value) == "_"
)


class Vocabulary:
    """Masks have the shape [vocabulary] and must not be written to."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._by_id = pieces
        order = sorted((piece, token) for token, piece in enumerate(pieces) if piece)
        self._pieces = [piece for piece, _ in order]
        self._ids: NDArray[np.int64] = np.array([token for _, token in order], np.int64)
        # Tokens that can end a word: they begin with no word character. Special tokens have no bytes.
        self._ending = np.array([not piece or piece[0] not in _WORD_BYTES for piece in pieces], np.bool_)
        self._special = np.array([not piece for piece in pieces], np.bool_)
        self.agreeing = lru_cache(maxsize=_KEPT)(self._agreeing)
        self.going_on = lru_cache(maxsize=_KEPT)(self._going_on)

    def spelled(self, tokens: Sequence[int]) -> bytes:
        """The bytes of `tokens`."""
        return b"".join(self._by_id[token] for token in tokens)

    def _agreeing(self, wanted: bytes) -> TokenMask:
        """True for tokens that agree with `wanted` as far as both reach."""
        mask = np.zeros(len(self._by_id), np.bool_)
        mask[self._beginning_with(wanted)] = True
        for token in self._beginnings_of(wanted):
            mask[token] = True
        mask.flags.writeable = False
        return mask

    def _going_on(self, rests: frozenset[str], only_after: str = "", may_end: bool = False) -> TokenMask:
        """True for tokens that spell the beginning of one of `rests`, or one of them and an end of
        word; with `only_after` for all tokens that begin otherwise, too; with `may_end` for the
        special tokens, which end the text."""
        mask = self._ending.copy() if "" in rests else np.zeros(len(self._by_id), np.bool_)
        if may_end:
            mask |= self._special
        if only_after:
            mask[:] = True
            mask[self._beginning_with(only_after.encode())] = False
        for rest in rests:
            wanted = rest.encode()
            mask[self._beginnings_of(wanted)] = True
            for token in self._beginning_with(wanted) if wanted else ():
                mask[token] |= self._ends_with_word(self._by_id[token], len(wanted))
        mask.flags.writeable = False
        return mask

    @staticmethod
    def _ends_with_word(piece: bytes, length: int) -> bool:
        """Whether the word in the first `length` bytes of `piece` is not a longer one."""
        return (
            len(piece) == length or piece[length] not in _WORD_BYTES or piece[length - 1] not in _WORD_BYTES
        )

    def _beginning_with(self, wanted: bytes) -> NDArray[np.int64]:
        first = bisect_left(self._pieces, wanted)
        return self._ids[first : bisect_left(self._pieces, wanted + _AFTER_ALL, first)]

    def _beginnings_of(self, wanted: bytes) -> list[int]:
        """Tokens that `wanted` begins with, shorter than it."""
        found = []
        for length in range(1, len(wanted)):
            at = bisect_left(self._pieces, wanted[:length])
            while at < len(self._pieces) and self._pieces[at] == wanted[:length]:
                found.append(int(self._ids[at]))
                at += 1
        return found
