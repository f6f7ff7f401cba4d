"""Does an answer say what its documents say? Its numbers have to stand in them, and most of its content words.

A record names its documents in the facts (`references`: file names, one a line or separated by commas); they are
text files under one folder. Knows no models: `vote` asks one whether they bear the answer out.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from distill.agents import invariants
from distill.agents.checkers.base import Finding
from distill.agents.constraints import words
from distill.agents.quality import content_words
from distill.records import Record
from serve.errors import NotFound

LEAST_SHARE = 0.5
_STEM = 5
"""Words count as found when these first letters of them are: no stemmer for three languages."""


class References:
    """The documents of one folder."""

    def __init__(self, folder: Path) -> None:
        """NotFound where there is no such folder."""
        if not folder.is_dir():
            raise NotFound(f"verify.references: there is no folder {folder}")
        self._folder = folder.resolve()
        self._text = lru_cache(maxsize=256)(self._read)

    def text(self, record: Record) -> str | None:
        """The record's documents, one behind the other; None where it names none. NotFound names what is missing."""
        names = [name.strip() for name in re.split(r"[\n,]", record.facts.get("references", ""))]
        names = [name for name in names if name]
        return "\n\n".join(self._text(name) for name in names) if names else None

    def _read(self, name: str) -> str:
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            raise NotFound(f"there is no reference {name} in {self._folder}")
        return path.read_text(encoding="utf-8", errors="replace")

    def check(self, record: Record) -> tuple[Finding, float] | None:
        """The finding, and the share of the answer's content words that the documents hold."""
        try:
            text = self.text(record)
        except NotFound as error:
            return Finding(False, "reference missing", error.message), 0.0
        if text is None:
            return None
        share = grounded(record.response, f"{text}\n{record.instruction}")
        given = invariants.numbers(text) | invariants.numbers(record.instruction)
        if foreign := _counted_out(record.response, given):
            return Finding(False, "number not in the references", foreign), share
        if share < LEAST_SHARE:
            return Finding(False, "not in the references", f"{share:.2f} of its words"), share
        return Finding(True), share


def _counted_out(response: str, given: set[Decimal]) -> str:
    # Numbers of list items are the answer's own.
    plain = re.sub(r"^\s*\d{1,2}[.)]\s", "", response, flags=re.MULTILINE)
    return str(min(invariants.numbers(plain) - given, default=""))


def grounded(answer: str, text: str) -> float:
    """Share of the answer's distinct content words that stand in `text`; 1 for an answer without any."""
    found = set(content_words(words(answer)))
    stems = {word[:_STEM] for word in content_words(words(text))}
    return sum(word[:_STEM] in stems for word in found) / len(found) if found else 1.0
