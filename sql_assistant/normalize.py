"""Dialect habits that sqlglot's parser does not know, written so that it does.

Every replacement keeps the length, so offsets into the result are offsets into the text sent.
The other habit, SQLite's double-quoted word that names nothing and so is a string, needs the names
in scope and is decided where names are resolved (`scopes`).
"""

from __future__ import annotations

from collections.abc import Sequence

from sql_assistant import statements
from sql_assistant.dialects import Dialect

_EXPLAIN_WORDS = frozenset(
    {"QUERY", "PLAN", "ANALYZE", "VERBOSE", "EXTENDED", "PARTITIONS", "FORMAT", "USING", "TEXT"}
)
_MODIFIERS = frozenset(
    "SQL_NO_CACHE SQL_CACHE SQL_CALC_FOUND_ROWS SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT "
    "HIGH_PRIORITY "
    "STRAIGHT_JOIN".split()
)
_HEADS = frozenset({"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES", "MERGE", "FROM"})


def normalize(sql: str, dialect: Dialect) -> str:
    """`sql` with the dialect's own spellings replaced; same length, same offsets."""
    pieces = [p for p in statements.pieces(sql, dialect.name) if not p.is_comment]
    edits: list[tuple[int, int, str]] = []
    _explain(sql, pieces, edits)
    _limit_remainder(sql, pieces, dialect, edits)
    if dialect.name == "mysql":
        _select_modifiers(sql, pieces, edits)
    if dialect.name == "sqlite":
        edits += [(p.start + 1, p.end, "") for p in pieces if p.kind == "parameter" and sql[p.start] == "?"]
    for start, end, text in sorted(edits, reverse=True):
        sql = sql[:start] + text.ljust(end - start)[: end - start] + sql[end:]
    return sql


def _limit_remainder(
    sql: str, pieces: Sequence[statements.Piece], dialect: Dialect, edits: list[tuple[int, int, str]]
) -> None:
    """`LIMIT a % b` is a remainder where LIMIT takes no percentage; sqlglot reads one everywhere."""
    if dialect.name == "duckdb":
        return
    levels: list[bool] = [False]
    for at, piece in enumerate(pieces):
        char = sql[piece.start]
        if char == "(":
            levels.append(False)
        elif char == ")" and len(levels) > 1:
            levels.pop()
        elif char == "%" and levels[-1]:
            edits.append((piece.start, piece.end, "*"))
        elif piece.kind == "word":
            levels[-1] = _word(sql, pieces, at) == "LIMIT"


def _select_modifiers(
    sql: str, pieces: Sequence[statements.Piece], edits: list[tuple[int, int, str]]
) -> None:
    """MySQL's SELECT SQL_NO_CACHE ... and the like change no meaning."""
    may_precede = _MODIFIERS | {"SELECT", "DISTINCT"}
    edits.extend(
        (pieces[at].start, pieces[at].end, "")
        for at in range(1, len(pieces))
        if _word(sql, pieces, at) in _MODIFIERS and _word(sql, pieces, at - 1) in may_precede
    )


def _word(sql: str, pieces: Sequence[statements.Piece], at: int) -> str:
    if at >= len(pieces) or pieces[at].kind != "word":
        return ""
    return sql[pieces[at].start : pieces[at].end].upper()


def _explain(sql: str, pieces: Sequence[statements.Piece], edits: list[tuple[int, int, str]]) -> None:
    """Blank out EXPLAIN and its options, so that the statement behind it is looked into."""
    if _word(sql, pieces, 0) not in ("EXPLAIN", "DESCRIBE", "DESC"):
        return
    at = 1
    if at < len(pieces) and sql[pieces[at].start] == "(" and _word(sql, pieces, at + 1) not in _HEADS:
        while at < len(pieces) and sql[pieces[at].start] != ")":
            at += 1
        at += 1
    while _word(sql, pieces, at) in _EXPLAIN_WORDS:
        is_format = _word(sql, pieces, at) == "FORMAT"
        at += 3 if is_format else 1
    if _word(sql, pieces, at) in _HEADS or (at < len(pieces) and sql[pieces[at].start] == "("):
        edits.append((pieces[0].start, pieces[at].start, ""))
