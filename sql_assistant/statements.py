"""Where the pieces of a SQL text lie: strings, comments, quoted names, words; and its statements.

Works on any text, broken ones included, and never raises: whatever is left open runs to the end.
Knows quotes and comments of a dialect but no grammar, so it is fast and sure of its offsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sql_assistant import dialects
from sql_assistant.dialects import Dialect

PieceKind = Literal[
    "word", "number", "string", "name", "line_comment", "block_comment", "parameter", "symbol"
]
Span = tuple[int, int]
_COMMENT_MARK = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Piece:
    """A lexical unit at the characters [start, end). Blanks are the gaps between pieces.

    kind "name" is a quoted identifier, "word" a bare one or a keyword, "symbol" one character.
    `closed` is False for a string, quoted name or block comment that the text's end cut short.
    """

    kind: PieceKind
    start: int
    end: int
    closed: bool = True

    @property
    def is_comment(self) -> bool:
        """A comment of either form."""
        return self.kind in ("line_comment", "block_comment")


def pieces(text: str, dialect: str) -> Iterator[Piece]:
    """The lexical units of `text`, in order."""
    known = dialects.get(dialect)
    master = _master_pattern(known)
    position = 0
    while (match := master.search(text, position)) is not None:
        kind = match.lastgroup or "symbol"
        piece = _finish(text, match, kind, known)
        yield piece
        position = piece.end


def last_piece(text: str, dialect: str) -> Piece | None:
    """The piece that `text` ends in, None where it ends in a blank or is empty."""
    last = None
    for piece in pieces(text, dialect):
        last = piece
    return last if last is not None and last.end == len(text) else None


def split(text: str, dialect: str) -> list[Span]:
    """The spans between top-level semicolons: half-open, in order, without the `;` itself.

    n semicolons make n + 1 spans, so every offset of `text` lies in exactly one (an offset at a
    `;` belongs to the statement before it); spans keep their blanks and comments and may be blank.
    Semicolons in strings, comments, quoted names, dollar quotes and in the BEGIN ... END of a
    trigger or procedure do not split.
    """
    spans = []
    start = 0
    body = _Body()
    for piece in pieces(text, dialect):
        if piece.kind == "symbol" and text[piece.start] == ";":
            if not body.is_open:
                spans.append((start, piece.start))
                start = piece.end
                body = _Body()
        elif piece.kind == "word":
            body.feed(text[piece.start : piece.end].upper())
        elif not piece.is_comment:
            body.feed("")
    spans.append((start, len(text)))
    return spans


def span_at(text: str, offset: int, dialect: str) -> Span:
    """The span of `split` that holds the cursor at `offset`; right after a `;` it is the next one."""
    for start, end in split(text, dialect):
        if offset <= end:
            return start, end
    raise ValueError(f"offset {offset} lies outside a text of {len(text)} characters")


def code_span(text: str, span: Span, dialect: str) -> Span | None:
    """`span` without the blanks and comments at its ends; None where nothing else is in it."""
    code = [p for p in pieces(text[span[0] : span[1]], dialect) if not p.is_comment]
    return (span[0] + code[0].start, span[0] + code[-1].end) if code else None


class _Body:
    """Follows CREATE TRIGGER / PROCEDURE / FUNCTION ... BEGIN ... END through the words of one statement."""

    _OPENERS = frozenset({"TRIGGER", "PROCEDURE", "FUNCTION", "PROC", "EVENT"})
    _HEAD = frozenset({"CREATE", "ALTER", "OR", "REPLACE", "TEMP", "TEMPORARY", "CONSTRAINT", "DEFINER", ""})

    def __init__(self) -> None:
        self.depth = 0
        self._head = True
        self._routine = False
        self._first = True
        self._after_end = False

    @property
    def is_open(self) -> bool:
        return self.depth > 0

    def feed(self, word: str) -> None:
        if self._first and word != "CREATE" and word != "ALTER":
            self._head = False
        self._first = False
        if self._head:
            if word in self._OPENERS:
                self._routine, self._head = True, False
            elif word not in self._HEAD:
                self._head = False
            return
        if not self._routine:
            return
        if self._after_end:
            # END IF, END LOOP and so on close blocks that were not counted when they opened.
            self._after_end = False
            if word in ("IF", "LOOP", "WHILE", "REPEAT"):
                self.depth += 1
                return
        if word == "BEGIN" or (word == "CASE" and self.depth):
            self.depth += 1
        elif word == "END" and self.depth:
            self.depth -= 1
            self._after_end = True


@lru_cache(maxsize=16)
def _master_pattern(dialect: Dialect) -> re.Pattern[str]:
    """One alternation whose branches are named for the kinds; openers only, `_finish` finds the end."""
    comment = [r"--(?=[\s]|$)" if dialect.dash_comment_needs_space else "--"]
    if dialect.hash_comments:
        comment.append("#")
    if dialect.slash_comments:
        comment.append("//")
    strings = "".join(dialect.string_quotes)
    names = "".join(re.escape(opening) for opening, _ in dialect.identifier_quotes)
    branches = [
        rf"(?P<line_comment>{'|'.join(comment)})",
        r"(?P<block_comment>/\*)",
    ]
    if dialect.dollar_quotes:
        branches.append(r"(?P<dollar>(?<![\w$])\$(?:[^\W\d]\w*)?\$)")
    branches += [
        rf"(?P<string>(?:(?<!\w)[bBeEnNrRuUxX]{{1,2}})?[{strings}])",
        rf"(?P<name>[{names}])",
        r"(?P<parameter>@@?\w+|(?<![:\w\]\)]):[A-Za-z_]\w*|\$\d+|\?\d*)",
        r"(?P<number>\d(?:[\w.]|(?<=[eE])[+-])*|\.\d\w*)",
        r"(?P<word>[^\W\d][\w$]*)",
        r"(?P<symbol>\S)",
    ]
    return re.compile("|".join(branches))


def _finish(text: str, match: re.Match[str], kind: str, dialect: Dialect) -> Piece:
    start, end = match.span()
    if kind == "line_comment":
        newline = text.find("\n", end)
        return Piece("line_comment", start, len(text) if newline < 0 else newline)
    if kind == "block_comment":
        return _block_comment(text, start, dialect.nested_comments)
    if kind == "dollar":
        close = text.find(match.group(), end)
        return Piece("string", start, len(text) if close < 0 else close + end - start, close >= 0)
    if kind == "string":
        return _string(text, start, end, dialect)
    if kind == "name":
        closing = dict(dialect.identifier_quotes)[match.group()]
        return _quoted("name", text, start, end, closing, escapes=False)
    return Piece(kind, start, end)  # type: ignore[arg-type]


def _string(text: str, start: int, end: int, dialect: Dialect) -> Piece:
    quote = text[end - 1]
    prefix = text[start : end - 1].lower()
    if dialect.triple_quotes and text.startswith(quote * 3, end - 1):
        close = text.find(quote * 3, end + 2)
        return Piece("string", start, len(text) if close < 0 else close + 3, close >= 0)
    escapes = (dialect.backslash_escapes and "r" not in prefix) or (dialect.escape_strings and prefix == "e")
    return _quoted("string", text, start, end, quote, escapes)


def _quoted(
    kind: Literal["string", "name"], text: str, start: int, end: int, quote: str, escapes: bool
) -> Piece:
    close = _rest_pattern(quote, escapes).match(text, end)
    if close is None:
        return Piece(kind, start, len(text), closed=False)
    return Piece(kind, start, close.end())


@lru_cache(maxsize=16)
def _rest_pattern(quote: str, escapes: bool) -> re.Pattern[str]:
    """What follows an opening quote up to and with the closing one; possessive, so linear in the text."""
    q = re.escape(quote)
    if escapes:
        return re.compile(rf"(?:[^{q}\\]++|\\.|{q}{q})*+{q}", re.DOTALL)
    return re.compile(rf"(?:[^{q}]++|{q}{q})*+{q}", re.DOTALL)


def _block_comment(text: str, start: int, nested: bool) -> Piece:
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        if mark.group() == "*/":
            depth -= 1
        elif nested or not depth:
            depth += 1
        if not depth:
            return Piece("block_comment", start, mark.end())
    return Piece("block_comment", start, len(text), closed=False)
