"""The constraint a completion decodes under: first the healed fragment is spelled, then names that
the schema decides are spelled from the schema. Runs on the decode thread, a mask a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serve.engines.base import Engine, TokenMask
from sql_assistant.caches import IdentityCache
from sql_assistant.name_rules import NameRules
from sql_assistant.vocabulary import Vocabulary

_vocabularies: IdentityCache[Sequence[bytes], Vocabulary] = IdentityCache(2)


class Guide:
    """Implements `serve.engines.base.Constraint`."""

    def __init__(self, vocabulary: Vocabulary, fragment: str, names: NameRules | None) -> None:
        self._vocabulary = vocabulary
        self._fragment = fragment.encode()
        self._fragment_chars = len(fragment)
        self._names = names

    def mask(self, generated: Sequence[int]) -> TokenMask | None:
        """None where every token is allowed."""
        written = self._vocabulary.spelled(generated)
        wanted = self._fragment[len(written) :]
        named = self._named(written)
        if not wanted:
            return named
        spelling = self._vocabulary.agreeing(wanted)
        if named is None:
            return spelling
        both = np.logical_and(spelling, named)
        return both if both.any() else spelling

    def _named(self, written: bytes) -> TokenMask | None:
        if self._names is None:
            return None
        text = written.decode(errors="ignore")
        expected = self._names.expected(self._fragment_chars, text)
        if expected is None:
            return None
        return self._vocabulary.going_on(expected.rest, expected.only_after, expected.may_end)


def guide(engine: Engine, fragment: str, names: NameRules | None) -> Guide | None:
    """The constraint for a completion; None where nothing is constrained."""
    if not fragment and names is None:
        return None
    return Guide(_vocabularies.get(engine.token_bytes(), Vocabulary), fragment, names)
