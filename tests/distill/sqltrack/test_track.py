"""The whole track: the same records for the same seed, balanced, resumable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from distill import sqltrack
from distill.agents.outcome import Outcome
from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.teachers.base import Ask, Reply

SMALL = SqlTrack(schemas=3, questions_per_schema=4, fim_per_statement=2)
PAIR = "Q: How many rows does {table} have?\n```sql\nSELECT COUNT(*) FROM {table}\n```"


def _counts_rows(ask: Ask) -> Reply:
    table = ask.messages[0].content.split("CREATE TABLE ", 1)[1].split(" ", 1)[0]
    return Reply(PAIR.format(table=table), prompt_tokens=700, completion_tokens=20)


def test_the_same_seed_gives_the_same_records_and_another_one_others(asking: Callable[..., Asking]) -> None:
    first, again, other = (sqltrack.run(SMALL, asking(), seed=seed) for seed in (5, 5, 6))
    assert [one.id for one in first.records] == [one.id for one in again.records]
    assert first.metrics == again.metrics
    assert len({one.id for one in first.records} & {one.id for one in other.records}) < len(first.records) / 3


def test_what_the_journal_has_is_not_asked_again(asking: Callable[..., Asking]) -> None:
    first = asking(_counts_rows)
    made = sqltrack.run(SMALL, first, seed=5)
    second = asking(_counts_rows)
    again = sqltrack.run(SMALL, second, seed=5)
    assert len(first.teacher.asked) == 3 and second.teacher.asked == []
    assert [one.id for one in made.records] == [one.id for one in again.records]
    assert again.metrics["statements_by_teacher"] == 3


def test_the_preview_is_what_is_asked_first(asking: Callable[..., Asking]) -> None:
    asked = asking(_counts_rows)
    sqltrack.run(SMALL, asked, seed=5)
    assert [ask.key for ask in asked.teacher.asked] == [ask.key for ask in sqltrack.preview(SMALL, seed=5)]


def test_all_categories_are_there_in_both_splits(outcome: Outcome) -> None:
    found = Counter((one.category, one.facts["split"]) for one in outcome.records)
    for category in ("sql_question", "sql_fim", "sql_repair", "sql_join", "sql_condition"):
        assert found[category, "train"] > found[category, "held_out"] > 0
    assert outcome.metrics["schemas_held_out"] == ["cinema", "museum"]
    assert outcome.metrics["statements"] == 96
    assert sum(outcome.metrics["sources"].values()) == len(outcome.records)


def test_templates_are_used_evenly(outcome: Outcome) -> None:
    origins = Counter(one.facts["origin"] for one in outcome.records if one.category == "sql_question")
    assert len(origins) > 30 and max(origins.values()) <= 6


def test_records_are_distinct_and_have_what_a_checker_needs(outcome: Outcome) -> None:
    assert len({one.id for one in outcome.records}) == len(outcome.records)
    for one in outcome.records:
        assert {"ddl", "dialect", "sql", "schema", "split", "task"} <= one.facts.keys()
        assert one.response


@pytest.mark.parametrize("off", ["joins", "conditions", "broken_per_statement", "fim_per_statement"])
def test_what_is_turned_off_is_not_made(off: str, asking: Callable[..., Asking]) -> None:
    settings = SMALL.model_copy(update={off: 0 if off.endswith("statement") else False})
    gone = {"joins": "sql_join", "conditions": "sql_condition", "broken_per_statement": "sql_repair",
            "fim_per_statement": "sql_fim"}[off]  # fmt: skip
    categories = Counter(one.category for one in sqltrack.run(settings, asking(), seed=5).records)
    assert categories[gone] == 0 and len(categories) == 4


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_other_dialects_have_all_categories(dialect: str, asking: Callable[..., Asking]) -> None:
    made = sqltrack.run(SMALL.model_copy(update={"dialect": dialect}), asking(), seed=5)
    assert len({one.category for one in made.records}) == 5
    assert all(one.facts["dialect"] == dialect for one in made.records)
