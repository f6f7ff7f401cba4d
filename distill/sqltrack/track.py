"""The SQL track as a whole: schemas, statements, and the records made from them.

All but the teacher's replies follows from the settings and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from distill.agents.outcome import Outcome, counted, distinct, tally
from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.records import Record
from distill.sqltrack import broken, conditions, fim, joins, questions, schemas
from distill.sqltrack.questions import Statement
from distill.teachers.base import Ask


def run(settings: SqlTrack, asking: Asking, *, seed: int) -> Outcome:
    """Records of categories `sql_question`, `sql_fim`, `sql_repair`, `sql_join` and `sql_condition`.

    `facts["split"]` tells those of held-out schemas (`held_out`) from those to train on (`train`). Raises
    Unprocessable for settings that leave nothing to train on, and what the teacher raises.
    """
    subjects, rejected_schemas = schemas.gather(settings, asking, seed=seed)
    statements, rejected = questions.make(subjects, settings, asking, seed=seed)
    records = distinct(record for one in statements for record in _records(one, settings, seed))
    rejections = [*rejected_schemas, *rejected]
    return Outcome(records, rejections, tally(records, rejections, **_figures(subjects, statements, records)))


def preview(settings: SqlTrack, *, seed: int) -> list[Ask]:
    """What would be asked first: for schemas, and for questions on the shipped ones."""
    asked = [ask for one in schemas.shipped(settings) for ask in questions.asks(one, settings, seed=seed)]
    return [*schemas.preview(settings, seed=seed), *asked]


def _records(statement: Statement, settings: SqlTrack, seed: int) -> Iterator[Record]:
    """All records of one statement; its content seeds them, so that one statement more changes no other's."""
    chance = random.Random(f"{seed}/{statement.subject.name}/{statement.sql}")
    yield questions.record(statement)
    yield from fim.cuts(statement, settings.fim_per_statement, chance)
    yield from broken.spoil(statement, settings.broken_per_statement, chance)
    if settings.joins and (joined := joins.spoil(statement, chance)) is not None:
        yield joined
    if settings.conditions and (added := conditions.add(statement, chance)) is not None:
        yield added


def _figures(
    subjects: list[schemas.Subject], statements: list[Statement], records: list[Record]
) -> dict[str, Any]:
    return {
        "schemas": len(subjects),
        "schemas_asked": sum(subject.name not in schemas.BUILTIN for subject in subjects),
        "schemas_held_out": [subject.name for subject in subjects if subject.split == "held_out"],
        "statements": len(statements),
        "statements_by_teacher": sum(one.origin == questions.TEACHER for one in statements),
        "splits": counted(record.facts["split"] for record in records),
        "sources": counted(record.source for record in records),
    }
