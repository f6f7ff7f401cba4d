"""Questions with statements: our templates are right on every schema, the teacher's only where they are."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.sqltrack import questions, schemas, wording
from distill.sqltrack.drawing import Drawing, NothingToDraw
from distill.sqltrack.execution import Refused, Result
from distill.sqltrack.query import Style
from distill.sqltrack.questions import Statement
from distill.sqltrack.templates import TEMPLATES
from distill.teachers.base import Ask, Reply
from sql_assistant import validation

_DRAWS = 3


def test_every_template_statement_is_valid_and_runs_on_every_shipped_schema() -> None:
    """Our own statements are right, so the validator has to take all of them: its false rejects are 0 of
    the well over a thousand here."""
    refused: list[str] = []
    used: Counter[str] = Counter()
    silent = 0
    for name in schemas.BUILTIN:
        subject = schemas.subject(name, schemas.builtin(name), SqlTrack(schemas=2))
        for kind, template in TEMPLATES.items():
            for draw in range(_DRAWS):
                chance = random.Random(f"{name}/{kind}/{draw}")
                try:
                    question, sql = template(
                        Drawing(subject.base, chance, Style.draw(chance), booleans=False)
                    )
                except NothingToDraw:
                    continue
                assert "  " not in question and question[:1].isalpha(), question
                ran = subject.base.sandbox.run(sql)
                assert isinstance(ran, Result), f"{kind} on {name} does not run: {ran.reason}\n{sql}"
                used[kind] += 1
                silent += not ran.says_something
                issues = validation.validate_statement(sql, subject.base.schema, "sqlite")
                if not validation.is_valid(issues):
                    refused.append(f"{kind} on {name}: {issues[0].message}\n{sql}")
    assert refused == []
    assert set(used) == set(TEMPLATES)
    assert used.total() > 1200
    assert silent / used.total() < 0.02


def test_names_become_words() -> None:
    assert [wording.column(name) for name in ("is_green", "paid_on", "ShippingCost", "qty")] == [
        "green", "paid date", "shipping cost", "quantity"
    ]  # fmt: skip
    tables = ("tbl_stock", "categories", "order_items", "people", "species", "Play", "boxes", "goals")
    assert [wording.singular(name) for name in tables] == [
        "stock", "category", "order item", "person", "species", "play", "box", "goal"
    ]  # fmt: skip
    assert [wording.plural(name) for name in ("category", "people", "match", "bus")] == [
        "categories", "people", "matches", "buses"
    ]  # fmt: skip


def test_styles_differ_in_letters_and_layout() -> None:
    subject = schemas.subject("hotel", schemas.builtin("hotel"), SqlTrack(schemas=2))
    texts = set()
    for n in range(40):
        style = Style.draw(random.Random(n))
        texts.add(
            TEMPLATES["join/missing"](Drawing(subject.base, random.Random(7), style, booleans=False))[1]
        )
    assert len(texts) > 8
    assert any(text.startswith("select") for text in texts) and any("\n" in text for text in texts)
    assert len({" ".join(text.lower().split()).split(" from ")[0] for text in texts}) >= 2


def _teacher(*pairs: tuple[str, str]) -> Callable[[Ask], Reply]:
    text = "\n\n".join(f"Q: {question}\n```sql\n{sql}\n```" for question, sql in pairs)
    return lambda ask: Reply(text)


def _make(asking: Asking, dialect: str = "sqlite") -> tuple[list[Statement], Counter[str]]:
    settings = SqlTrack(schemas=2, questions_per_schema=6, dialect=dialect)
    subject = schemas.subject("hotel", schemas.builtin("hotel"), settings)
    found, rejections = questions.make([subject], settings, asking, seed=1)
    return found, Counter(rejection.reason for rejection in rejections)


def test_the_teachers_right_statements_are_taken_as_they_are(asking: Callable[..., Asking]) -> None:
    sql = "SELECT city,\n  COUNT(*) AS n\nFROM hotels GROUP BY city;"
    found, rejected = _make(asking(_teacher(("How many hotels are there\n per city?", sql))))
    teachers = [one for one in found if one.origin == "teacher"]
    assert [one.sql for one in teachers] == [sql.rstrip(";")]
    assert teachers[0].question == "How many hotels are there"
    assert len(found) == 6 and not rejected


def test_what_is_wrong_or_known_is_rejected_and_templates_fill_up(asking: Callable[..., Asking]) -> None:
    found, rejected = _make(
        asking(
            _teacher(
                ("Cities of the hotels?", "SELECT DISTINCT city FROM hotels"),
                ("Which towns do they have hotels in?", "select distinct CITY from hotels"),
                ("Cities of the hotels", "SELECT city FROM hotels ORDER BY city"),
                ("Hotels with a pool", "SELECT hotel_name FROM hotels WHERE has_pool = 1"),
                (
                    "Bookings of the year 1900",
                    "SELECT booking_id FROM bookings WHERE check_in < '1900-01-01'",
                ),
                ("Remove all guests", "DELETE FROM guests"),
                ("Stays until today", "SELECT booking_id FROM bookings WHERE check_out < DATE('now')"),
            )
        )
    )
    assert rejected == {"near-duplicate": 2, "invalid": 1, "gives nothing": 1, "fails": 1} | {
        "depends on the day or on chance": 1
    }
    assert Counter(one.origin == "teacher" for one in found) == {True: 1, False: 5}


def test_an_answer_in_another_form_is_told(asking: Callable[..., Asking]) -> None:
    found, rejected = _make(asking(lambda _: Reply("SELECT 1")))
    assert rejected == {"no question with SQL in the answer": 1}
    assert len(found) == 6


def test_statements_that_differ_in_literals_alone_have_one_skeleton() -> None:
    one = questions.skeleton("SELECT a\nFROM t WHERE b = 'x' LIMIT 5", "sqlite")
    assert one == questions.skeleton("select A from T where B = 'yy'  -- note\n limit 10", "sqlite")
    assert one != questions.skeleton("SELECT a FROM t WHERE c = 'x' LIMIT 5", "sqlite")


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "mysql", "tsql", "bigquery", "snowflake"])
def test_statements_are_right_in_the_dialect_that_is_asked_for(
    dialect: str, asking: Callable[..., Asking]
) -> None:
    found, _ = _make(asking(), dialect)
    assert len(found) == 6
    for one in found:
        assert one.subject.target.dialect == dialect
        assert not isinstance(one.subject.target.judge(one.sql), Refused)


def test_a_record_shows_the_schema_and_fences_the_statement(hotel: Callable[..., Statement]) -> None:
    record = questions.record(hotel("SELECT city FROM hotels"))
    system, user, answer = record.messages
    assert "CREATE TABLE hotels (" in system.content and "SQLite" in system.content
    assert (user.content, answer.content) == ("What is asked", "```sql\nSELECT city FROM hotels\n```")
    assert record.facts["sql"] == "SELECT city FROM hotels"
