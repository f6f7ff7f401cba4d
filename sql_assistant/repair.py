"""Repair of SQL: rules for what the parser's error pins down, else the model; every answer validated.

A text may hold several statements; only the broken ones are touched. Nothing is ever executed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from serve.engines.base import Engine
from serve.settings import Settings
from sql_assistant import dialects, edits, repair_search, statements, validation
from sql_assistant.ids import new_id
from sql_assistant.repair_search import Mended
from sql_assistant.schema import Schema
from sql_assistant.types import RepairRequest, RepairResponse, RepairSuggestion, Timings


@dataclass(frozen=True, slots=True)
class _Part:
    """One broken statement: where it lies and what would mend it, best first."""

    start: int
    end: int
    mended: Sequence[Mended]


async def repair(
    request: RepairRequest, schema: Schema | None, engine: Engine | None, *, settings: Settings
) -> RepairResponse:
    """Up to `request.n` mended texts, best first; none where nothing is wrong or nothing helps.

    Raises TooLarge (a statement over the length limit, the prompt over the context), Unprocessable
    (unknown dialect), QueueFull and Unavailable (the engine). Cancelling the coroutine cancels the
    generation.
    """
    began = time.perf_counter()
    timings = Timings()
    parts = await asyncio.to_thread(_by_rules, request, schema)
    suggestions = [_suggestion(request.sql, parts, chosen) for chosen in _choices(parts, request.n)]
    timings.validate_ms = timings.total_ms = (time.perf_counter() - began) * 1e3
    return RepairResponse(id=new_id(), suggestions=suggestions, timings=timings)


def _by_rules(request: RepairRequest, schema: Schema | None) -> list[_Part]:
    dialects.get(request.dialect)
    sql = request.sql
    if validation.is_valid(validation.validate(sql, schema, request.dialect)):
        return []
    parts = []
    for start, end in statements.split(sql, request.dialect):
        text = sql[start:end]
        if statements.code_span(sql, (start, end), request.dialect) is None:
            continue
        if validation.is_valid(validation.validate_statement(text, schema, request.dialect)):
            continue
        found = repair_search.search(
            text, schema, request.dialect, error=request.error or "", wanted=request.n
        )
        parts.append(_Part(start, end, found))
    return parts


def _choices(parts: list[_Part], wanted: int) -> Iterator[tuple[Mended, ...]]:
    """The best of every part first, then one part's next best at a time."""
    if not parts or not all(part.mended for part in parts):
        return iter(())
    best = tuple(part.mended[0] for part in parts)
    others = (
        (*best[:at], other, *best[at + 1 :]) for at, part in enumerate(parts) for other in part.mended[1:]
    )
    return islice((choice for group in ((best,), others) for choice in group), wanted)


def _suggestion(sql: str, parts: list[_Part], chosen: tuple[Mended, ...]) -> RepairSuggestion:
    text = sql
    for part, mended in zip(reversed(parts), reversed(chosen), strict=True):
        text = text[: part.start] + mended.text + text[part.end :]
    explanation = "; ".join(dict.fromkeys(why for mended in chosen for why in mended.explanations))
    return RepairSuggestion(
        sql=text,
        edits=edits.diff(sql, text),
        valid=True,
        issues=[],
        source="rule",
        explanation=explanation,
    )
