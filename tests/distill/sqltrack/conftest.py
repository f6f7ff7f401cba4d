"""A scripted teacher, and one run of the track over the shipped schemas that several tests look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from distill import sqltrack
from distill.agents.outcome import Outcome
from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.runs import Journal
from distill.sqltrack import schemas
from distill.sqltrack.questions import Statement
from distill.teachers.base import Ask, Failure, Reply

Answer = Callable[[Ask], Reply | Failure]


class ScriptedTeacher:
    """Answers by a function, and counts what it was asked."""

    name = "scripted"

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: list[Ask] = []

    def generate(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Failure]]:
        for index, ask in enumerate(asks):
            self.asked.append(ask)
            yield index, self._answer(ask)

    def close(self) -> None:
        pass


def _silent(_: Ask) -> Reply | Failure:
    return Failure("HTTP 500 after 6 tries")


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Callable[..., Asking]]:
    """Makes an `Asking` whose teacher answers by a function (by default not at all); all share one journal."""
    journals: list[Journal] = []

    def make(answer: Answer = _silent) -> Asking:
        for journal in journals:
            journal.close()
        journals.append(Journal(tmp_path / "journal.jsonl"))
        return Asking(ScriptedTeacher(answer), journals[-1])

    yield make
    for journal in journals:
        journal.close()


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """All shipped schemas, eight questions each, without a teacher."""
    settings = SqlTrack(schemas=12, questions_per_schema=8, held_out_schemas=2)
    with Journal(tmp_path_factory.mktemp("sqltrack") / "journal.jsonl") as journal:
        return sqltrack.run(settings, Asking(ScriptedTeacher(_silent), journal), seed=1)


@pytest.fixture
def hotel() -> Callable[..., Statement]:
    """Makes a statement on the shipped schema `hotel`."""

    def make(sql: str, dialect: str = "sqlite") -> Statement:
        subject = schemas.subject("hotel", schemas.builtin("hotel"), SqlTrack(schemas=2, dialect=dialect))
        return Statement(subject, "What is asked", sql, "test")

    return make
