"""What a teacher wrote, as data: lenient about the wrapping, strict about the content.

Small teachers put their JSON into code fences and talk around it; the first JSON value that fits is taken. What
fits nowhere is asked for once more, with what was wrong, and then given up. A truncated reply is never taken for
a whole one. Knows no agent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from distill.asking import Asking
from distill.records import Message
from distill.teachers.base import Ask, Failure, Reply

UNREADABLE = "unreadable reply"
TRUNCATED = "truncated reply"
NO_REPLY = "no reply"
_AGAIN = (
    "That cannot be used: {error}. Reply again, with nothing but what was asked for, in the form asked for."
)
_SHORTER = "\n\nBe brief: the reply must be complete within {words} words."
_SHOWN_AGAIN = 4000

_LABEL = re.compile(r"^\W*(?:(?:new )?instruction|prompt|question)\W*:\s*", re.IGNORECASE)

Value = TypeVar("Value")
Model = TypeVar("Model", bound=BaseModel)


class Unreadable(ValueError):
    """A reply does not fit; the message is for the teacher who wrote it."""


@dataclass(frozen=True, slots=True)
class Read(Generic[Value]):
    """What came of one question: a value, or the reason why there is none."""

    value: Value | None
    reason: str = ""
    """A rejection's: `unreadable reply`, `truncated reply` or `no reply`."""
    detail: str = ""


def ask_for(asks: Sequence[Ask], read: Callable[[str], Value], asking: Asking) -> list[Read[Value]]:
    """Ask, read, and ask what could not be read once more. In the order of `asks`.

    `read` raises Unreadable with what is wrong. A question without a reply (after the teacher's own
    retries) is not asked again.
    """
    answers = asking.ask(asks)
    results = [_read(answers[ask.key], read) for ask in asks]
    again = {
        at: _again(ask, answers[ask.key], results[at])
        for at, ask in enumerate(asks)
        if results[at].reason in (UNREADABLE, TRUNCATED)
    }
    if again:
        answers = asking.ask(list(again.values()))
        for at, ask in again.items():
            results[at] = _read(answers[ask.key], read)
    return results


def _read(answer: Reply | Failure, read: Callable[[str], Value]) -> Read[Value]:
    if isinstance(answer, Failure):
        return Read(None, NO_REPLY, answer.reason)
    if answer.truncated:
        return Read(None, TRUNCATED, answer.text[-200:])
    try:
        return Read(read(answer.text))
    except Unreadable as error:
        return Read(None, UNREADABLE, f"{error}: {answer.text[:200]}")


def _again(ask: Ask, answer: Reply | Failure, result: Read[Any]) -> Ask:
    salt = f"{ask.salt}/again"
    if result.reason == TRUNCATED:
        words = max(10, ask.sampling.max_tokens // 3)
        *before, last = ask.messages
        shorter = Message(role=last.role, content=last.content + _SHORTER.format(words=words))
        return replace(ask, messages=(*before, shorter), salt=salt)
    wrote = answer.text if isinstance(answer, Reply) else ""
    error = result.detail.split(": ", 1)[0]
    turns = (
        # An empty turn is refused by some APIs.
        Message(role="assistant", content=wrote[:_SHOWN_AGAIN] or "(nothing)"),
        Message(role="user", content=_AGAIN.format(error=error)),
    )
    return replace(ask, messages=(*ask.messages, *turns), salt=salt)


def reads(model: type[Model]) -> Callable[[str], Model]:
    """A reader for replies in JSON that fit `model`."""
    return lambda text: parse(text, model)


def parse(text: str, model: type[Model]) -> Model:
    """The first JSON value in `text` that fits `model`; Unreadable with what was wrong of the first."""
    problem = "there is no JSON in it"
    for at, value in enumerate(json_values(text)):
        try:
            return model.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            if at == 0:
                place = ".".join(map(str, first["loc"]))
                problem = f"{place} {first['msg'].lower()}".strip().replace(": ", " ")
    raise Unreadable(problem)


def json_values(text: str) -> list[Any]:
    """The outermost JSON objects and arrays in `text`, in their order. Raw line breaks in strings pass."""
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    at = 0
    while (start := _bracket(text, at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
            values.append(value)
        except (json.JSONDecodeError, RecursionError):
            at = start + 1
    return values


def _bracket(text: str, at: int) -> int:
    found = re.compile(r"[\[{]").search(text, at)
    return found.start() if found else -1


def tagged(text: str, tag: str) -> str:
    """What stands between <tag> and </tag>, stripped; Unreadable where it does not, or is empty."""
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL | re.IGNORECASE)
    if not found:
        raise Unreadable(f"there is no <{tag}>...</{tag}> in it")
    if not (inner := found[1].strip()):
        raise Unreadable(f"<{tag}> is empty")
    return inner


def one_instruction(text: str) -> str:
    """The first of `instructions`."""
    return instructions(text)[0]


def instructions(text: str) -> list[str]:
    """The new instructions in a reply: all in <instruction> tags, else in JSON. Unreadable where there is none."""
    found = re.findall(r"<instruction>(.*?)</instruction>", text, re.DOTALL | re.IGNORECASE)
    if not found:
        found = [one for value in json_values(text) for one in _strings(value)]
    cleaned = [_LABEL.sub("", one.strip()).strip() for one in found]
    if whole := [one for one in cleaned if one and "<instruction>" not in one]:
        return whole
    raise Unreadable("there is no <instruction>...</instruction> in it")


def _strings(value: object) -> Iterator[str]:
    """{"instruction": "..."}, {"instructions": [...]}, and lists of such or of strings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for key in ("instruction", "instructions"):
            if key in value:
                yield from _strings(value[key])
