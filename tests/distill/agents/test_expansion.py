"""Wordings and new instructions: what is asked, what is kept, balance, languages, resuming."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from scripted_teacher import Script, asking, between, last, never

from distill.agents import expansion
from distill.agents.outcome import Outcome
from distill.agents.wordings import requirements
from distill.recipe import Expansion
from distill.records import Record, chat
from distill.teachers.base import Ask, Failure, Reply

_SEEDS = [
    chat("Explain why the sky looks blue at noon.", source="seeds", category="explanation", language="en"),
    chat("What is 17 times 23?", source="seeds", category="maths", language="en", facts={"answer": "391"}),
    chat("Write a Python function add(a, b).", source="seeds", category="code", language="en"),
]
_SUBJECTS = "bees clouds bread trains music rivers glass chess maps salt wood kites paint wool tides".split()


def _rewords(ask: Ask) -> str:
    """Keeps the seed and says the change; writes new instructions about ever new subjects."""
    text = last(ask)
    if ask.purpose == "expansion/new":
        category = re.search(r'category "(\w+)"', text)
        assert category and ask.sampling.seed
        subject = _SUBJECTS[ask.sampling.seed % len(_SUBJECTS)]
        return "\n".join(
            f"<instruction>{category[1]}: {subject} and {_SUBJECTS[at]}, {ask.sampling.seed}</instruction>"
            for at in range(4)  # more than asked for, now and then
        )
    seed = between(text, "instruction")
    change = re.search(r"differs in one way: (.*)", text)
    assert change
    return f"<instruction>\n{seed} Mind that {change[1]}\n</instruction>"


def _run(folder: Path, script: Script, records: list[Record] = _SEEDS, **settings: object) -> Outcome:
    with asking(folder, script) as (asked, _):
        return expansion.run(records, Expansion.model_validate(settings), asked, seed=3)


def test_wordings_carry_their_constraint_and_the_seeds_facts(tmp_path: Path) -> None:
    outcome = _run(tmp_path, _rewords, per_seed=4, near_duplicate=1.0)
    made = [record for record in outcome.records if record.source.startswith("expansion/")]
    assert len(made) == 12
    assert {record.parents[0] for record in made} == {seed.id for seed in _SEEDS}
    assert all(record.facts["answer"] == "391" for record in made if record.category == "maths")
    constrained = [record for record in made if "constraint" in record.facts]
    assert {json.loads(record.facts["constraint"])["kind"] for record in constrained} >= {
        "code_only",
        "last_line",
    }
    assert len({record.source for record in made}) >= 5, "several axes"


def test_a_constraint_that_the_teacher_forgot_is_said_by_us(tmp_path: Path) -> None:
    def forgets(ask: Ask) -> str:
        return f"<instruction>Please: {between(last(ask), 'instruction')}</instruction>"

    outcome = _run(tmp_path, forgets, per_seed=6, near_duplicate=1.0)
    kinds = {
        json.loads(record.facts["constraint"])["kind"]: record.instruction
        for record in outcome.records
        if "constraint" in record.facts
    }
    assert kinds["last_line"].endswith("Put the final answer alone on the last line.")
    assert kinds["code_only"].endswith("Reply with one code block and no explanation.")


def test_every_axis_is_used_about_equally_often() -> None:
    used = Counter(
        requirement.axis
        for turn in range(60)
        for requirement in requirements("writing", 4, turn=turn, seed=1, constrained=False)
    )
    assert len(used) == 6
    assert max(used.values()) - min(used.values()) <= 2


def test_code_is_not_asked_for_as_a_table_and_a_form_is_not_asked_for_twice() -> None:
    assert all(
        one.constraint is None or one.constraint.kind == "code_only"
        for one in requirements("code", 20, turn=0, seed=1, constrained=False)
    )
    assert not any(one.constraint for one in requirements("writing", 20, turn=0, seed=1, constrained=True))


def test_a_wording_that_loses_a_number_is_rejected(tmp_path: Path) -> None:
    def loses(ask: Ask) -> str:
        return "<instruction>What is the product of the two numbers of your choice?</instruction>"

    outcome = _run(tmp_path, loses, [_SEEDS[1]], per_seed=2)
    assert [rejection.reason for rejection in outcome.rejections] == ["meaning changed"] * 2
    assert outcome.records == [_SEEDS[1]]


def test_new_instructions_keep_the_category_balance(tmp_path: Path) -> None:
    uneven = [
        *_SEEDS,
        *(
            chat(f"Write a poem about {one}.", source="s", category="writing", language="en")
            for one in _SUBJECTS
        ),
    ]
    outcome = _run(tmp_path, _rewords, uneven, per_seed=0, new_per_category=5, near_duplicate=0.95)
    new = Counter(record.category for record in outcome.records if record.source == "expansion/new")
    assert new == {"explanation": 5, "maths": 5, "code": 5, "writing": 5}
    assert outcome.metrics["short_of"] == {}


def test_near_duplicates_length_and_language_are_controlled(tmp_path: Path) -> None:
    replies = iter(
        [
            "Explain why the sky looks blue at noon!",
            "Short",
            "空が青い理由を詳しく説明してください。",
            "x y " * 2000,
            "Explain to a child why the midday sky has that colour.",
        ]
    )
    outcome = _run(
        tmp_path,
        lambda ask: f"<instruction>{next(replies)}</instruction>",
        _SEEDS[:1],
        per_seed=5,
        near_duplicate=0.6,
    )
    # Those with a constraint had it added, which makes the short ones long enough.
    reasons = Counter(rejection.reason for rejection in outcome.rejections)
    assert reasons["wrong language"] == 1
    assert reasons["too long"] == 1
    assert reasons["near-duplicate"] + reasons["too short"] >= 1
    assert sum(reasons.values()) + outcome.metrics["wordings"] == 5


def test_wordings_in_several_languages(tmp_path: Path) -> None:
    said = {
        "English": "Please explain the colour of the sky in your words",
        "Chinese": "请解释天空为什么是蓝色的",
        "Japanese": "空が青い理由を説明してください",
    }

    def script(ask: Ask) -> str:
        found = re.search(r"Write in (\w+)\.", last(ask))
        assert found
        return f"<instruction>{said[found[1]]} {ask.purpose}。</instruction>"

    outcome = _run(tmp_path, script, _SEEDS[:1], per_seed=6, languages=("en", "zh", "ja"), near_duplicate=1.0)
    made = [record for record in outcome.records if record.source.startswith("expansion/")]
    assert Counter(record.language for record in made) == {"en": 2, "zh": 2, "ja": 2}


def test_a_teacher_that_is_garbage_half_of_the_time_loses_only_that_half(tmp_path: Path) -> None:
    def half(ask: Ask) -> str | Reply | Failure:
        chance = (ask.sampling.seed or 0) % 4
        if chance == 0:
            return Failure("HTTP 500 after 6 tries")
        if chance == 1:
            return "%$§ {{{"
        return _rewords(ask)

    outcome = _run(tmp_path, half, per_seed=8, near_duplicate=1.0)
    asked = len(expansion.preview(_SEEDS, Expansion(per_seed=8), seed=3))
    assert 0 < outcome.metrics["wordings"] < asked
    assert outcome.metrics["wordings"] + len(outcome.rejections) == asked
    assert set(outcome.metrics["reasons"]) == {"no reply", "unreadable reply"}


def test_a_second_run_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    settings = {"per_seed": 3, "new_per_category": 3, "near_duplicate": 0.9}
    first = _run(tmp_path, _rewords, **settings)
    assert _run(tmp_path, never, **settings) == first


def test_another_order_of_answers_and_a_kill_in_between_change_nothing(tmp_path: Path) -> None:
    settings = {"per_seed": 4, "new_per_category": 3, "near_duplicate": 0.9}
    whole = _run(tmp_path / "whole", _rewords, **settings)
    count = 0

    def dies(ask: Ask) -> str:
        nonlocal count
        count += 1
        if count > 7:
            raise KeyboardInterrupt
        return _rewords(ask)

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "killed", dies, **settings)
    assert _run(tmp_path / "killed", _rewords, **settings) == whole


def test_the_preview_is_what_is_asked_first(tmp_path: Path) -> None:
    with asking(tmp_path, _rewords) as (asked, teacher):
        settings = Expansion(per_seed=2, new_per_category=2)
        expansion.run(_SEEDS, settings, asked, seed=3)
        shown = {ask.key for ask in expansion.preview(_SEEDS, settings, seed=3)}
        assert shown <= {ask.key for ask in teacher.asked}
        assert len(shown) == 6 + 3
