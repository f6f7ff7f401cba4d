"""JOINs whose condition is wrong or missing, with the right statement.

A wrong one counts when validation or execution refuses it, or when its rows differ.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from distill.records import Message, Record
from distill.sqltrack import fim, prompts
from distill.sqltrack.execution import Refused, same_rows
from distill.sqltrack.questions import Statement
from sql_assistant import statements

_EQUAL = re.compile(r"(\w+)\.(\w+)\s*=\s*(\w+)\.(\w+)")


def spoil(statement: Statement, chance: random.Random) -> Record | None:
    """A record that asks for the JOINs to be corrected; None for a statement that joins nothing."""
    target, sql = statement.subject.target, statement.sql
    right = target.judge(sql)
    if isinstance(right, Refused):
        return None
    tries = list(_wrong(statement))
    chance.shuffle(tries)
    turns = sorted({kind for kind, _ in tries}, key=lambda _: chance.random())
    for kind, text in sorted(tries, key=lambda one: turns.index(one[0])):
        wrong = target.judge(text)
        if not isinstance(wrong, Refused) and same_rows(right, wrong):
            continue
        asked = prompts.join(target.shown, text, target.dialect)
        return Record(
            messages=(*asked, Message(role="assistant", content=prompts.fenced(sql))),
            source=f"sqltrack/join/{kind}",
            category="sql_join",
            facts=statement.facts("join") | {"given": text},
        )
    return None


def _wrong(statement: Statement) -> Iterator[tuple[str, str]]:
    """Statements that differ in a join, and what was done to it."""
    sql = statement.sql
    pieces = [p for p in statements.pieces(sql, statement.subject.target.dialect) if not p.is_comment]
    for _, on, end in fim.joins(sql, pieces):
        if on is None:
            continue
        before = next(p for p in reversed(pieces) if p.end <= on)
        yield "missing", sql[: before.start].rstrip() + sql[end:]
        found = _EQUAL.match(sql, on, end)
        if found is None:
            continue
        one, its, other, theirs = found.groups()
        for name, (left, right) in {
            "own-column": (f"{one}.{its}", f"{one}.{its}"),
            "same-name": (f"{one}.{its}", f"{other}.{its}"),
            "other-name": (f"{one}.{theirs}", f"{other}.{theirs}"),
            "swapped": (f"{one}.{theirs}", f"{other}.{its}"),
        }.items():
            if (left, right) != (f"{one}.{its}", f"{other}.{theirs}"):
                yield name, f"{sql[:on]}{left} = {right}{sql[found.end() :]}"
        for column in _other_columns(statement, its, theirs):
            yield "other-column", f"{sql[:on]}{one}.{its} = {other}.{column}{sql[found.end() :]}"


def _other_columns(statement: Statement, its: str, theirs: str) -> list[str]:
    """Other keys of the tables that have the column `theirs`."""
    found = []
    for table in statement.subject.target.schema.tables:
        names = {column.name for column in table.columns}
        if theirs in names:
            keys = {*table.primary_key, *(name for foreign in table.foreign_keys for name in foreign.columns)}
            found += sorted(keys - {its, theirs})
    return found
