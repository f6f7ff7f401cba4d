"""When a generation has gone far enough, judged on its text while it comes.

The model often runs on: it repeats what stands right of the cursor, or begins the next statement.
Every token not generated is 20 to 40 ms that nobody waits for.
"""

from __future__ import annotations

import re
from typing import Literal

from sql_assistant import cursor as cursors
from sql_assistant import statements
from sql_assistant.cursor import Cursor
from sql_assistant.overlap import Suffix

Reason = Literal["statement end", "suffix", "clause", "second statement", "repetition", "comment", "fence"]

_FINISHED = frozenset(("statement end", "second statement", "comment", "fence"))
_REPEATED = re.compile(r"(.{6,100}?)\1\1\Z", re.DOTALL)
_REPETITION_WINDOW = 400
_OPENER_LINE = re.compile(r"(?i)\n\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|MERGE)\b")
_RANK = {"FROM": 1, "WHERE": 3, "GROUP": 4, "HAVING": 5, "WINDOW": 6, "ORDER": 7, "LIMIT": 8, "OFFSET": 9}
_JOIN_RANK = 2
_JOINS = frozenset("JOIN LEFT RIGHT INNER CROSS FULL NATURAL".split())
_SET_OPERATIONS = frozenset("UNION EXCEPT INTERSECT".split())
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


class Stopper:
    """Watches one generation. `limit` is where its text ends once a reason to stop was seen."""

    def __init__(self, cursor: Cursor, dialect: str) -> None:
        self.suffix = Suffix(cursor.after, dialect)
        self.limit: int | None = None
        self.finished = False
        """The model itself was done at `limit`: what it wrote there is no part of the statement."""
        self._cursor = cursor
        self._dialect = dialect
        self._open = _open_piece(cursor.before, dialect)
        self._next_clause = _first_clause(cursor.after, dialect)
        closed, _ = _unmatched(cursor.after, dialect)
        # Brackets open at the end of what is missing: there the suffix goes on.
        self._level = closed - _unmatched(cursor.before, dialect)[1]
        self._one_line = cursor.place == "line_comment" and bool(cursor.after.strip())

    def check(self, text: str) -> Reason | None:
        """Why to stop at `text`, the whole of what was generated behind the cursor; None to go on."""
        if self._one_line:
            return self._at(text.find("\n"), "comment")
        code = self._code(text)
        if code is not None:
            return code
        if _REPEATED.search(text[-_REPETITION_WINDOW:]):
            return self._at(len(text), "repetition")
        repeated = self.suffix.repeated_at(text)
        if repeated is not None:
            return self._at(repeated, "suffix")
        if _OPENER_LINE.search(text):
            edge = cursors.second_statement(self._cursor.before, text, self._dialect)
            if edge is not None:
                return self._at(edge, "second statement")
        return None

    def certain(self, text: str) -> str:
        """The part of `text` that can be shown already: what may still turn out to be the suffix,
        and blanks at the end, are held back."""
        limit = len(text) if self.limit is None else self.limit
        return text[: min(limit, self.suffix.may_begin_at(text))].rstrip()

    def _code(self, text: str) -> Reason | None:
        shift = len(self._open)
        depth = 0
        written = False
        last_end = 0
        for piece in statements.pieces(self._open + text, self._dialect):
            start = piece.start - shift
            if start < 0:
                continue
            mark = text[start : piece.end - shift]
            if depth <= 0 and written and _BLANK_LINE.search(text[last_end:start]):
                return self._at(last_end, "statement end")
            # At the end "order" may still become "order_id", and behind a dot it is a column.
            whole = piece.end - shift < len(text) and text[start - 1 : start] != "."
            if whole and depth == self._level and self._out_of_order(mark.upper(), written):
                return self._at(start, "clause")
            if mark == ";":
                return self._at(start, "statement end")
            if text.startswith("```", start):
                return self._at(start, "fence")
            if piece.is_comment and written:
                return self._at(last_end, "comment")
            if not piece.is_comment:
                written = True
                last_end = piece.end - shift
            depth += (mark == "(") - (mark == ")")
        if depth <= 0 and written and _BLANK_LINE.search(text[last_end:]):
            return self._at(last_end, "statement end")
        return None

    def _out_of_order(self, word: str, written: bool) -> bool:
        """Whether a clause begins that can only stand behind the one the suffix begins with."""
        if self._next_clause is None or not written:
            return False
        if word == "SELECT" or word in _SET_OPERATIONS:
            self._next_clause = None
            return False
        # A clause that the suffix has too would stand there twice; joins may.
        rank = _RANK.get(word)
        return rank is not None and rank >= self._next_clause

    def _at(self, limit: int, reason: Reason) -> Reason | None:
        if limit < 0:
            return None
        self.limit = limit
        self.finished = reason in _FINISHED
        return reason


def _open_piece(before: str, dialect: str) -> str:
    """The comment or quoted name that the cursor stands in, from its start."""
    last = statements.last_piece(before, dialect)
    if last is None:
        return ""
    return before[last.start :] if last.kind == "line_comment" or not last.closed else ""


def _unmatched(text: str, dialect: str) -> tuple[int, int]:
    """How many brackets `text` closes without having opened them, and opens without closing them."""
    closed = opened = 0
    for piece in statements.pieces(text, dialect):
        mark = text[piece.start : piece.end]
        if mark == "(":
            opened += 1
        elif mark == ")":
            closed, opened = (closed, opened - 1) if opened else (closed + 1, 0)
    return closed, opened


def _first_clause(after: str, dialect: str) -> int | None:
    """The rank of the first clause in `after` at the cursor's own level; None where there is none."""
    depth = 0
    for piece in statements.pieces(after, dialect):
        word = after[piece.start : piece.end].upper()
        depth += (word == "(") - (word == ")")
        if depth < 0 or (depth == 0 and (word == "SELECT" or word in _SET_OPERATIONS)):
            return None
        if depth == 0 and piece.kind == "word":
            if word in _JOINS:
                return _JOIN_RANK
            if word in _RANK:
                return _RANK[word]
    return None
