"""Forms an answer can be required to have, each of which can be checked: one sentence, a table, JSON, ...

Kept in a record's facts as JSON: {"kind": "bullets", "count": 3}. Knows no agent and no wording.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CODE_BLOCK = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_BULLET = re.compile(r"^\s{0,3}[-*•・]\s+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s{0,3}(\d{1,3})[.)．、]\s*\S", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|approx|no|mr|mrs|ms|dr|prof|st|fig)\.", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|\Z)|[。！？]+[」』）]*")
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+(?:['’.,-]?\w+)*"
)
_LAST_LINE_WORDS = 12


class Constraint(BaseModel):
    """One form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[
        "max_sentences",
        "max_words",
        "paragraphs",
        "bullets",
        "numbered",
        "table",
        "json",
        "code_only",
        "last_line",
        "running_text",
    ]
    count: int = Field(default=0, ge=0)
    """How many, where the kind counts something. Chinese and Japanese count characters for words."""

    @property
    def text(self) -> str:
        """As it stands in a record's facts."""
        return self.model_dump_json(exclude_defaults=True)


def broken(constraint: Constraint, text: str) -> str:
    """In which way `text` breaks the constraint; empty where it keeps it."""
    return _RULES[constraint.kind](text.strip(), constraint.count)


def words(text: str) -> list[str]:
    """Words, and in Chinese and Japanese text characters."""
    return _WORD.findall(text)


def sentences(text: str) -> int:
    """How many sentences; a rest without a full stop is one."""
    plain = _ABBREVIATION.sub(lambda match: match[1].replace(".", ""), CODE_BLOCK.sub("", text)).strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(plain)]
    rest = plain[ends[-1] :] if ends else plain
    return len(ends) + bool(words(rest))


def _max_sentences(text: str, count: int) -> str:
    found = sentences(text)
    return f"{found} sentences, at most {count} wanted" if found > count else ""


def _max_words(text: str, count: int) -> str:
    found = len(words(text))
    return f"{found} words, at most {count} wanted" if found > count else ""


def _paragraphs(text: str, count: int) -> str:
    found = len([part for part in re.split(r"\n\s*\n", text) if part.strip()])
    return f"{found} paragraphs, {count} wanted" if found != count else ""


def _bullets(text: str, count: int) -> str:
    found = len(_BULLET.findall(text))
    return f"{found} bullet points, {count} wanted" if found != count else ""


def _numbered(text: str, count: int) -> str:
    numbers = [int(match[1]) for match in _NUMBERED.finditer(text)]
    if len(numbers) < 2 or numbers != list(range(1, len(numbers) + 1)):
        return f"no steps numbered from 1 on (found {numbers})"
    return f"{len(numbers)} steps, {count} wanted" if count and len(numbers) != count else ""


def _table(text: str, _: int) -> str:
    lines = text.splitlines()
    for at, line in enumerate(lines[1:-1], 1):
        if "|" in line and _TABLE_RULE.match(line) and "|" in lines[at - 1] and "|" in lines[at + 1]:
            return ""
    return "no Markdown table with a heading and a row"


def _json(text: str, _: int) -> str:
    block = CODE_BLOCK.fullmatch(text)
    try:
        json.loads(block[1] if block else text)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return ""


def _code_only(text: str, _: int) -> str:
    if not CODE_BLOCK.search(text):
        return "no code block"
    rest = CODE_BLOCK.sub("", text).strip()
    return f"text around the code: {rest[:60]}" if rest else ""


def _last_line(text: str, _: int) -> str:
    last = text.splitlines()[-1] if text else ""
    found = len(words(last))
    return "" if 0 < found <= _LAST_LINE_WORDS else f"the last line is no bare answer: {last[:60]}"


def _running_text(text: str, _: int) -> str:
    found = [
        name
        for name, sign in (("bullet points", _BULLET), ("numbered points", _NUMBERED), ("headings", _HEADING))
        if sign.search(text)
    ]
    return f"has {' and '.join(found)}" if found else ""


_RULES: dict[str, Callable[[str, int], str]] = {
    "max_sentences": _max_sentences,
    "max_words": _max_words,
    "paragraphs": _paragraphs,
    "bullets": _bullets,
    "numbered": _numbered,
    "table": _table,
    "json": _json,
    "code_only": _code_only,
    "last_line": _last_line,
    "running_text": _running_text,
}
