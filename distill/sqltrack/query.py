"""A query as its clauses, and the ways in which people write one down.

Knows no schema: names and expressions come in as text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from sql_assistant import statements

Case = Literal["upper", "lower", "lower_functions"]
Layout = Literal["line", "clauses", "indented"]
Aliases = Literal["none", "bare", "as"]
_FUNCTIONS = frozenset(
    "COUNT SUM AVG MIN MAX ROUND COALESCE STRFTIME SUBSTR LENGTH UPPER LOWER RANK ROW_NUMBER".split()
)
_KEYWORDS = _FUNCTIONS | frozenset(
    "SELECT DISTINCT FROM JOIN LEFT INNER ON WHERE AND OR NOT IN IS NULL LIKE BETWEEN EXISTS GROUP BY HAVING ORDER "
    "ASC DESC LIMIT AS WITH UNION ALL EXCEPT INTERSECT CASE WHEN THEN ELSE END OVER PARTITION TRUE FALSE "
    "ROWS UNBOUNDED PRECEDING CURRENT ROW".split()
)
_SHORT_CHARS = 56
_INDENTS = ("  ", "    ")


@dataclass(frozen=True, slots=True)
class Style:
    """One person's way of writing."""

    case: Case = "upper"
    layout: Layout = "line"
    aliases: Aliases = "bare"
    qualified: bool = True
    """Column names carry their table also where they need not."""
    inner: bool = False
    """INNER JOIN rather than JOIN."""
    indent: str = "  "

    @classmethod
    def draw(cls, chance: random.Random) -> Style:
        """One of them."""
        return cls(
            case=chance.choices(("upper", "lower", "lower_functions"), (6, 3, 1))[0],
            layout=chance.choices(("line", "clauses", "indented"), (4, 4, 2))[0],
            aliases=chance.choices(("none", "bare", "as"), (3, 5, 2))[0],
            qualified=chance.random() < 0.6,
            inner=chance.random() < 0.15,
            indent=chance.choice(_INDENTS),
        )


@dataclass(slots=True)
class Query:
    """The clauses of one SELECT; `where` and `having` are joined by AND."""

    select: list[str]
    source: str
    joins: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    having: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    limit: int = 0
    distinct: bool = False
    tables: list[tuple[str, Query]] = field(default_factory=list)
    """Common table expressions, by name."""


def write(query: Query, style: Style) -> str:
    """The statement's text, without a semicolon."""
    return cased(_lines_to_text(_lines(query, style), style), style)


def combine(first: Query, operator: str, second: Query, style: Style) -> str:
    """Two queries and UNION, EXCEPT or INTERSECT between them."""
    between = " " if style.layout == "line" else "\n"
    return between.join((write(first, style), cased(operator, style), write(second, style)))


def nested(query: Query, style: Style) -> str:
    """A query in brackets, as it stands in another one."""
    lines = _lines(query, style)
    flat = " ".join(line.strip() for line in lines)
    if style.layout == "line" or len(flat) <= _SHORT_CHARS:
        return f"({flat})"
    inner = "\n".join(style.indent + line for text in lines for line in text.split("\n"))
    return f"(\n{inner}\n)"


def cased(text: str, style: Style) -> str:
    """Our keywords and functions in the style's letter case; names stay."""
    if style.case == "upper":
        return text
    lowered = _FUNCTIONS if style.case == "lower_functions" else _KEYWORDS
    parts: list[str] = []
    at = 0
    for piece in statements.pieces(text, "sqlite"):
        word = text[piece.start : piece.end]
        if piece.kind == "word" and word in lowered:
            parts += [text[at : piece.start], word.lower()]
            at = piece.end
    return "".join([*parts, text[at:]])


def _lines_to_text(lines: list[str], style: Style) -> str:
    return (" " if style.layout == "line" else "\n").join(lines)


def _lines(query: Query, style: Style) -> list[str]:
    """One clause a line; in the indented layout one item a line."""
    lines = _with(query, style)
    head = "SELECT DISTINCT" if query.distinct else "SELECT"
    lines += _items(head, query.select, style)
    lines.append(f"FROM {query.source}")
    lines += query.joins
    lines += _conditions("WHERE", query.where, style)
    if query.group:
        lines.append(f"GROUP BY {', '.join(query.group)}")
    lines += _conditions("HAVING", query.having, style)
    if query.order:
        lines.append(f"ORDER BY {', '.join(query.order)}")
    if query.limit:
        lines.append(f"LIMIT {query.limit}")
    return lines


def _with(query: Query, style: Style) -> list[str]:
    found = []
    for number, (name, inner) in enumerate(query.tables):
        lines = _lines(inner, style)
        head = f"{'' if number else 'WITH '}{name} AS ("
        comma = "," if number < len(query.tables) - 1 else ""
        if style.layout == "line":
            found.append(f"{head}{' '.join(lines)}){comma}")
        else:
            body = "\n".join(style.indent + line for text in lines for line in text.split("\n"))
            found.append(f"{head}\n{body}\n){comma}")
    return found


def _items(head: str, items: list[str], style: Style) -> list[str]:
    if style.layout != "indented" or len(items) == 1:
        return [f"{head} {', '.join(items)}"]
    ends = [","] * (len(items) - 1) + [""]
    return [head, *(f"{style.indent}{item}{end}" for item, end in zip(items, ends, strict=True))]


def _conditions(head: str, conditions: list[str], style: Style) -> list[str]:
    if not conditions:
        return []
    if style.layout == "indented":
        return [f"{head} {conditions[0]}", *(f"{style.indent}AND {one}" for one in conditions[1:])]
    return [f"{head} {' AND '.join(conditions)}"]
