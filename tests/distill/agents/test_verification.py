"""The checks together: reasons, scores, votes, resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_teacher import Script, asking, last, never

from distill.agents import verification
from distill.agents.outcome import Outcome
from distill.recipe import Verification
from distill.records import Record, chat
from distill.teachers.base import Ask, Failure

_RIGHT = chat(
    "What is 2 + 2?", "2 + 2 = 4", source="s", category="maths", language="en", facts={"answer": "4"}
)
_WRONG = chat(
    "What is 2 + 3?", "2 + 3 = 6", source="s", category="maths", language="en", facts={"answer": "5"}
)
_FREE = chat("Why is it blue?", "Because of the air.", source="s", category="explanation", language="en")


def _run(folder: Path, records: list[Record], script: Script = never, **settings: object) -> Outcome:
    settings.setdefault("checkers", ("code", "maths", "format", "language"))
    with asking(folder, script) as (asked, _):
        return verification.run(records, Verification.model_validate(settings), asked, seed=1, base=folder)


def test_what_is_wrong_goes_with_its_reason_and_scores_stay(tmp_path: Path) -> None:
    waiting = chat("waits", source="s")
    outcome = _run(tmp_path, [_RIGHT, _WRONG, _FREE, waiting])
    assert [record.id for record in outcome.records] == [_RIGHT.id, _FREE.id]
    assert outcome.records[0].scores == {"verification/maths": 1.0}
    assert outcome.records[1].scores == {"verification/language": 1.0}
    assert {one.reason for one in outcome.rejections} == {"wrong answer", "not answered"}
    failed = next(one for one in outcome.rejections if one.reason == "wrong answer")
    assert failed.record.scores["verification/maths"] == 0.0
    assert failed.detail == "6, 5 wanted"
    assert outcome.metrics["checks"]["maths"] == {"applied": 2, "failed": 1}


def test_only_the_checkers_of_the_recipe_are_used(tmp_path: Path) -> None:
    assert len(_run(tmp_path, [_WRONG], checkers=("format",)).records) == 1


def _votes(*said: str) -> Script:
    return lambda ask: said[int(ask.salt[0])]


@pytest.mark.parametrize(
    ("said", "reason", "share"),
    [
        (('{"right": true}',) * 3, "", 1.0),
        (('{"right": true}', '{"right": false, "why": "no"}', 'so {"right": true}'), "", 2 / 3),
        (('{"right": true}', '{"right": false, "why": "no"}', "garbage"), "voted down", 1 / 3),
        (('{"right": true}', "garbage", "garbage"), "voted down", 1 / 3),
        (("garbage",) * 3, "no readable vote", 0.0),
    ],
)
def test_a_majority_of_all_votes_is_needed(
    tmp_path: Path, said: tuple[str, ...], reason: str, share: float
) -> None:
    outcome = _run(tmp_path, [_FREE], _votes(*said), vote=True, votes=3)
    scored = outcome.rejections[0].record if reason else outcome.records[0]
    assert [one.reason for one in outcome.rejections] == ([reason] if reason else [])
    assert scored.scores["verification/vote"] == pytest.approx(share, abs=1e-4)


def test_what_a_checker_has_proved_is_not_voted_on(tmp_path: Path) -> None:
    unproved = _RIGHT.derive(facts={})
    asked: list[Ask] = []

    def script(ask: Ask) -> str:
        asked.append(ask)
        return '{"right": false, "why": "no"}'

    assert len(_run(tmp_path / "a", [_RIGHT], never, vote=True).records) == 1
    assert not _run(tmp_path / "b", [unproved], script, vote=True).records
    assert len(asked) == 1


def test_a_verifier_that_does_not_answer_lets_nothing_through(tmp_path: Path) -> None:
    outcome = _run(tmp_path, [_FREE], lambda ask: Failure("HTTP 500"), vote=True)
    assert [(one.reason, one.detail) for one in outcome.rejections] == [("no readable vote", "no reply")]


def test_nothing_is_asked_about_what_a_checker_rejected_and_documents_are_shown(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "air.txt").write_text("The air scatters blue light.")
    told = _FREE.derive(facts={"references": "air.txt"})
    shown = []

    def script(ask: Ask) -> str:
        shown.append(last(ask))
        return '{"right": true}'

    outcome = _run(tmp_path, [_WRONG, told], script, vote=True, references="texts")
    assert len(shown) == 1
    assert "The air scatters blue light." in shown[0]
    assert outcome.records[0].scores["verification/grounded"] == 1.0
    again = _run(tmp_path, [_WRONG, told], never, vote=True, references="texts")
    assert again == outcome


def test_code_is_run_only_where_the_recipe_says_so(tmp_path: Path) -> None:
    answer = "```python\ndef one():\n    return 2\n```"
    record = chat("Write one().", answer, source="s", category="code", facts={"tests": "assert one() == 1"})
    assert len(_run(tmp_path, [record]).records) == 1
    assert _run(tmp_path, [record], run_code=True).metrics["reasons"] == {"tests fail": 1}
