"""Sieving, grading, difficulty, and a diverse, balanced subset under a budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_teacher import Script, asking, last, never

from distill.agents import selection
from distill.agents.diversity import farthest_first, shares
from distill.agents.outcome import Outcome
from distill.agents.selection import Scored
from distill.agents.similarity import signatures
from distill.recipe import Selection
from distill.records import Record, chat
from distill.teachers.base import Ask
from serve.errors import InvalidRequest

_GOOD = "Short waves are scattered more by the air, so blue light reaches the eye from all sides."


def _record(text: str, answer: str = _GOOD, category: str = "explanation") -> Record:
    return chat(text, answer, source="s", category=category, language="en")


def _run(
    folder: Path,
    records: list[Record],
    script: Script = never,
    teacher: Scored | None = None,
    student: Scored | None = None,
    **settings: object,
) -> Outcome:
    with asking(folder, script) as (asked, _):
        return selection.run(
            records, Selection.model_validate(settings), asked, seed=1, teacher=teacher, student=student
        )


def test_empty_dull_and_noisy_records_go(tmp_path: Path) -> None:
    records = [
        _record("good"),
        chat("waits", source="s"),
        _record("dull", "the the the of of and to it is is it the " * 4),
        _record("noisy", "As an AI language model, I cannot help with that. I hope this helps! " * 6),
        _record("good"),
    ]
    outcome = _run(tmp_path, records)
    assert [record.instruction for record in outcome.records] == ["good"]
    assert Counter(one.reason for one in outcome.rejections) == {
        "not answered": 1,
        "low density": 1,
        "noise": 1,
    }
    assert outcome.metrics["duplicates"] == 1
    assert {"selection/density", "selection/noise", "selection/generality"} <= outcome.records[
        0
    ].scores.keys()


def test_a_completion_of_one_bracket_has_no_density_to_lack(tmp_path: Path) -> None:
    gap = Record(kind="fim", prompt="SELECT COUNT(*", suffix=" FROM t", completion=")", source="s")
    assert len(_run(tmp_path, [gap]).records) == 1


def test_the_judge_grades_and_its_garbage_costs_no_record(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        text = last(ask)
        if "about bees" in text:
            return 'Well: {"quality": 2, "generality": 3}'
        return '{"quality": 5, "generality": 4}' if "about salt" in text else "no grade from me"

    records = [_record("about bees"), _record("about salt"), _record("about maps")]
    outcome = _run(tmp_path, records, script, judge=True)
    assert [record.instruction for record in outcome.records] == ["about salt", "about maps"]
    assert outcome.records[0].scores["selection/grade"] == 4.5
    assert outcome.metrics["reasons"] == {"low grade": 1}
    assert outcome.metrics["ungraded"] == 1
    assert _run(tmp_path, records, never, judge=True) == outcome


def test_difficulty_is_the_teachers_logprob_less_the_students(tmp_path: Path) -> None:
    records = [_record(f"Tell me about {one}") for one in ("bees", "salt", "maps")]
    hard = records[1].id

    def teacher(some: list[Record]) -> list[float]:
        return [-0.5 for _ in some]

    def student(some: list[Record]) -> list[float]:
        return [-3.0 if record.id == hard else -0.6 for record in some]

    outcome = _run(tmp_path, records, teacher=teacher, student=student, difficulty=True, budget=1)
    (kept,) = outcome.records
    assert kept.id == hard, "what the student finds hard and the teacher does not is learned first"
    assert kept.scores["selection/difficulty"] == 2.5
    with pytest.raises(InvalidRequest, match=r"select\.difficulty"):
        _run(tmp_path, records, difficulty=True)


def test_the_budget_is_spent_evenly_and_on_what_differs(tmp_path: Path) -> None:
    alike = [
        _record(f"Explain to reader number {n} why the sky looks blue at noon in summer.") for n in range(30)
    ]
    others = [
        _record(text, category="writing")
        for text in (
            "Write a poem about rivers.",
            "Draft a letter to the mayor concerning the noise at night.",
            "Compose a menu for a spring dinner.",
        )
    ]
    odd = _record("How are violins built, and from which kinds of wood?")
    outcome = _run(tmp_path, [*alike, odd, *others], budget=6)
    assert Counter(record.category for record in outcome.records) == {"explanation": 3, "writing": 3}
    assert odd.id in {record.id for record in outcome.records}
    assert outcome.metrics["reasons"] == {"over budget": 28}
    order = [record.id for record in [*alike, odd, *others]]
    assert [record.id for record in outcome.records] == sorted(
        (record.id for record in outcome.records), key=order.index
    )
    proportional = _run(tmp_path, [*alike, odd, *others], budget=6, category_balance=0.0)
    assert Counter(record.category for record in proportional.records)["explanation"] >= 5


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 50), min_size=1),
    st.integers(0, 200),
    st.floats(0, 1),
)
def test_shares_spend_the_whole_budget_and_never_more_than_there_is(
    available: dict[str, int], budget: int, balance: float
) -> None:
    found = shares(available, budget, balance)
    assert sum(found.values()) == min(budget, sum(available.values()))
    assert all(0 <= found[name] <= available[name] for name in available)


def test_equal_shares_go_round_what_is_scarce() -> None:
    assert shares({"a": 2, "b": 50, "c": 50}, 30, 1.0) == {"a": 2, "b": 14, "c": 14}
    assert shares({"a": 10, "b": 90}, 10, 0.0) == {"a": 1, "b": 9}


def test_farthest_first_takes_one_of_each_kind_before_a_second_of_any() -> None:
    texts = [
        f"{kind} {'again ' * n}".strip()
        for kind in ("rivers and tides at sea", "chess openings", "sourdough bread")
        for n in range(3)
    ]
    chosen = farthest_first(signatures(texts), np.full(len(texts), 0.5), 3)
    assert {at // 3 for at in chosen} == {0, 1, 2}


def test_of_equal_texts_the_better_one_is_taken() -> None:
    rows = signatures(["the same text", "the same text", "quite another one"])
    assert farthest_first(rows, np.array([0.4, 0.9, 0.3]), 2) == [1, 2]
