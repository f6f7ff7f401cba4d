"""Tries what the rules guess, cheapest first, until the statement is right: a bounded best-first search.

Fixes combine, so two or three mistakes in one statement are mended too. A guess that does not bring
the first error further back in the text, or leaves as many wrong names, is not built upon. Knows no
rule; what is right is said by `validation` alone.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Literal

from sql_assistant import dialects, edits, validation
from sql_assistant.repair_rules import RULES, Broken, Fix
from sql_assistant.schema import Schema
from sql_assistant.types import Issue

MAX_TRIED = 150
"""Texts validated for one statement."""
MAX_CPU_S = 0.3
"""Processor time for one statement: the same on a busy machine and on an idle one."""
_MAX_FIXES = 4
_PLATEAU = 0.5
"""Added to the cost of building upon a guess that left the first error where it was."""
_PER_CHARACTER = 0.01
"""Of two equally likely fixes the smaller one is tried first."""


@dataclass(frozen=True, slots=True)
class Mended:
    """A text without errors that came of the broken one, and why."""

    text: str
    cost: float
    explanations: tuple[str, ...]
    issues: tuple[Issue, ...] = ()
    """Warnings that are left."""
    source: Literal["rule", "model"] = "rule"


@dataclass(frozen=True, slots=True)
class _Guess:
    text: str
    cost: float
    explanations: tuple[str, ...]
    progress: tuple[int, int]
    """Of the text that it was made from."""


def search(
    text: str,
    schema: Schema | None,
    dialect: str,
    *,
    error: str = "",
    wanted: int = 1,
    cpu_s: float = MAX_CPU_S,
) -> list[Mended]:
    """Up to `wanted` right texts near `text`, the likeliest first; none where it is right already.

    Raises as `validation.validate` does.
    """
    began = time.thread_time()
    known = dialects.get(dialect)
    order = count()
    first = _Guess(text, 0.0, (), (-1, 0))
    heap: list[tuple[float, int, _Guess]] = [(0.0, next(order), first)]
    seen = {text}
    found: list[Mended] = []
    tried = 0
    while heap and tried < MAX_TRIED and time.thread_time() - began < cpu_s:
        _, _, guess = heapq.heappop(heap)
        tried += 1
        issues = validation.validate(guess.text, schema, dialect)
        errors = [issue for issue in issues if issue.severity == "error"]
        if not errors:
            if guess is not first:
                found.append(Mended(guess.text, guess.cost, guess.explanations, tuple(issues)))
            if guess is first or len(found) >= wanted:
                break
            continue
        progress = _progress(guess.text, errors)
        if progress < guess.progress or len(guess.explanations) >= _MAX_FIXES:
            continue
        extra = _PLATEAU if progress == guess.progress else 0.0
        broken = Broken(guess.text, known, schema, errors[0], error)
        for fix in _guesses(broken):
            changed = fix.on(guess.text)
            if changed in seen:
                continue
            seen.add(changed)
            cost = guess.cost + fix.cost + extra
            size = edits.size(edits.diff(text, changed)) if guess is not first else edits.size(fix.edits)
            explanations = (*guess.explanations, fix.explanation)
            child = _Guess(changed, cost, explanations, progress)
            heapq.heappush(heap, (cost + _PER_CHARACTER * size, next(order), child))
    return found


def _guesses(broken: Broken) -> Iterable[Fix]:
    """What every rule says, cheapest first, so that of two ways to one text the cheaper is taken."""
    return sorted((fix for rule in RULES for fix in rule(broken)), key=lambda fix: fix.cost)


def _progress(text: str, errors: list[Issue]) -> tuple[int, int]:
    """How far a text has come, to be compared: brackets and quotes, then syntax by how little is
    left behind the first error, then names by how few are wrong."""
    first = errors[0]
    if first.kind != "syntax":
        return 2, -len(errors)
    if "never closed" in first.message or "closes nothing" in first.message:
        return 0, 0
    return 1, first.start - len(text)
