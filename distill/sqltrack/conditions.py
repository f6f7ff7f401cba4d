"""Statements, a condition in words, and the statement with it.

The condition goes into the WHERE of the outermost query; it counts when the rows change and are not gone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from distill.records import Message, Record
from distill.sqltrack import prompts, wording
from distill.sqltrack.database import Database
from distill.sqltrack.drawing import Drawing, NothingToDraw, literal, quoted
from distill.sqltrack.execution import Refused, same_rows
from distill.sqltrack.query import Style
from distill.sqltrack.questions import Statement
from sql_assistant import statements
from sql_assistant.schema import Column, Table
from sql_assistant.statements import Piece

_TRIES = 6
_ENDS = frozenset("GROUP HAVING ORDER LIMIT WINDOW".split())
_SET = frozenset("UNION EXCEPT INTERSECT".split())
_NOT_ALIAS = _ENDS | _SET | frozenset("AS ON WHERE JOIN LEFT INNER RIGHT FULL CROSS USING , )".split())


@dataclass(frozen=True, slots=True)
class _Outline:
    """The outermost query: the tables it reads by the name that qualifies their columns, its WHERE (from
    behind the word to its end), and where a WHERE would have to stand."""

    tables: tuple[tuple[str, Table], ...]
    where: tuple[int, int] | None
    has_or: bool
    end: int


def add(statement: Statement, chance: random.Random) -> Record | None:
    """A record with one condition more, None where the statement takes none that changes its rows."""
    target, sql = statement.subject.target, statement.sql
    outline = _outline(sql, target)
    before = target.judge(sql)
    if outline is None or isinstance(before, Refused):
        return None
    draw = Drawing(target, chance, Style(), booleans=target.dialect != "sqlite")
    for _ in range(_TRIES):
        try:
            condition, words = _condition(draw, outline)
        except NothingToDraw:
            continue
        if condition in sql:
            continue
        text = _with(sql, condition, outline)
        after = target.judge(text)
        if isinstance(after, Refused) or not after.says_something or same_rows(before, after):
            continue
        asked = prompts.condition(target.shown, sql, words, target.dialect)
        return Record(
            messages=(*asked, Message(role="assistant", content=prompts.fenced(text))),
            source="sqltrack/condition",
            category="sql_condition",
            language="en",
            facts=statement.facts("condition") | {"sql": text, "given": sql},
        )
    return None


def _outline(sql: str, database: Database) -> _Outline | None:
    """None for set operations and for queries that read something else than tables."""
    pieces = [p for p in statements.pieces(sql, database.dialect) if not p.is_comment]
    words = [sql[p.start : p.end].upper() for p in pieces]
    depth = 0
    start: int | None = None
    tables: list[tuple[str, Table]] = []
    where_at: int | None = None
    end_at = len(pieces)
    has_or = False
    for at, word in enumerate(words):
        depth += (word == "(") - (word == ")")
        if depth:
            continue
        if word in _SET:
            return None
        if word == "FROM" and start is None:
            start = at
        if start is None:
            continue
        if word in ("FROM", "JOIN"):
            found = _source(sql, pieces, words, at + 1, database)
            if found is None:
                return None
            tables.append(found)
        elif word == "WHERE":
            where_at = at
        elif word == "OR" and where_at is not None:
            has_or = True
        elif word in _ENDS:
            end_at = at
            break
    if not tables:
        return None
    end = pieces[end_at - 1].end
    where = (pieces[where_at + 1].start, end) if where_at is not None else None
    return _Outline(tuple(tables), where, has_or, end)


def _source(
    sql: str, pieces: list[Piece], words: list[str], at: int, database: Database
) -> tuple[str, Table] | None:
    """The table at piece `at` and what it is called; None where it is no table of the schema."""
    if at >= len(words):
        return None
    name = sql[pieces[at].start : pieces[at].end].strip('"`[]')
    try:
        table = database.table(name)
    except KeyError:
        return None
    following = at + 2 if words[at + 1 : at + 2] == ["AS"] else at + 1
    if following < len(words) and pieces[following].kind in ("word", "name"):
        if words[following] not in _NOT_ALIAS:
            return sql[pieces[following].start : pieces[following].end], table
    return quoted(table.name), table


def _condition(draw: Drawing, outline: _Outline) -> tuple[str, str]:
    name, table = draw.chance.choice(outline.tables)
    column = draw.column(table, "choice", "count", "amount", "date", "moment", "flag", "year")
    reference = quoted(column.name)
    if len(outline.tables) > 1:
        reference = f"{name}.{reference}"
    test, words = _test(draw, table, column, reference)
    of = wording.plural(table.name)
    return test, draw.pick(f"only {of} whose {words}", f"keep only {of} whose {words}", f"the {of}' {words}")


def _test(draw: Drawing, table: Table, column: Column, reference: str) -> tuple[str, str]:
    kind, name = draw.trait(table, column).kind, wording.column(column.name)
    if column.nullable and draw.chance.random() < 0.2:
        draw.nullable(table)
        return f"{reference} IS NOT NULL", f"{name} is known"
    if kind == "choice":
        value = draw.value(table, column)
        if draw.chance.random() < 0.3:
            return f"{reference} <> {literal(value)}", f"{name} is not {value}"
        return f"{reference} = {literal(value)}", f"{name} is {value}"
    if kind == "flag":
        wanted = draw.chance.random() < 0.6
        return draw.flag(reference, table, column, wanted), f"{name} is {'true' if wanted else 'false'}"
    if kind in ("date", "moment"):
        day = str(draw.value(table, column))[:10]
        sign, word = draw.chance.choice(((">=", "on or after"), ("<", "before")))
        return f"{reference} {sign} '{day}'", f"{name} is {word} {day}"
    if kind == "year":
        year = draw.value(table, column)
        return f"{reference} > {year}", f"{name} is after {year}"
    limit = draw.threshold(table, column)
    sign, word = draw.chance.choice(((">", "over"), (">=", "at least"), ("<", "below")))
    return f"{reference} {sign} {limit}", f"{name} is {word} {limit}"


def _with(sql: str, condition: str, outline: _Outline) -> str:
    """The statement with the condition, in its own letter case and layout."""
    lower = sql.lstrip()[:1].islower()
    conjunction, clause = ("and", "where") if lower else ("AND", "WHERE")
    condition = condition.replace(" IS NOT NULL", " is not null") if lower else condition
    if outline.where is None:
        return f"{sql[: outline.end]}{_between(sql)}{clause} {condition}{sql[outline.end :]}"
    start, end = outline.where
    old = f"({sql[start:end]})" if outline.has_or else sql[start:end]
    return f"{sql[:start]}{old} {conjunction} {condition}{sql[end:]}"


def _between(sql: str) -> str:
    return "\n" if "\nFROM " in sql.upper() or "\nWHERE " in sql.upper() else " "
