"""The difference between two texts as edits of whole words, and putting edits into a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from sql_assistant.types import Edit

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_MAX_TOKENS = 4_000
"""Comparing takes quadratic time: longer differences become one edit."""


def diff(before: str, after: str) -> list[Edit]:
    """The edits that make `after` of `before`: of whole words, in order, not overlapping, offsets
    into `before`."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    first, last = old[head : len(old) - tail], new[head : len(new) - tail]
    at = sum(map(len, old[:head]))
    if not first and not last:
        return []
    if max(len(first), len(last)) > _MAX_TOKENS:
        return [Edit(start=at, end=at + sum(map(len, first)), text="".join(last))]
    offsets = [at]
    for token in first:
        offsets.append(offsets[-1] + len(token))
    return [
        Edit(start=offsets[i1], end=offsets[i2], text="".join(last[j1:j2]))
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, first, last, autojunk=False).get_opcodes()
        if tag != "equal"
    ]


def apply(text: str, edits: Iterable[Edit]) -> str:
    """`text` with every edit made. ValueError where they overlap or lie outside of it."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if not at <= edit.start <= edit.end <= len(text):
            raise ValueError(f"edit [{edit.start}, {edit.end}) overlaps another or lies outside the text")
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])


def size(edits: Iterable[Edit]) -> int:
    """How much is changed: characters taken out and put in."""
    return sum(edit.end - edit.start + len(edit.text) for edit in edits)


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length
