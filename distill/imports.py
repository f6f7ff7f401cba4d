"""Other people's files as records: Alpaca, ShareGPT, OpenAI messages, and our own JSON lines.

A file holds one JSON object a line, or one JSON array. An entry that cannot be read is kept aside with its
number and the reason; the others go on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.records import Message, Record, chat
from serve.errors import NotFound, Unprocessable

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


@dataclass(frozen=True, slots=True)
class BadEntry:
    """An entry that was left out."""

    number: int
    """Its line, or its place in the array, from 1."""
    reason: str
    text: str


def read(path: Path, form: str, *, category: str = "") -> tuple[list[Record], list[BadEntry]]:
    """Records of a file in the form `records`, `alpaca`, `sharegpt` or `openai`, and what could not be read.

    `category` is given to records that have none. NotFound (no such file); Unprocessable (no entry can
    be read, or it is no text).
    """
    if form not in FORMS:
        raise Unprocessable(f"unknown format {form!r}; known: {', '.join(FORMS)}", param="format")
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    records: list[Record] = []
    bad: list[BadEntry] = []
    for number, text, entry in _entries(path):
        try:
            if isinstance(entry, Exception):
                raise entry
            record = FORMS[form](entry, path.name)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            bad.append(BadEntry(number, _reason(error), text))
            continue
        records.append(record if record.category or not category else record.derive(category=category))
    if bad and not records:
        first = bad[0]
        raise Unprocessable(f"{path} has no entry of the form {form}: entry {first.number}: {first.reason}")
    return records, bad


def _entries(path: Path) -> Iterator[tuple[int, str, Any]]:
    """(number, text, parsed entry or the exception that parsing raised)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unprocessable(f"{path} is not UTF-8 (byte {error.start}); convert it first") from error
    if text.lstrip().startswith("["):
        try:
            listed = json.loads(text)
        except ValueError as error:
            raise Unprocessable(f"{path} begins like a JSON array and is none: {error}") from error
        for number, entry in enumerate(listed, 1):
            yield number, json.dumps(entry, ensure_ascii=False), entry
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            entry = error
        yield number, line, entry


def _of_alpaca(entry: Any, source: str) -> Record:
    """{instruction, input?, output?, system?}: the input stands below the instruction."""
    instruction, given = _text(entry, "instruction"), _text(entry, "input", "")
    asked = f"{instruction}\n\n{given}" if given.strip() else instruction
    return chat(asked, _text(entry, "output", ""), source=source, system=_text(entry, "system", ""))


def _of_sharegpt(entry: Any, source: str) -> Record:
    """{conversations: [{from, value}], system?}."""
    turns = [
        Message(role=_role(turn["from"]), content=_text(turn, "value")) for turn in entry["conversations"]
    ]
    if system := _text(entry, "system", ""):
        turns.insert(0, Message(role="system", content=system))
    return Record(messages=tuple(turns), source=source)


def _of_openai(entry: Any, source: str) -> Record:
    """{messages: [{role, content}]}."""
    turns = tuple(Message(role=turn["role"], content=_text(turn, "content")) for turn in entry["messages"])
    return Record(messages=turns, source=source)


def _of_record(entry: Any, source: str) -> Record:
    """Our own: the fields of `Record`; `source` is the file where it says none."""
    return Record.model_validate({"source": source, **entry})


FORMS: dict[str, Callable[[Any, str], Record]] = {
    "records": _of_record,
    "alpaca": _of_alpaca,
    "sharegpt": _of_sharegpt,
    "openai": _of_openai,
}


def _role(name: object) -> Any:
    try:
        return _SHAREGPT_ROLES[str(name)]
    except KeyError:
        raise ValueError(f"unknown speaker {name!r}; known: {', '.join(_SHAREGPT_ROLES)}") from None


def _text(entry: Any, key: str, default: str | None = None) -> str:
    value = entry.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"{key} is missing" if value is None else f"{key} is no text")
    if default is None and not value.strip():
        raise ValueError(f"{key} is empty")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON: {error}"
    if isinstance(error, (TypeError, AttributeError)):
        return "no object of that form"
    return str(error)
