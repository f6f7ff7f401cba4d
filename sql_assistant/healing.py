"""Token healing: the last piece of text before the cursor is taken back and the model must spell it.

A tokenizer cuts "custo" otherwise than "customer", so a model asked to go on behind "custo" is in a
place it has never seen. What is taken back is the last unit of the tokenizer's own pre-splitting
(Qwen2's pattern, arXiv 2407.10671): nothing before it depends on what follows.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from serve.engines.base import Engine, TokenMask
from sql_assistant.caches import IdentityCache

_LAST_UNIT = re.compile(
    r"(?:[^\r\n\w]|_)?[^\W\d_]+\Z"  # a word with the blank or mark before it
    r"|[^\S\r\n]+\Z"  # blanks
    r"|[ ]?(?:[^\s\w]|_)+\Z"  # marks
    r"|\s*[\r\n]+\Z"  # line ends
)
_MAX_FRAGMENT = 64


def split(text: str) -> tuple[str, str]:
    """`text` as what the prompt keeps and the fragment that is taken back ("" where none is)."""
    found = _LAST_UNIT.search(text, max(0, len(text) - _MAX_FRAGMENT))
    if found is None:
        return text, ""
    return text[: found.start()], found.group()


class Vocabulary:
    """The tokens of an engine in byte order: which of them begin with, or are begun by, given bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._size = len(pieces)
        order = sorted((piece, token) for token, piece in enumerate(pieces) if piece)
        self._pieces = [piece for piece, _ in order]
        self._ids = np.array([token for _, token in order], np.int64)
        self.spelling = lru_cache(maxsize=512)(self._spelling)

    def _spelling(self, wanted: bytes) -> TokenMask:
        """True for tokens that agree with `wanted` as far as both reach. Shape [vocabulary]."""
        mask = np.zeros(self._size, np.bool_)
        first = bisect_left(self._pieces, wanted)
        last = bisect_left(self._pieces, wanted + b"\xff" * 8, first)
        mask[self._ids[first:last]] = True
        for length in range(1, len(wanted)):
            at = bisect_left(self._pieces, wanted[:length])
            while at < len(self._pieces) and self._pieces[at] == wanted[:length]:
                mask[self._ids[at]] = True
                at += 1
        mask.flags.writeable = False
        return mask


class Spell:
    """A constraint: the generated text begins with `fragment`."""

    def __init__(self, vocabulary: Vocabulary, pieces: Sequence[bytes], fragment: str) -> None:
        self._vocabulary = vocabulary
        self._pieces = pieces
        self._fragment = fragment.encode()

    def mask(self, generated: Sequence[int]) -> TokenMask | None:
        """None once the fragment is spelled."""
        written = b"".join(self._pieces[token] for token in generated[: len(self._fragment)])
        wanted = self._fragment[len(written) :]
        return self._vocabulary.spelling(wanted) if wanted else None


_vocabularies: IdentityCache[Sequence[bytes], Vocabulary] = IdentityCache(2)


def spell(engine: Engine, fragment: str) -> Spell | None:
    """The constraint for `fragment`; None where there is nothing to spell."""
    if not fragment:
        return None
    pieces = engine.token_bytes()
    return Spell(_vocabularies.get(pieces, Vocabulary), pieces, fragment)
