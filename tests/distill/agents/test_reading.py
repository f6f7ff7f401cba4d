"""Replies as data: wrapped in chatter, half JSON, garbage, truncated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from scripted_teacher import asking, last

from distill.agents.prompt_files import prompt, question
from distill.agents.reading import (
    NO_REPLY,
    TRUNCATED,
    UNREADABLE,
    Unreadable,
    ask_for,
    instructions,
    json_values,
    parse,
    reads,
    tagged,
)
from distill.teachers.base import Ask, Failure, Reply

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


class _Grade(BaseModel):
    grade: int


@pytest.mark.parametrize(
    "text",
    [
        '{"grade": 4}',
        'Sure! Here it is:\n```json\n{"grade": 4}\n```\nAnything else?',
        'I would say {not this} but {"grade": 4}, see?',
        '[1, 2] {"note": "{"} {"grade": "4"}',
    ],
)
def test_the_first_json_that_fits_is_taken(text: str) -> None:
    assert parse(text, _Grade).grade == 4


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("no idea", "no JSON"),
        ('{"grade": 4', "no JSON"),
        ('{"grade": "good"}', "grade input should be a valid integer"),
        ('{"mark": 4}', "grade field required"),
    ],
)
def test_what_does_not_fit_is_said(text: str, wrong: str) -> None:
    with pytest.raises(Unreadable, match=wrong):
        parse(text, _Grade)


@given(st.text(alphabet=st.characters(exclude_characters="[{")), st.dictionaries(st.text(), _JSON), st.text())
@settings(max_examples=50)
def test_json_is_found_behind_any_text(before: str, value: dict[str, object], after: str) -> None:
    assert json_values(before + json.dumps(value) + after)[0] == value


def test_tags_and_instructions() -> None:
    assert tagged("Well: <answer>\n 42 \n</answer> ok", "answer") == "42"
    with pytest.raises(Unreadable, match="no <answer>"):
        tagged("<answer>cut off", "answer")
    assert instructions("<instruction>Instruction: One</instruction> x <Instruction>Two</Instruction>") == [
        "One",
        "Two",
    ]
    assert instructions('```json\n{"instructions": [{"instruction": "One"}, "Two"]}\n```') == ["One", "Two"]
    with pytest.raises(Unreadable):
        instructions("Here are some ideas.")


def _ask(text: str, salt: str = "") -> Ask:
    return question(text, purpose="test", temperature=0.5, max_tokens=60, seed=1, salt=salt)


def test_an_unreadable_reply_is_asked_once_more_with_what_was_wrong(tmp_path: Path) -> None:
    def script(ask: Ask) -> str:
        return '{"grade": 3}' if len(ask.messages) == 3 else '{"grade": "fine"}'

    with asking(tmp_path, script) as (asked, teacher):
        (read,) = ask_for([_ask("grade it")], reads(_Grade), asked)
        assert read.value == _Grade(grade=3)
        again = teacher.asked[1]
        assert again.messages[1].content == '{"grade": "fine"}'
        assert "valid integer" in last(again)


def test_garbage_truncation_and_failure_have_their_own_reasons(tmp_path: Path) -> None:
    def script(ask: Ask) -> str | Reply | Failure:
        if ask.messages[0].content.startswith("cut"):
            # A whole JSON value, and yet not the whole reply.
            return Reply('{"grade": 1} and', truncated=True)
        return Failure("HTTP 500 after 6 tries") if "fail" in ask.messages[0].content else "%%%"

    with asking(tmp_path, script) as (asked, teacher):
        results = ask_for([_ask("cut"), _ask("fail"), _ask("garbage")], reads(_Grade), asked)
        assert [one.value for one in results] == [None, None, None]
        assert [one.reason for one in results] == [TRUNCATED, NO_REPLY, UNREADABLE]
        assert results[1].detail == "HTTP 500 after 6 tries"
        assert len(teacher.asked) == 5
        assert "Be brief" in last(next(ask for ask in teacher.asked if ask.salt and "cut" in last(ask)))


def test_a_dollar_sign_in_a_value_stays() -> None:
    assert "costs $price" in prompt("judge", instruction="It costs $price", answer="$$5")


def test_a_missing_placeholder_is_an_error() -> None:
    with pytest.raises(KeyError, match="answer"):
        prompt("judge", instruction="x")
