"""JOINs that are put right and conditions that are added: the rows tell that both matter."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from distill.agents.outcome import Outcome
from distill.sqltrack import checker, conditions, database, joins
from distill.sqltrack.execution import Refused, Result, same_rows
from distill.sqltrack.questions import Statement


def test_wrong_joins_give_other_rows_and_the_answer_the_right_ones(outcome: Outcome) -> None:
    found = [record for record in outcome.records if record.category == "sql_join"]
    assert len(found) > 15
    assert len({record.source for record in found}) >= 4
    for record in found:
        known = database.load(record.facts["schema"], record.facts["ddl"], record.facts["dialect"])
        right, given = known.judge(record.facts["sql"]), known.judge(record.facts["given"])
        assert checker.statement_of(record) == record.facts["sql"]
        assert record.facts["given"] in record.instruction
        assert isinstance(given, Refused) or (isinstance(right, Result) and not same_rows(right, given))


def test_a_statement_without_a_join_makes_no_record(hotel: Callable[..., Statement]) -> None:
    assert joins.spoil(hotel("SELECT city FROM hotels"), random.Random(1)) is None


def test_a_join_that_gives_the_same_rows_is_not_called_wrong(hotel: Callable[..., Statement]) -> None:
    """Without its condition this one still gives every floor once."""
    statement = hotel("SELECT DISTINCT r.floor FROM rooms r JOIN hotels h ON h.hotel_id = r.hotel_id")
    found = [joins.spoil(statement, random.Random(seed)) for seed in range(20)]
    assert any(record is not None for record in found)
    assert "sqltrack/join/missing" not in {record.source for record in found if record is not None}


def test_conditions_change_the_rows_and_leave_some(outcome: Outcome) -> None:
    found = [record for record in outcome.records if record.category == "sql_condition"]
    assert len(found) > 50
    for record in found:
        known = database.load(record.facts["schema"], record.facts["ddl"], record.facts["dialect"])
        before, after = known.judge(record.facts["given"]), known.judge(record.facts["sql"])
        assert isinstance(before, Result) and isinstance(after, Result)
        assert after.says_something and not same_rows(before, after)
        assert record.instruction.startswith("Condition: ")
        assert checker.statement_of(record) == record.facts["sql"]


@pytest.mark.parametrize(
    ("sql", "begin", "end"),
    [
        ("SELECT city FROM hotels", "SELECT city FROM hotels WHERE ", ""),
        ("select city\nfrom hotels\norder by city", "select city\nfrom hotels\nwhere ", "\norder by city"),
        (
            "SELECT city FROM hotels WHERE stars > 1 OR city = 'Lyon' ORDER BY 1",
            "SELECT city FROM hotels WHERE (stars > 1 OR city = 'Lyon') AND ",
            " ORDER BY 1",
        ),
        (
            "SELECT h.city FROM hotels h JOIN rooms AS r ON r.hotel_id = h.hotel_id WHERE r.floor > 1",
            "SELECT h.city FROM hotels h JOIN rooms AS r ON r.hotel_id = h.hotel_id WHERE r.floor > 1 AND ",
            "",
        ),
        (
            "SELECT city FROM hotels WHERE hotel_id IN (SELECT hotel_id FROM rooms WHERE floor > 1 ORDER BY 1)",
            "SELECT city FROM hotels WHERE hotel_id IN (SELECT hotel_id FROM rooms WHERE floor > 1 ORDER BY 1) AND ",
            "",
        ),
    ],
)
def test_the_condition_goes_where_it_belongs(
    sql: str, begin: str, end: str, hotel: Callable[..., Statement]
) -> None:
    record = conditions.add(hotel(sql), random.Random(2))
    assert record is not None
    made = record.facts["sql"]
    assert made.startswith(begin) and made.endswith(end)
    added = made[len(begin) : len(made) - len(end)]
    assert added and "FROM" not in added
    if " JOIN " in sql:
        assert added.startswith(("h.", "r."))


def test_set_operations_and_other_sources_take_no_condition(hotel: Callable[..., Statement]) -> None:
    for sql in (
        "SELECT city FROM hotels UNION SELECT nationality FROM guests",
        "WITH x AS (SELECT city FROM hotels) SELECT city FROM x",
        "SELECT city FROM (SELECT city FROM hotels) t",
    ):
        assert conditions.add(hotel(sql), random.Random(2)) is None
