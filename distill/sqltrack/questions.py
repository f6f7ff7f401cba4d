"""Questions with their statements: the teacher's where they are right, and our templates' for the rest.

Every statement has been validated and has given rows on the synthetic data; of two that differ in
their literals alone, or whose questions are nearly the same, one is kept. Nothing is repaired.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.agents.similarity import NearDuplicates
from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.records import Message, Record, Rejection
from distill.sqltrack import prompts, templates_groups, templates_joins, templates_nested
from distill.sqltrack.database import Database
from distill.sqltrack.drawing import Drawing, NothingToDraw
from distill.sqltrack.execution import Refused, same_rows, translate
from distill.sqltrack.query import Style, cased
from distill.sqltrack.schemas import Subject
from distill.sqltrack.templates import TEMPLATES
from distill.teachers.base import Ask, Failure, Reply, Sampling
from sql_assistant import statements

__all__ = ["Statement", "asks", "make", "record", "skeleton"]

AGENT = "sqltrack/questions"
TEACHER = "teacher"
_FAMILIES = (templates_groups, templates_joins, templates_nested)
"""Imported for the templates that they register."""
_PER_ASK = 4
_SAME_QUESTION = 0.8
_ROUNDS = 6
"""How often every template is tried on a schema, at most."""
_MAX_CHARS = 1_500
_PAIR = re.compile(
    r"Q(?:uestion)?\s*\d*\s*[:.]\s*(.+?)\s*```(?:sql)?\s*\n(.+?)```", re.DOTALL | re.IGNORECASE
)
_MOVING = re.compile(
    r"\bRANDOM\w*\b|\bUUID\b|'now'|\bCURRENT_(?:DATE|TIME|TIMESTAMP)\b|\b(?:NOW|GETDATE|TODAY|CURDATE)\s*\(",
    re.I,
)
"""What gives other rows another day."""
_FOCUS = (
    "Join at least two tables in most of them.",
    "Include totals, averages and rankings.",
    "Include dates and conditions on several columns.",
    "Include some that need a subquery or a WITH clause.",
)


@dataclass(frozen=True)
class Statement:
    """A right statement, in the subject's target dialect."""

    subject: Subject
    question: str
    sql: str
    origin: str
    """The template's name, or `teacher`."""

    def facts(self, task: str) -> dict[str, str]:
        """What a checker needs of a record made from it."""
        target = self.subject.target
        return {
            "ddl": target.ddl,
            "dialect": target.dialect,
            "sql": self.sql,
            "schema": self.subject.name,
            "split": self.subject.split,
            "task": task,
            "origin": self.origin,
        }


def asks(subject: Subject, settings: SqlTrack, *, seed: int) -> list[Ask]:
    """What the teacher is asked about a schema: for half of its questions."""
    chance = random.Random(f"{seed}/questions/{subject.name}")
    found = []
    for at, start in enumerate(range(0, settings.questions_per_schema // 2, _PER_ASK)):
        count = min(_PER_ASK, settings.questions_per_schema // 2 - start)
        spoken = _spoken(subject)
        messages = prompts.teacher_questions(spoken.shown, spoken.dialect, count, chance.choice(_FOCUS))
        sampling = Sampling(
            settings.max_tokens,
            settings.temperature,
            seed=chance.randrange(2**31) if settings.temperature else None,
        )
        found.append(Ask(messages, sampling=sampling, purpose=AGENT, salt=str(at)))
    return found


def make(
    subjects: Sequence[Subject], settings: SqlTrack, asking: Asking, *, seed: int
) -> tuple[list[Statement], list[Rejection]]:
    """`questions_per_schema` for every subject, the teacher's first."""
    asked = {subject.name: asks(subject, settings, seed=seed) for subject in subjects}
    wanted = [ask for found in asked.values() for ask in found]
    answers = asking.ask(wanted) if wanted else {}
    found: list[Statement] = []
    rejections: list[Rejection] = []
    for number, subject in enumerate(subjects):
        sieve = _Sieve(subject)
        for ask in asked[subject.name]:
            _take_replies(sieve, ask, answers[ask.key], settings.questions_per_schema, rejections)
        _fill(sieve, settings.questions_per_schema, number, seed)
        found += sieve.kept
    return found, rejections


def record(statement: Statement) -> Record:
    """The question as a conversation."""
    target = statement.subject.target
    asked = prompts.question(target.shown, statement.question, target.dialect)
    origin = TEACHER if statement.origin == TEACHER else "template"
    return Record(
        messages=(*asked, Message(role="assistant", content=prompts.fenced(statement.sql))),
        source=f"sqltrack/question/{origin}",
        category="sql_question",
        language="en",
        facts=statement.facts("question"),
    )


def skeleton(sql: str, dialect: str) -> str:
    """The statement without letter case, layout and literals: equal for near-duplicates."""
    masks = {"string": "?", "number": "0"}
    return " ".join(
        masks.get(piece.kind, sql[piece.start : piece.end].lower())
        for piece in statements.pieces(sql, dialect)
        if not piece.is_comment
    )


class _Sieve:
    """Right and new statements of one subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.kept: list[Statement] = []
        self._skeletons: set[str] = set()
        self._questions = NearDuplicates(_SAME_QUESTION)

    def offer(self, question: str, sql: str, origin: str, style: Style | None = None) -> str:
        """Keep a statement; "" where it was, else why not (`reason: detail`)."""
        told = adopt(self.subject, sql, style)
        if isinstance(told, Refused):
            return told.reason
        made = Statement(self.subject, " ".join(question.split()), told, origin)
        bare = skeleton(made.sql, self.subject.target.dialect)
        if bare in self._skeletons:
            return "near-duplicate: its statement"
        if self._questions.add(made.question) is not None:
            return "near-duplicate: its question"
        self._skeletons.add(bare)
        self.kept.append(made)
        return ""


def adopt(subject: Subject, sql: str, style: Style | None = None) -> str | Refused:
    """`sql`, written in the dialect that the subject is spoken of in, as its target's: judged there, and
    judged before translation too. `style` sets the layout and letter case of what is translated."""
    spoken = _spoken(subject) if style is None else subject.base
    sql = sql.strip().rstrip(";").rstrip()
    if len(sql) > _MAX_CHARS:
        return Refused("too long")
    if _MOVING.search(sql):
        return Refused("depends on the day or on chance")
    result = spoken.judge(sql)
    if isinstance(result, Refused) or not result.says_something:
        return result if isinstance(result, Refused) else Refused("gives nothing")
    if spoken is subject.target:
        return sql
    pretty = "\n" in sql if style is None else style.layout != "line"
    translated = translate(sql, spoken.dialect, subject.target.dialect, pretty=pretty, idiomatic=True)
    if translated is None:
        return Refused("not translatable")
    translated = translated if style is None else cased(translated, style)
    again = subject.target.judge(translated)
    if isinstance(again, Refused):
        return Refused(f"not translatable: {again.reason}")
    return translated if same_rows(result, again) else Refused("not translatable: other rows")


def _spoken(subject: Subject) -> Database:
    """What the teacher is shown: the target where an engine for it is here, else SQLite."""
    return subject.target if subject.target.dialect in ("sqlite", "duckdb") else subject.base


def _take_replies(
    sieve: _Sieve, ask: Ask, answer: Reply | Failure, most: int, rejections: list[Rejection]
) -> None:
    def reject(question: str, sql: str, why: str) -> None:
        reason, _, detail = why.partition(": ")
        messages = (Message(role="user", content=question), Message(role="assistant", content=sql))
        made = Record(messages=messages, source=AGENT, category="sql_question")
        rejections.append(Rejection(record=made, agent=AGENT, reason=reason, detail=detail))

    if isinstance(answer, Failure):
        reject(ask.messages[0].content, "", f"no answer: {answer.reason}")
        return
    pairs = list(_pairs(answer.text))
    if not pairs:
        reject(ask.messages[0].content, answer.text, "no question with SQL in the answer")
    for question, sql in pairs:
        if len(sieve.kept) >= most:
            break
        if why := sieve.offer(question, sql, TEACHER):
            reject(question, sql, why)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """Questions with statements of a reply; what is cut off at its end is left out."""
    for found in _PAIR.finditer(text):
        question = found[1].strip().splitlines()[0].strip()
        if question and found[2].strip():
            yield question, found[2].strip()


def _fill(sieve: _Sieve, wanted: int, number: int, seed: int) -> None:
    """Templates until there are `wanted` statements; over the schemas all templates get their turn."""
    names = list(TEMPLATES)
    random.Random(f"{seed}/templates").shuffle(names)
    start = number * wanted
    for turn in range(_ROUNDS * len(names)):
        if len(sieve.kept) >= wanted:
            return
        name = names[(start + turn) % len(names)]
        chance = random.Random(f"{seed}/{sieve.subject.name}/{name}/{turn}")
        style = Style.draw(chance)
        booleans = sieve.subject.target.dialect != "sqlite"
        try:
            drawn = TEMPLATES[name](Drawing(sieve.subject.base, chance, style, booleans=booleans))
        except NothingToDraw:
            continue
        sieve.offer(*drawn, name, style)
