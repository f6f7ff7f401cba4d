"""Cuts are what the product would ask at that cursor, and put together they are the whole again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from distill.agents.outcome import Outcome
from distill.sqltrack import fim
from distill.sqltrack.questions import Statement
from serve.engines.fake import FakeEngine
from serve.settings import Settings
from sql_assistant import cursor, healing, prompt

JOINED = (
    "SELECT g.full_name, b.check_in\nFROM guests g\nJOIN bookings b ON b.guest_id = g.guest_id\n"
    "JOIN rooms r ON r.room_id = b.room_id\nWHERE r.floor > 2\nORDER BY b.check_in"
)


def test_prompt_completion_and_suffix_are_the_whole_text(outcome: Outcome) -> None:
    cuts = [record for record in outcome.records if record.category == "sql_fim"]
    assert len(cuts) > 250
    for record in cuts:
        statement = record.facts["statement_prefix"] + record.completion + record.suffix
        assert record.prompt.endswith(record.facts["statement_prefix"])
        comment, _, rest = statement.partition("\n") if statement.startswith("-- ") else ("", "", statement)
        assert rest == record.facts["sql"], comment
        assert record.completion.strip()
        assert bool(record.suffix.strip()) == (record.facts["cut"] != "tail")


def test_the_prompt_is_the_products_own(hotel: Callable[..., Statement], settings: Settings) -> None:
    engine = FakeEngine()
    settings = settings.model_copy(update={"schema_token_budget": 100_000})
    statement = hotel(JOINED)
    for record in fim.cuts(statement, 20, random.Random(4)):
        before, after = record.facts["statement_prefix"], record.suffix
        at = cursor.locate(before, after, "sqlite")
        made = prompt.completion_prompt(engine, statement.subject.target.schema, settings, at, before)
        assert engine.prompt_text(made.ids) == (
            f"<|fim_prefix|>{record.prompt}<|fim_suffix|>{record.suffix}<|fim_middle|>"
        )


def test_most_cuts_stand_where_healing_leaves_the_cursor(hotel: Callable[..., Statement]) -> None:
    cuts = fim.cuts(hotel(JOINED), 60, random.Random(4))
    reachable = 0
    for record in cuts:
        before, missing = record.facts["statement_prefix"], record.completion
        reachable += any(
            healing.split(before + missing[:n])[0] == before for n in range(1, min(12, len(missing)) + 1)
        )
    assert reachable / len(cuts) > 0.75


def test_all_kinds_of_cuts_come_up(hotel: Callable[..., Statement], outcome: Outcome) -> None:
    cuts = fim.cuts(hotel(JOINED), 40, random.Random(4))
    assert len({record.id for record in cuts}) == len(cuts) >= 30
    kinds = Counter(record.facts["cut"] for record in cuts)
    assert min(kinds[kind] for kind in ("tail", "middle", "join")) >= 4
    ends = Counter(record.suffix[:1] for record in cuts if record.suffix)
    assert ends["\n"] and ends[" "]
    commented = [record.facts["statement_prefix"].startswith("-- What is asked\n") for record in cuts]
    assert 0.4 < sum(commented) / len(commented) < 0.9
    all_kinds = Counter(r.facts["cut"] for r in outcome.records if r.category == "sql_fim")
    assert all_kinds["middle"] > 0.35 * all_kinds.total() and all_kinds["join"] > 0.05 * all_kinds.total()


def test_a_join_cut_is_its_table_and_condition(hotel: Callable[..., Statement]) -> None:
    cuts = [r for r in fim.cuts(hotel(JOINED), 60, random.Random(9)) if r.facts["cut"] == "join"]
    assert {record.completion.strip() for record in cuts} <= {
        "bookings b ON b.guest_id = g.guest_id",
        "b.guest_id = g.guest_id",
        "rooms r ON r.room_id = b.room_id",
        "r.room_id = b.room_id",
        "JOIN bookings b ON b.guest_id = g.guest_id",
        "JOIN rooms r ON r.room_id = b.room_id",
        "ON b.guest_id = g.guest_id",
        "ON r.room_id = b.room_id",
    }


def test_no_cursor_stands_where_nothing_says_what_to_write(hotel: Callable[..., Statement]) -> None:
    for seed in range(30):
        for record in fim.cuts(hotel("SELECT city FROM hotels"), 3, random.Random(seed)):
            assert record.facts["statement_prefix"].strip()
