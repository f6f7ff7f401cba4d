"""Brings SQLite's verdict on a statement and our own findings together.

SQLite says surely whether, our walk says where: its first error has no offset, ours have.
"""

from __future__ import annotations

import sqlite3

from sqlglot import exp

from sql_assistant import sqlite_engine, statements
from sql_assistant.parsing import Parsed, last_token, syntax_issue
from sql_assistant.sqlite_engine import Answer, Engine, Verdict
from sql_assistant.types import Issue


def reconcile(answer: Answer, engine: Engine, text: str, parsed: Parsed, issues: list[Issue]) -> list[Issue]:
    """The issues to report for a statement, given SQLite's answer and what our own walk found."""
    code = statements.code_span(text, (0, len(text)), "sqlite") or (0, len(text))
    verdict = answer.verdict
    if verdict is Verdict.RIGHT:
        return [issue for issue in issues if issue.severity == "warning"]
    if verdict in (Verdict.BROKEN, Verdict.INCOMPLETE):
        if parsed.tree is not None and _newer_than_engine(parsed.tree):
            return issues
        return [_syntax(answer, text, code, parsed)]
    if parsed.tree is None and verdict is not Verdict.NO_OPINION:
        # Compiled by SQLite and only not understood by sqlglot.
        issues = []
    if verdict is Verdict.NO_OPINION:
        return issues
    if verdict is Verdict.UNKNOWN_FUNCTION:
        return [*issues, _unknown_function(answer, text, code)]
    if verdict is Verdict.WRONG and engine.is_complete:
        return [*issues, Issue(kind="type", message=f"SQLite: {answer.message}", start=code[0], end=code[1])]
    if engine.is_complete and all(issue.severity == "warning" for issue in issues):
        return [*issues, _name(answer, text, code)]
    return issues


def _newer_than_engine(tree: exp.Expr) -> bool:
    """Grammar of later SQLite releases than the one this Python was built with."""
    if sqlite3.sqlite_version_info >= (3, 44):
        return False
    return any(isinstance(order.parent, (exp.Func, exp.Distinct)) for order in tree.find_all(exp.Order))


def _syntax(answer: Answer, text: str, code: statements.Span, parsed: Parsed) -> Issue:
    if answer.verdict is Verdict.INCOMPLETE:
        start, end = last_token(text, code)
        message = f"the statement is not complete: something is missing after {text[start:end][-40:]!r}"
    else:
        start, end = _first_broken_piece(text, code)
        message = f"unexpected {text[start:end][:40]!r}"
    own = next((issue for issue in parsed.issues if issue.start < end and start < issue.end), None)
    return syntax_issue(own.message if own is not None else message, start, end)


def _first_broken_piece(text: str, code: statements.Span) -> statements.Span:
    """The piece at which SQLite's parser stops: the text before it can go on, the text with it cannot."""
    pieces = [p for p in statements.pieces(text[: code[1]], "sqlite") if not p.is_comment]
    low, high = 0, len(pieces) - 1
    while low < high:
        middle = (low + high) // 2
        if sqlite_engine.grammar(text[code[0] : pieces[middle].end]).verdict is Verdict.BROKEN:
            high = middle
        else:
            low = middle + 1
    return pieces[low].start, pieces[low].end


def _unknown_function(answer: Answer, text: str, code: statements.Span) -> Issue:
    name = answer.message.rsplit(": ", 1)[-1]
    start, end = _find(name, text, code)
    message = f"SQLite {sqlite3.sqlite_version} has no function {name!r}, unless your database adds one"
    return Issue(kind="execution", message=message, start=start, end=end, severity="warning")


def _name(answer: Answer, text: str, code: statements.Span) -> Issue:
    """A name that SQLite refuses and our walk let pass."""
    name = answer.message.rsplit(": ", 1)[-1]
    start, end = _find(name.rsplit(".", 1)[-1], text, code)
    if answer.verdict is Verdict.AMBIGUOUS:
        return Issue(kind="ambiguous_column", message=f"column {name!r} is ambiguous", start=start, end=end)
    if answer.message.startswith("no such table"):
        return Issue(kind="unknown_table", message=f"unknown table {name!r}", start=start, end=end)
    return Issue(kind="unknown_column", message=f"unknown column {name!r}", start=start, end=end)


def _find(name: str, text: str, code: statements.Span) -> statements.Span:
    """Where `name` stands in the statement as a word or quoted name; the whole statement if nowhere."""
    for piece in statements.pieces(text, "sqlite"):
        raw = text[piece.start : piece.end]
        if piece.kind in ("word", "name") and raw.strip("\"'`[]").lower() == name.lower():
            return piece.start, piece.end
    return code
