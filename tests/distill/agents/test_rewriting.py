"""Paraphrases whose meaning is checked, and versions with reasoning."""

from __future__ import annotations

from pathlib import Path

from scripted_teacher import Script, asking, between, last, never

from distill.agents import rewriting
from distill.agents.outcome import Outcome
from distill.recipe import Rewriting
from distill.records import Record, chat
from distill.teachers.base import Ask

_OPEN = chat("What is 17 times 23?", source="s", category="maths", language="en", facts={"answer": "391"})
_SHORT = chat("How much is 6 times 7?", "42", source="s", category="maths", language="en")
_LONG = chat(
    "A box holds 6 rows of 7 eggs. How many are in it?",
    "There are six rows. " * 14 + "Each has 7 eggs, and 6 times 7 makes 42.\nAnswer: 42",
    source="s",
    category="maths",
    language="en",
)


def _run(folder: Path, script: Script, records: list[Record], **settings: object) -> Outcome:
    with asking(folder, script) as (asked, _):
        return rewriting.run(records, Rewriting.model_validate(settings), asked, seed=5)


def _paraphrases(reply: str, same: str = '{"same": true}') -> Script:
    return lambda ask: same if ask.purpose == "rewriting/check" else f"<instruction>{reply}</instruction>"


def _only(outcome: Outcome, source: str) -> list[Record]:
    return [record for record in outcome.records if record.source == source]


def test_a_checked_paraphrase_keeps_facts_and_answer(tmp_path: Path) -> None:
    outcome = _run(tmp_path, _paraphrases("Multiply 17 by 23, please."), [_OPEN], chain_of_thought="none")
    (made,) = _only(outcome, "rewriting/paraphrase")
    assert made.facts == {"answer": "391"}
    assert made.parents == (_OPEN.id,)
    answered = _run(tmp_path, _paraphrases("Multiply 6 by 7."), [_SHORT], chain_of_thought="none")
    assert _only(answered, "rewriting/paraphrase")[0].response == "42"


def test_a_paraphrase_says_the_required_form_too(tmp_path: Path) -> None:
    formed = _OPEN.derive(facts={"constraint": '{"kind":"max_sentences","count":1}'})
    outcome = _run(tmp_path, _paraphrases("Multiply 17 by 23, please."), [formed])
    (made,) = _only(outcome, "rewriting/paraphrase")
    assert made.instruction == "Multiply 17 by 23, please. Answer in one sentence."
    assert made.facts == formed.facts


def test_a_paraphrase_that_changes_the_meaning_is_rejected(tmp_path: Path) -> None:
    for reply, same, detail in (
        ("Multiply 17 by 24, please.", '{"same": true}', "lost: 23"),
        ("Multiply 17 by 23, please, and by 2.", '{"same": true}', "new number: 2"),
        ("Add 17 and 23, please.", '{"same": false}', "says the teacher"),
    ):
        outcome = _run(tmp_path / detail, _paraphrases(reply, same), [_OPEN], chain_of_thought="none")
        assert [(one.reason, one.detail) for one in outcome.rejections] == [("meaning changed", detail)]
        assert outcome.records == [_OPEN]


def test_the_check_can_be_left_out_but_numbers_are_compared_all_the_same(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        assert ask.purpose != "rewriting/check"
        return "<instruction>Multiply 17 by 24.</instruction>"

    outcome = _run(tmp_path, script, [_OPEN], check_paraphrases=False, chain_of_thought="none")
    assert outcome.metrics["reasons"] == {"meaning changed": 1}


def test_the_same_words_are_no_paraphrase(tmp_path: Path) -> None:
    outcome = _run(tmp_path, _paraphrases("What is 17 times 23?!"), [_OPEN], chain_of_thought="none")
    assert outcome.metrics["reasons"] == {"nothing changed": 1}


def test_reasoning_is_asked_for_in_reasoning_categories_only(tmp_path: Path) -> None:
    writing = chat("Write a poem about the sea.", source="s", category="writing", language="en")
    formed = _OPEN.derive(facts={"constraint": '{"kind":"json"}'})
    outcome = _run(tmp_path, never, [_OPEN, writing, formed], paraphrases=0)
    assert outcome.metrics["long_reasoning"] == outcome.metrics["short_reasoning"] == 1
    (long,) = _only(outcome, "rewriting/long")
    assert long.instruction.startswith("What is 17 times 23?\n\n")
    assert long.instruction.endswith('End with a line "Answer: ...".')
    assert long.facts["answer"] == "391"
    assert not long.response


def test_answers_are_made_longer_or_shorter_and_keep_their_result(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        if ask.purpose == "rewriting/long":
            return "<answer>6 times 7 is 7 + 7 + 7 + 7 + 7 + 7, which makes 42.\nAnswer: 42</answer>"
        return "<answer>6 · 7 = 42</answer>"

    outcome = _run(tmp_path, script, [_SHORT, _LONG], paraphrases=0)
    assert outcome.rejections == []
    (longer,), (shorter,) = _only(outcome, "rewriting/long"), _only(outcome, "rewriting/short")
    assert longer.parents == (_SHORT.id,)
    assert longer.response.endswith("Answer: 42")
    assert shorter.parents == (_LONG.id,)
    assert shorter.response == "6 · 7 = 42"
    assert shorter.instruction != _LONG.instruction, "the wish for a short answer is said"


def test_a_rewritten_answer_with_another_result_is_rejected(tmp_path: Path) -> None:
    outcome = _run(tmp_path, lambda ask: "<answer>Step by step it is 41.</answer>", [_SHORT], paraphrases=0)
    assert [one.reason for one in outcome.rejections] == ["answer changed"]
    assert outcome.records == [_SHORT]


def test_code_must_survive(tmp_path: Path) -> None:
    answered = chat(
        "Write add.",
        "```python\ndef add(a, b):\n    return a + b\n```",
        source="s",
        category="code",
        language="en",
    )

    def script(ask: Ask) -> str:
        shown = last(ask).split("Answer:\n")[1].split("\n\nWrite the answer")[0]
        return f"<answer>First we name it, then we add.\n{shown.replace('a + b', 'a - b')}</answer>"

    outcome = _run(tmp_path, script, [answered], paraphrases=0)
    assert outcome.metrics["reasons"] == {"answer changed": 1}


def test_resuming_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        if ask.purpose == "rewriting/check":
            return '{"same": true}'
        if ask.purpose == "rewriting/paraphrase":
            return f"<instruction>Tell me: {between(last(ask), 'instruction')}, for it interests me.</instruction>"
        return "garbage"

    first = _run(tmp_path, script, [_OPEN, _SHORT, _LONG])
    assert _run(tmp_path, never, [_OPEN, _SHORT, _LONG]) == first
    assert first.metrics["reasons"]["unreadable reply"] == 2
    assert first.metrics["paraphrases"] == 3
