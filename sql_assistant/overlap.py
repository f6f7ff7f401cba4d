"""Where a generated text begins to repeat what stands right of the cursor.

Compared by lexical units, without blanks and letter case, because the model lays its text out in
its own way. A suffix that begins in the middle of a word is found inside words too.
"""

from __future__ import annotations

from dataclasses import dataclass

from sql_assistant import statements
from sql_assistant.cursor import is_word

_MAX_CHARS = 400
_ENOUGH_UNITS = 6
"""So many units in a row are no coincidence ("AND t.x =" alone has five)."""
_WHOLE_UNITS = 3
"""A whole suffix of at least so many units is repeated when it appears."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """The text from `start` on agrees with the beginning of the suffix."""

    start: int
    units: int
    """Units of the suffix that are repeated in full."""
    whole: bool
    """All of the suffix is repeated."""
    to_end: bool
    """The text ends within the overlap or with it."""


class Suffix:
    """The text right of the cursor, prepared for comparison."""

    def __init__(self, after: str, dialect: str) -> None:
        self._dialect = dialect
        head = after[:_MAX_CHARS]
        self._complete = len(after) <= _MAX_CHARS
        pieces = [p for p in statements.pieces(head, dialect) if not p.is_comment]
        self._units = [_fold(head[piece.start : piece.end]) for piece in pieces]
        self._folded = "".join(self._units)
        self.begins_in_word = is_word(after[:1])
        """The cursor may stand in the middle of a word."""

    def overlaps(self, text: str) -> list[Overlap]:
        """Every place from which on `text` agrees with the suffix, in order."""
        if not self._folded:
            return []
        folded, starts = self._prepare(text)
        found = []
        for start, at in starts:
            common = _common(folded, at, self._folded)
            whole = common == len(self._folded)
            to_end = at + common == len(folded)
            units = self._count(common)
            if units >= 2 or whole or (to_end and common):
                found.append(Overlap(start, units, whole and self._complete, to_end))
        return found

    def repeated_at(self, text: str) -> int | None:
        """Where the suffix begins to be repeated beyond doubt, None where it is not (yet)."""
        for overlap in self.overlaps(text):
            if overlap.units >= _ENOUGH_UNITS or (overlap.whole and overlap.units >= _WHOLE_UNITS):
                return overlap.start
        return None

    def may_begin_at(self, text: str) -> int:
        """Where what may become a repetition begins; the text's length where nothing can."""
        return min((o.start for o in self.overlaps(text) if o.to_end or o.whole), default=len(text))

    def _prepare(self, text: str) -> tuple[str, list[tuple[int, int]]]:
        """`text` folded, and the places where a unit begins: offset in `text`, offset in the fold."""
        units = []
        starts = []
        at = 0
        for piece in statements.pieces(text, self._dialect):
            unit = _fold(text[piece.start : piece.end])
            starts.append((piece.start, at))
            if self.begins_in_word and piece.kind == "word" and len(unit) == piece.end - piece.start:
                starts += [(piece.start + inside, at + inside) for inside in range(1, len(unit))]
            units.append(unit)
            at += len(unit)
        return "".join(units), starts

    def _count(self, characters: int) -> int:
        count = 0
        for unit in self._units:
            characters -= len(unit)
            if characters < 0:
                break
            count += 1
        return count


def _fold(text: str) -> str:
    return "".join(text.split()).casefold()


def _common(text: str, at: int, other: str) -> int:
    if not text.startswith(other[0], at):
        return 0
    length = 0
    for first, second in zip(text[at : at + len(other)], other, strict=False):
        if first != second:
            break
        length += 1
    return length
