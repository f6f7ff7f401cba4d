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
from sql_assistant import edits, parsing, repair_model, repair_search, statements, validation
from sql_assistant.ids import new_id
from sql_assistant.repair_search import Mended
from sql_assistant.schema import Schema
from sql_assistant.types import Issue, RepairRequest, RepairResponse, RepairSuggestion, Timings


@dataclass(slots=True)
class _Part:
    """One broken statement: where its code lies, what is wrong, what would mend it, best first."""

    start: int
    end: int
    issues: list[Issue]
    mended: Sequence[Mended]


async def repair(
    request: RepairRequest, schema: Schema | None, engine: Engine | None, *, settings: Settings
) -> RepairResponse:
    """Up to `request.n` mended texts, best first; none where nothing is wrong or nothing helps.

    Raises TooLarge (text or statement over the length limit, the prompt over the context),
    Unprocessable (unknown dialect, brackets nested too deep), QueueFull and Unavailable (the engine).
    Cancelling the coroutine cancels the generation.
    """
    began = time.perf_counter()
    timings = Timings()
    parts = await asyncio.to_thread(_by_rules, request, schema)
    timings.validate_ms = (time.perf_counter() - began) * 1e3
    if engine is not None:
        for part in parts:
            if not part.mended:
                part.mended = await repair_model.mend(
                    engine,
                    schema,
                    settings,
                    statement=request.sql[part.start : part.end],
                    issues=part.issues,
                    dialect=request.dialect,
                    error=request.error or "",
                    timings=timings,
                )
    suggestions = [_suggestion(request, schema, parts, chosen) for chosen in _choices(parts, request.n)]
    timings.total_ms = (time.perf_counter() - began) * 1e3
    return RepairResponse(id=new_id(), suggestions=suggestions, timings=timings)


def _by_rules(request: RepairRequest, schema: Schema | None) -> list[_Part]:
    sql, dialect = request.sql, request.dialect
    parsing.check_text(sql)
    parsing.check_depth(sql, dialect)
    if validation.is_valid(validation.validate(sql, schema, dialect)):
        return []
    parts = []
    for span in statements.split(sql, dialect):
        code = statements.code_span(sql, span, dialect)
        if code is None:
            continue
        start, end = code[0], code[0] + len(sql[code[0] : code[1]].rstrip().rstrip(";"))
        text = sql[start:end]
        issues = validation.validate_statement(text, schema, dialect)
        if validation.is_valid(issues):
            continue
        found = repair_search.search(text, schema, dialect, error=request.error or "", wanted=request.n)
        parts.append(_Part(start, end, issues, found))
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


def _suggestion(
    request: RepairRequest, schema: Schema | None, parts: list[_Part], chosen: tuple[Mended, ...]
) -> RepairSuggestion:
    sql = request.sql
    text = sql
    for part, mended in zip(reversed(parts), reversed(chosen), strict=True):
        text = text[: part.start] + mended.text + text[part.end :]
    issues = validation.validate(text, schema, request.dialect)
    explanation = "; ".join(dict.fromkeys(why for mended in chosen for why in mended.explanations))
    return RepairSuggestion(
        sql=text,
        edits=edits.diff(sql, text),
        valid=validation.is_valid(issues),
        issues=issues,
        source="model" if any(mended.source == "model" for mended in chosen) else "rule",
        explanation=explanation,
    )
