"""Schemas: the shipped ones, then the teacher's, of which only sound and new ones are taken.

Knows no statements.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.records import Rejection, chat
from distill.sqltrack import database, prompts
from distill.sqltrack.database import Database, Split
from distill.sqltrack.execution import translate
from distill.teachers.base import Ask, Failure, Sampling
from serve.errors import DistilsqlError, Unprocessable
from sql_assistant import ddl as ddl_reader
from sql_assistant import dialects, statements
from sql_assistant.schema import Schema

AGENT = "sqltrack/schemas"
BUILTIN = (
    "shop veterinary_clinic football_league payroll music_stream energy helpdesk warehouse hotel insurance "
    "cinema museum"
).split()
"""In the order in which they are taken, kinds of writing mixed."""
_FOLDER = Path(__file__).with_name("builtin")
_ROUNDS = 3
_FEWEST_TABLES, _MOST_TABLES = 2, 12
_ALIKE = 0.5
"""Share of common table and column names from which two schemas are the same."""
_FENCED = re.compile(r"```(?:\w*\n)?(.*?)```", re.DOTALL)
_TOPICS = (
    "a bus company with lines, stops and trips",
    "a bakery chain with branches, recipes and daily production",
    "a film festival with juries and screenings",
    "a solar park with inverters and hourly output",
    "a blood bank with donors and donations",
    "a tool rental with items, customers and rentals",
    "a dance school with courses, teachers and enrolments",
    "an airport with gates, flights and delays",
    "a vineyard with plots, harvests and bottlings",
    "a public swimming pool with passes and visits",
    "a software project tracker with issues and sprints",
    "a translation agency with jobs and translators",
    "a laboratory with samples, tests and instruments",
    "a moving company with trucks, crews and jobs",
    "a charity with donors, campaigns and gifts",
    "a chess club with members, games and ratings",
    "a nursery for plants with species, beds and sales",
    "a co-working space with desks, members and bookings",
    "a recycling yard with deliveries and materials",
    "a podcast platform with shows, episodes and listens",
    "a call centre with calls, agents and queues",
    "a ferry line with ships, crossings and tickets",
    "a weather service with stations and measurements",
    "a catering firm with menus, events and staff",
    "a law office with cases, clients and hours",
    "a toy factory with machines, shifts and defects",
    "an auction house with lots, bidders and bids",
    "a ski resort with lifts, passes and rides",
    "a pharmacy with drugs, batches and sales",
    "a marathon with runners, splits and results",
)
_NAMING = (
    "Name things in snake_case, tables in the plural.",
    "Name things in snake_case, tables in the singular.",
    "Name things in CamelCase.",
    "Use short names.",
)


@dataclass(frozen=True)
class Subject:
    """A schema that statements are made for: as SQLite has it, and in the dialect that is asked for."""

    name: str
    base: Database
    target: Database
    split: Split = "train"


def gather(settings: SqlTrack, asking: Asking, *, seed: int) -> tuple[list[Subject], list[Rejection]]:
    """`settings.schemas` of them, fewer where the teacher's do not pass; the last ones are held out.

    Unprocessable where none would be left to train on.
    """
    if settings.held_out_schemas >= settings.schemas:
        raise Unprocessable(
            f"sql.held_out_schemas ({settings.held_out_schemas}) has to be less than sql.schemas ({settings.schemas}): "
            "nothing would be left to train on"
        )
    found = shipped(settings)
    rejections: list[Rejection] = []
    for round_ in range(_ROUNDS):
        asks = _asks(settings, settings.schemas - len(found), seed, round_)
        answers = asking.ask(asks) if asks else {}
        for ask in asks:
            answer = answers[ask.key]
            text = "" if isinstance(answer, Failure) else answer.text
            cut_off = not isinstance(answer, Failure) and answer.truncated
            made = (
                f"no answer: {answer.reason}"
                if isinstance(answer, Failure)
                else _read(text, cut_off, f"asked_{round_}_{len(found)}", settings, found)
            )
            if isinstance(made, Subject):
                found.append(made)
            else:
                reason, _, detail = made.partition(": ")
                record = chat(ask.messages[0].content, text, source=AGENT, category="sql")
                rejections.append(Rejection(record=record, agent=AGENT, reason=reason, detail=detail))
    kept = len(found) - settings.held_out_schemas
    if kept < 1:
        raise Unprocessable(
            f"only {len(found)} schemas were made, and sql.held_out_schemas keeps {settings.held_out_schemas} back: "
            "use a better teacher, or let the shipped schemas in (sql.builtin_schemas)"
        )
    held_out = [Subject(s.name, s.base, s.target, "held_out") for s in found[kept:]]
    return [*found[:kept], *held_out], rejections


def preview(settings: SqlTrack, *, seed: int) -> list[Ask]:
    """The first round of what the teacher is asked."""
    return _asks(settings, settings.schemas - len(shipped(settings)), seed, 0)


def builtin(name: str) -> str:
    """The DDL of a shipped schema."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def subject(name: str, ddl: str, settings: SqlTrack) -> Subject:
    """A SQLite schema made ready in both dialects. Raises Unprocessable where one cannot be read."""
    rows = settings.rows_per_table
    base = database.load(name, ddl, "sqlite", rows)
    dialect = dialects.get(settings.dialect).name
    if dialect == "sqlite":
        return Subject(name, base, base)
    parts = []
    for span in statements.split(ddl, "sqlite"):
        if statements.code_span(ddl, span, "sqlite"):
            part = translate(ddl[slice(*span)], "sqlite", dialect, pretty=True)
            if part is None:
                raise Unprocessable(
                    f"schema {name}: a table cannot be written in {dialects.get(dialect).label}"
                )
            parts.append(part)
    return Subject(name, base, database.load(name, ";\n\n".join(parts) + ";\n", dialect, rows))


def shipped(settings: SqlTrack) -> list[Subject]:
    """The shipped schemas that these settings take."""
    names = BUILTIN[: settings.schemas] if settings.builtin_schemas else []
    return [subject(name, builtin(name), settings) for name in names]


def _asks(settings: SqlTrack, count: int, seed: int, round_: int) -> list[Ask]:
    chance = random.Random(f"{seed}/schemas/{round_}")
    topics = chance.sample(_TOPICS, len(_TOPICS))
    asks = []
    for number in range(max(0, count)):
        topic = topics[number % len(topics)]
        messages = prompts.teacher_schema(topic, chance.randint(3, 6), chance.choice(_NAMING))
        sampling = Sampling(
            settings.max_tokens,
            settings.temperature,
            seed=chance.randrange(2**31) if settings.temperature else None,
        )
        asks.append(Ask(messages, sampling=sampling, purpose=AGENT, salt=f"{round_}/{number}"))
    return asks


def _read(text: str, cut_off: bool, name: str, settings: SqlTrack, known: Sequence[Subject]) -> Subject | str:
    """A schema out of the teacher's answer, or why not (`reason: detail`)."""
    fenced = _FENCED.search(text)
    if cut_off or not fenced:
        return "cut off" if cut_off else "no SQL in the answer"
    ddl = fenced[1].strip() + "\n"
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(ddl)
        schema = ddl_reader.parse_ddl(ddl, "sqlite")
    except sqlite3.Error as error:
        return f"does not build in SQLite: {error}"
    except DistilsqlError as error:
        return f"not readable: {error.message}"
    finally:
        db.close()
    if fault := _fault(schema):
        return fault
    if any(_alike(schema, other.base.schema) >= _ALIKE for other in known):
        return "near-duplicate"
    try:
        return subject(name, ddl, settings)
    except DistilsqlError as error:
        return f"not readable: {error.message}"


def _fault(schema: Schema) -> str:
    tables = {table.name.lower(): {c.name.lower() for c in table.columns} for table in schema.tables}
    if not _FEWEST_TABLES <= len(tables) <= _MOST_TABLES:
        return f"too few or too many tables: {len(tables)}"
    if not any(table.foreign_keys for table in schema.tables):
        return "no foreign keys"
    for table in schema.tables:
        if table.is_view or len(table.columns) < 2:
            return f"a table with fewer than two columns: {table.name}"
        for foreign in table.foreign_keys:
            columns = {column.lower() for column in foreign.ref_columns}
            if not columns or not columns <= tables.get(foreign.ref_table.lower(), set()):
                return f"a foreign key leads nowhere: {table.name} to {foreign.ref_table}"
    return ""


def _alike(one: Schema, other: Schema) -> float:
    """Jaccard similarity of the names of tables with those of their columns."""
    first, second = (
        {(t.name.lower().rstrip("s"), c.name.lower()) for t in schema.tables for c in t.columns}
        for schema in (one, other)
    )
    return len(first & second) / len(first | second)
