"""Where the cursor stands: which statement, and in what of it.

The editor holds many statements, some broken, some without the semicolon between them. Only the one
at the cursor is completed; comments directly above it belong to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sql_assistant import statements
from sql_assistant.statements import Piece

Place = Literal["code", "name", "string", "line_comment", "block_comment"]
Nothing = Literal["string", "comment", "mid_word", "finished", "empty"]

_OPENERS = frozenset(
    "SELECT WITH INSERT UPDATE DELETE CREATE DROP ALTER MERGE REPLACE EXPLAIN TRUNCATE".split()
)
_MAIN_VERBS = frozenset("SELECT VALUES UPDATE DELETE MERGE".split())
_WANTS_QUERY = frozenset("UNION ALL EXCEPT INTERSECT MINUS DISTINCT AS DO THEN ELSE BEGIN FOR SET (".split())
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class Cursor:
    """`before` and `after` are the statement's text on both sides, with the comments above it."""

    before: str
    after: str
    place: Place
    nothing: Nothing | None = None
    """Why nothing can be suggested here; None where something can."""


def locate(prefix: str, suffix: str, dialect: str) -> Cursor:
    """Find the statement at the cursor between `prefix` and `suffix`. Never fails on broken text."""
    text, at = prefix + suffix, len(prefix)
    start, end = _statement(text, at, dialect)
    before, after = text[start:at], text[at:end]
    inside = _piece_at_end(before, dialect)
    place: Place = "code"
    if inside is not None and inside.kind != "word":
        place = inside.kind  # type: ignore[assignment]
    return Cursor(before, after, place, _nothing(before, after, place, dialect))


def _nothing(before: str, after: str, place: Place, dialect: str) -> Nothing | None:
    if place == "string":
        return "string"
    if place in ("line_comment", "block_comment"):
        rest = after.split("\n", 1)[0] if place == "line_comment" else after
        return "comment" if rest.strip() else None
    if before[-1:].isspace() or not before:
        pass
    elif _is_word(before[-1]) and _is_word(after[:1]):
        return "mid_word"
    if not before.strip() and not after.strip():
        return "empty"
    code = [piece for piece in statements.pieces(before, dialect) if not piece.is_comment]
    if code and before[code[-1].start : code[-1].end] == ";":
        return "finished"
    return None


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _piece_at_end(text: str, dialect: str) -> Piece | None:
    """The string, quoted name or comment that the end of `text` lies in."""
    last = None
    for last in statements.pieces(text, dialect):
        pass
    if last is None or last.end != len(text):
        return None
    if last.kind == "line_comment" or (not last.closed and last.kind in ("string", "name", "block_comment")):
        return last
    return None


def _statement(text: str, at: int, dialect: str) -> tuple[int, int]:
    """The span of the statement at the cursor, comments above it included."""
    start, end = statements.span_at(text, at, dialect)
    for cut in _paragraphs(text[start:end], dialect):
        if start + cut <= at:
            first = start + cut
        else:
            return _trimmed(text, locals().get("first", start), start + cut, at)
    return _trimmed(text, locals().get("first", start), end, at)
