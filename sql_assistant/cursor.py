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

Place = Literal["code", "string", "name", "line_comment", "block_comment"]
Nothing = Literal["inside a string", "inside a comment", "statement finished", "empty statement"]

_OPENERS = frozenset(
    "SELECT WITH INSERT UPDATE DELETE CREATE DROP ALTER MERGE REPLACE EXPLAIN TRUNCATE".split()
)
_MAIN_VERBS = _OPENERS - {"WITH", "EXPLAIN", "INSERT", "REPLACE"} | {"VALUES"}
_WANTS_QUERY = frozenset(
    "UNION ALL EXCEPT INTERSECT MINUS DISTINCT AS DO THEN ELSE BEGIN FOR ON OR WITH EXPLAIN ANALYZE "
    "( , =".split()
)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")


@dataclass(frozen=True, slots=True)
class Cursor:
    """`before` and `after` are the statement's text on both sides, with the comments above it;
    neither has blanks at its outer end nor the semicolon."""

    before: str
    after: str
    place: Place
    nothing: Nothing | None = None
    """Why nothing can be suggested here; None where something can."""

    @property
    def mid_word(self) -> bool:
        """Word characters stand on both sides."""
        return is_word(self.before[-1:]) and is_word(self.after[:1])


def locate(prefix: str, suffix: str, dialect: str) -> Cursor:
    """Find the statement at the cursor between `prefix` and `suffix`. Never fails on broken text."""
    text, at = prefix + suffix, len(prefix)
    span = statements.span_at(text, at, dialect)
    start, end = _within(text, span, at, dialect)
    before, after = text[start:at].lstrip(), text[at:end].rstrip()
    place = _place(before, dialect)
    return Cursor(before, after, place, _nothing(text[:at], before, after, place, dialect))


def is_word(character: str) -> bool:
    """Whether a character (or none) can stand in a bare name."""
    return character.isalnum() or character == "_"


def _nothing(typed: str, before: str, after: str, place: Place, dialect: str) -> Nothing | None:
    if place == "string":
        return "inside a string"
    if place in ("line_comment", "block_comment"):
        # A closed block comment has its end right of the cursor: nothing but prose goes in there.
        rest = after.split("\n", 1)[0] if place == "line_comment" else after
        return "inside a comment" if rest.strip() else None
    if before or after:
        return None
    code = [piece for piece in statements.pieces(typed, dialect) if not piece.is_comment]
    same_line = code and "\n" not in typed[code[-1].end :]
    return "statement finished" if same_line else "empty statement"


def _place(before: str, dialect: str) -> Place:
    """What the end of `before` lies in."""
    last = statements.last_piece(before, dialect)
    if last is None:
        return "code"
    if last.kind == "line_comment":
        return "line_comment"
    if not last.closed:
        if last.kind == "string":
            return "string"
        if last.kind == "name":
            return "name"
        if last.kind == "block_comment":
            return "block_comment"
    return "code"


def _within(text: str, span: tuple[int, int], at: int, dialect: str) -> tuple[int, int]:
    """The part of `span`, which has no semicolon, that is one statement at `at`."""
    start, end = span
    edges = [start, *(start + edge for edge in _edges(text[start:end], dialect)), end]
    index = max(i for i, edge in enumerate(edges[:-1]) if edge <= at)
    first, last = edges[index], edges[index + 1]
    code = statements.code_span(text, (first, last), dialect)
    if code is not None and code[1] <= at and _BLANK_LINE.search(text[code[1] : at]):
        written = text[code[1] : last]
        if not written.strip():
            return at, at  # a new statement begins below a blank line
    return first, last


def _edges(text: str, dialect: str) -> list[int]:
    """Where a further statement begins though no semicolon ends the one before: a verb at the start
    of a line, outside brackets, once the statement has its own; the comments above it included."""
    found = []
    pieces = list(statements.pieces(text, dialect))
    depth = 0
    has_verb = False
    last_code: Piece | None = None
    for index, piece in enumerate(pieces):
        if piece.is_comment:
            continue
        word = text[piece.start : piece.end].upper()
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        is_call = following is not None and text[following.start] == "("
        opens = piece.kind == "word" and word in _OPENERS and depth == 0 and not is_call
        if opens and has_verb and last_code is not None and "\n" in text[last_code.end : piece.start]:
            before = text[last_code.start : last_code.end].upper()
            if before not in _WANTS_QUERY:
                found.append(_above(text, pieces, index, last_code))
                has_verb = False
        if word in "([{" and piece.kind == "symbol":
            depth += 1
        elif word in ")]}" and piece.kind == "symbol":
            depth = max(0, depth - 1)
        has_verb = has_verb or (piece.kind == "word" and word in _MAIN_VERBS and depth == 0)
        last_code = piece
    if last_code is not None and has_verb and depth == 0:
        tail = [piece for piece in pieces if piece.is_comment and piece.start >= last_code.end]
        for previous, piece in zip([last_code, *tail], tail, strict=False):
            if _BLANK_LINE.search(text[previous.end : piece.start]):
                found.append(piece.start)
                break
    return found


def _above(text: str, pieces: list[Piece], index: int, last_code: Piece) -> int:
    """The start of the comments that stand on their own lines directly above the piece at `index`."""
    start = pieces[index].start
    for piece in reversed(pieces[:index]):
        if not piece.is_comment or "\n" not in text[last_code.end : piece.start]:
            break
        start = piece.start
    return start


def second_statement(before: str, text: str, dialect: str) -> int | None:
    """Where in `text`, which goes on behind `before`, a further statement begins; None if nowhere."""
    edges = (edge - len(before) for edge in _edges(before + text, dialect))
    return next((edge for edge in edges if edge >= 0), None)
