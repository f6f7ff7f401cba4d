"""Answers, draws, and what is no answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from scripted_teacher import asking, last, never

from distill.agents import answering
from distill.recipe import Answering
from distill.records import Record, chat
from distill.teachers.base import Ask, Failure, Reply

_WAITING = [chat(text, source="s", category="c") for text in ("good", "cut", "empty", "fail", "marker")]
_GIVEN = chat("done?", "yes", source="s")


def _script(ask: Ask) -> str | Reply | Failure:
    if ask.messages == ():
        return f"[{ask.prefix}|{ask.suffix}]"
    return {
        "good": f"  Answer at {ask.sampling.temperature}  ",
        "cut": Reply("It goes on and", 5, 99, truncated=True),
        "empty": " \n",
        "fail": Failure("timeout"),
        "marker": "fine<|im_end|>",
    }[last(ask)]


def test_only_whole_answers_count(tmp_path: Path) -> None:
    with asking(tmp_path, _script) as (asked, _):
        outcome = answering.run([_GIVEN, *_WAITING], Answering(), asked, seed=1)
        assert [record.response for record in outcome.records] == ["yes", "Answer at 0.0"]
        assert outcome.records[0] is _GIVEN
        assert outcome.records[1].parents == (_WAITING[0].id,)
        assert Counter(one.reason for one in outcome.rejections) == {
            "truncated answer": 1,
            "empty answer": 1,
            "no reply": 1,
            "control tokens in the answer": 1,
        }


def test_further_draws_are_warmer_and_equal_ones_count_once(tmp_path: Path) -> None:
    with asking(tmp_path, _script) as (asked, teacher):
        outcome = answering.run(_WAITING[:1], Answering(draws=3), asked, seed=1)
        assert sorted(ask.sampling.temperature for ask in teacher.asked) == [0.0, 0.7, 0.7]
        assert len({ask.sampling.seed for ask in teacher.asked}) == 3
        assert [record.response for record in outcome.records] == ["Answer at 0.0", "Answer at 0.7"]
        assert outcome.metrics["same_draws"] == 1


def test_gaps_are_filled_as_they_come_blanks_included(tmp_path: Path) -> None:
    gap = Record(kind="fim", prompt="SELECT ", suffix=" FROM t", source="s")
    with asking(tmp_path, _script) as (asked, _):
        outcome = answering.run([gap], Answering(), asked, seed=1)
        assert outcome.records[0].completion == "[SELECT | FROM t]"


def test_resuming_asks_only_what_failed(tmp_path: Path) -> None:
    with asking(tmp_path, _script) as (asked, _):
        first = answering.run(_WAITING[:3], Answering(), asked, seed=1)
    with asking(tmp_path, never) as (again, _):
        assert answering.run(_WAITING[:3], Answering(), again, seed=1) == first
    assert again.completion_tokens == asked.completion_tokens
