"""Broken statements are broken, their repair is right, and the prompt is the product's."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from distill.agents.outcome import Outcome
from distill.sqltrack import broken, checker, database
from distill.sqltrack.execution import Refused, Result, same_rows
from distill.sqltrack.mistakes import MISTAKES, NoPlace, Text
from distill.sqltrack.questions import Statement
from sql_assistant import repair_model, validation

RICH = (
    "SELECT h.city, ROUND(AVG(b.total_price), 2) AS mean\nFROM hotels h\nJOIN rooms r ON r.hotel_id = h.hotel_id\n"
    "JOIN bookings b ON b.room_id = r.room_id\nWHERE b.status = 'booked' AND b.check_out IS NOT NULL\n"
    "GROUP BY h.city\nHAVING AVG(b.total_price) > 10\nORDER BY mean DESC\nLIMIT 5"
)


def test_every_given_statement_is_broken_and_every_answer_right(outcome: Outcome) -> None:
    found = [record for record in outcome.records if record.category == "sql_repair"]
    assert len(found) == 96
    for record in found:
        facts = record.facts
        known = database.load(facts["schema"], facts["ddl"], facts["dialect"])
        assert checker.statement_of(record) == facts["sql"]
        right, given = known.judge(facts["sql"]), known.judge(facts["given"])
        assert isinstance(right, Result)
        assert isinstance(given, Refused) or not same_rows(right, given), facts["given"]


def test_the_prompt_is_the_products_and_says_what_the_product_would(outcome: Outcome) -> None:
    for record in outcome.records:
        if record.category != "sql_repair":
            continue
        facts = record.facts
        known = database.load(facts["schema"], facts["ddl"], facts["dialect"])
        issues = validation.validate_statement(facts["given"], known.schema, "sqlite")
        if validation.is_valid(issues):
            continue  # what the database itself says, or what only the rows show
        told = [issue.message for issue in issues]
        asked = repair_model.messages(known.shown, facts["given"], told, "sqlite")
        assert [(m.role, m.content) for m in record.question] == [(m.role, m.content) for m in asked]


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_made_and_told(name: str, hotel: Callable[..., Statement]) -> None:
    wanted = {"foreign-operator": "SELECT hotel_name FROM hotels WHERE hotel_name LIKE 'T%'"}
    statement = hotel(wanted.get(name, RICH))
    told = []
    for seed in range(30):
        text = MISTAKES[name](Text.of(statement.sql, statement.subject.target), random.Random(seed))
        if text != statement.sql:
            told += broken.wrong_with(statement, text, name)
    assert told, name


def test_a_mistake_without_a_place_is_told_apart(hotel: Callable[..., Statement]) -> None:
    statement = hotel("SELECT city FROM hotels")
    with pytest.raises(NoPlace):
        MISTAKES["missing-quote"](Text.of(statement.sql, statement.subject.target), random.Random(1))


def test_what_changes_nothing_is_not_broken(hotel: Callable[..., Statement]) -> None:
    statement = hotel("SELECT city FROM hotels")
    assert not broken.wrong_with(statement, "select  city from hotels")
