"""One statement's text to sqlglot's tree, or to the issue that says where and why it is not one.

Bounds come first (length, nesting, NUL bytes), then sqlglot, then `strictness`, because sqlglot's
parser lets things pass that no engine takes. Knows nothing of schemas.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as SqlglotDialect
from sqlglot.errors import ErrorLevel, ParseError, SqlglotError, TokenError

from serve.errors import TooLarge, Unprocessable
from sql_assistant import dialects, normalize, statements, strictness
from sql_assistant.dialects import Dialect
from sql_assistant.types import Issue

MAX_TEXT_CHARS = 250_000
"""Of a whole text with its many statements: finding the one at the cursor takes 3 µs a character at worst."""
MAX_STATEMENT_CHARS = 100_000
MAX_DEPTH = 100
"""Open brackets at one place. sqlglot's recursive descent takes about 24 Python frames for each."""
_RECURSION_LIMIT = 3_000
_OPEN, _CLOSE = {"(": ")", "[": "]", "{": "}"}, {")": "(", "]": "[", "}": "{"}

# sqlglot logs the statement when it falls back to its catch-all node; nobody's SQL goes to a log.
logging.getLogger("sqlglot").addFilter(lambda record: False)


@dataclass(frozen=True, slots=True)
class Parsed:
    """`tree` is None where the statement is broken, or where it is one that is not looked into."""

    tree: exp.Expr | None
    issues: tuple[Issue, ...] = ()
    at_end: bool = False
    """The first error stands at the very end: more text could mend it."""


def parse(sql: str, dialect: str) -> Parsed:
    """Parse one statement. TooLarge over MAX_STATEMENT_CHARS; nothing else is raised."""
    known = dialects.get(dialect)
    check_length(sql)
    broken = bracket_issue(sql, known)
    if broken is not None:
        return broken
    code = statements.code_span(sql, (0, len(sql)), dialect)
    if code is None:
        return Parsed(None, (syntax_issue("there is no statement here", 0, len(sql)),), at_end=True)
    text = normalize.normalize(sql, known)
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _RECURSION_LIMIT))
    try:
        return _parse(text, known, code)
    except RecursionError:
        return Parsed(None, (syntax_issue("the statement is nested too deep to be checked", *code),))


def check_text(sql: str, *, param: str = "sql") -> None:
    """TooLarge where a text of many statements is over the limit."""
    if len(sql) > MAX_TEXT_CHARS:
        raise TooLarge(
            f"a text of {len(sql):,} characters is over the limit of {MAX_TEXT_CHARS:,}; send the statements "
            "around the cursor",
            param=param,
        )


def check_depth(sql: str, dialect: str, *, param: str = "sql") -> None:
    """Unprocessable where a statement of `sql` has more open brackets than are followed."""
    depth = 0
    for piece in statements.pieces(sql, dialect):
        mark = sql[piece.start : piece.end]
        if mark in _OPEN:
            depth += 1
            if depth > MAX_DEPTH:
                raise Unprocessable(
                    f"brackets are nested deeper than {MAX_DEPTH}, the most that is followed", param=param
                )
        elif mark in _CLOSE or mark == ";":
            depth = max(0, depth - 1) if mark != ";" else 0


def check_length(sql: str) -> None:
    """TooLarge where a statement is over the limit."""
    if len(sql) > MAX_STATEMENT_CHARS:
        raise TooLarge(
            f"a statement of {len(sql):,} characters is over the limit of {MAX_STATEMENT_CHARS:,}",
            param="sql",
        )


def syntax_issue(message: str, start: int, end: int) -> Issue:
    """An error of kind syntax about the characters [start, end)."""
    return Issue(kind="syntax", message=message, start=start, end=end)


def bracket_issue(sql: str, dialect: Dialect) -> Parsed | None:
    """What is wrong with the brackets and quotes of `sql`, None where they match within the bounds."""
    nul = sql.find("\0")
    if nul >= 0:
        return Parsed(None, (syntax_issue("a NUL character is not part of SQL", nul, nul + 1),))
    stack: list[int] = []
    for piece in statements.pieces(sql, dialect.name):
        if not piece.closed:
            what = {"string": "string", "name": "quoted name"}.get(piece.kind, "comment")
            issue = syntax_issue(f"the {what} that starts here is never closed", piece.start, piece.end)
            return Parsed(None, (issue,), at_end=True)
        if piece.kind != "symbol":
            continue
        char = sql[piece.start]
        if char in _OPEN:
            stack.append(piece.start)
            if len(stack) > MAX_DEPTH:
                issue = syntax_issue(f"brackets are nested deeper than {MAX_DEPTH}", piece.start, piece.end)
                return Parsed(None, (issue,))
        elif char in _CLOSE:
            if not stack or sql[stack[-1]] != _CLOSE[char]:
                return Parsed(None, (syntax_issue(f"'{char}' closes nothing", piece.start, piece.end),))
            stack.pop()
    if stack:
        issue = syntax_issue(f"'{sql[stack[-1]]}' is never closed", stack[-1], stack[-1] + 1)
        return Parsed(None, (issue,), at_end=True)
    return None


def _parse(text: str, dialect: Dialect, code: statements.Span) -> Parsed:
    engine = SqlglotDialect.get_or_raise(dialect.sqlglot)
    try:
        tokens = engine.tokenize(text)
    except TokenError:
        return Parsed(None, (syntax_issue("this cannot be read as SQL words", *code),))
    try:
        trees = engine.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, text)
    except ParseError as error:
        start, end = _error_span(text, error, code)
        return Parsed(None, (syntax_issue(_explain(error, text[start:end]), start, end),), end >= code[1])
    except (SqlglotError, ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        # sqlglot's builders fail so on calls with too few arguments, which are the user's mistake.
        message = f"this {dialect.label} statement cannot be parsed ({type(error).__name__})"
        return Parsed(None, (syntax_issue(message, *code),))
    found = strictness.first_fault(tokens, trees, dialect)
    if found is not None:
        return Parsed(None, (syntax_issue(found.message, found.start, found.end),), found.end >= code[1])
    return Parsed(trees[0] if trees else None)


def _error_span(text: str, error: ParseError, code: statements.Span) -> statements.Span:
    """sqlglot tells the line, the column of the token's last character, and the token's text."""
    details = error.errors[0] if error.errors else {}
    highlight = str(details.get("highlight") or "")
    line, col = details.get("line"), details.get("col")
    if not highlight or line is None or col is None or (line == 1 and col == 1 and code[0] > 0):
        return last_token(text, code)
    offset = 0
    for _ in range(line - 1):
        offset = text.find("\n", offset) + 1
    end = min(offset + col, code[1])
    start = end - len(highlight)
    if start < 0 or text[start:end] != highlight:
        found = text.rfind(highlight, 0, end)
        start, end = (found, found + len(highlight)) if found >= 0 else last_token(text, code)
    if "SENTINEL" in str(error):
        return last_token(text, code)
    return start, end


def last_token(text: str, code: statements.Span) -> statements.Span:
    """The last word or symbol of the statement: where an error at its end is shown."""
    start = code[1]
    while start > code[0] and not text[start - 1].isspace():
        start -= 1
    return start, code[1]


def _explain(error: ParseError, near: str) -> str:
    details = error.errors[0] if error.errors else {}
    description = str(details.get("description") or "")
    if description.startswith("Required keyword"):
        return f"something is missing after {near!r}"
    if description.startswith("Expect"):
        wanted = description.split(" but got ")[0][0].lower() + description.split(" but got ")[0][1:]
        return f"{wanted} near {near!r}"
    return f"unexpected {near!r}"
