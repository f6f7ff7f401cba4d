"""Broken statements with their repair, in the product's own repair prompt.

A statement counts as broken when validation or execution refuses it, or when its rows differ; what is
wrong is said in the words that the product has for it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from distill.records import Message, Record
from distill.sqltrack import prompts
from distill.sqltrack.execution import Refused, same_rows
from distill.sqltrack.mistakes import MISTAKES, NoPlace, Text
from distill.sqltrack.questions import Statement
from sql_assistant import validation

_SECOND = 0.12
"""Share with two mistakes."""
_COMMON = frozenset(
    "keyword-typo name-typo name-form missing-comma extra-comma missing-bracket missing-word doubled-word".split()
)
"""Mistakes that nearly every statement has a place for; the others are tried first more often."""
_TOLD_ROWS = {
    "missing-group-column": "a column that is selected is neither in GROUP BY nor in an aggregate function",
    "equals-null": "a comparison with NULL by = or <> is never true; use IS NULL or IS NOT NULL",
}
"""What is said of mistakes that the engine may let pass."""


def spoil(statement: Statement, count: int, chance: random.Random) -> list[Record]:
    """Up to `count` records of different mistakes."""
    names = sorted(MISTAKES, key=lambda name: chance.random() ** (1 if name in _COMMON else 2))
    found: list[Record] = []
    for name in names:
        if len(found) >= count:
            break
        made = _record(statement, name, chance)
        if made is not None:
            found.append(made)
    return found


def _record(statement: Statement, name: str, chance: random.Random) -> Record | None:
    target, sql = statement.subject.target, statement.sql
    try:
        broken = MISTAKES[name](Text.of(sql, target), chance)
        if chance.random() < _SECOND:
            broken = MISTAKES["name-typo"](Text.of(broken, target), chance)
    except NoPlace:
        return None
    told = wrong_with(statement, broken, name)
    if not told:
        return None
    asked = prompts.repair(target.shown, broken, told, target.dialect)
    return Record(
        messages=(*asked, Message(role="assistant", content=prompts.fenced(sql))),
        source=f"sqltrack/repair/{name}",
        category="sql_repair",
        facts=statement.facts("repair") | {"given": broken},
    )


def wrong_with(statement: Statement, broken: str, name: str = "") -> Sequence[str]:
    """What the product would say of a statement; nothing where it is not broken, or nobody could tell."""
    target = statement.subject.target
    issues = validation.validate_statement(broken, target.schema, target.dialect)
    errors = [issue.message for issue in issues]
    if not validation.is_valid(issues):
        return errors
    ran = target.sandbox.run(broken)
    if isinstance(ran, Refused):
        return errors or [ran.reason]
    right = target.sandbox.run(statement.sql)
    differs = isinstance(right, Refused) or not same_rows(right, ran)
    return [_TOLD_ROWS[name]] if differs and name in _TOLD_ROWS else []
