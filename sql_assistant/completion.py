"""Completion at the cursor: schema and statement to a prompt, the engine's tokens to suggestions.

Nothing is executed; every suggestion has been checked against the schema before it is returned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from serve.engines.base import Engine, FinishReason, GenerateRequest, GenerationStats
from serve.prompt_format import fim_stop_ids
from serve.settings import Settings
from sql_assistant import cursor as cursors
from sql_assistant import dialects, healing, parsing, prompt, validation
from sql_assistant.cursor import Cursor
from sql_assistant.guide import Guide, guide
from sql_assistant.ids import new_id
from sql_assistant.name_rules import NameRules
from sql_assistant.schema import Schema
from sql_assistant.stopping import Stopper
from sql_assistant.trim import Draft, Kept, Trimmer
from sql_assistant.types import CompleteRequest, CompleteResponse, Issue, Suggestion, Timings, Usage

_DIVERSITY = 0.7
"""Temperature of the second suggestion and those after it, where none is asked for."""
_SECOND_CHANCES = 2
"""Samples drawn, together, where the first suggestions make no valid statement."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked of the engine, the same for all suggestions of a request."""

    cursor: Cursor
    fragment: str
    ids: list[int]
    shared: int
    stop_ids: frozenset[int]
    constraint: Guide | None


@dataclass(slots=True)
class _Written:
    """One generation as far as it got; `text` has the healed fragment in front."""

    text: str = ""
    ends: list[tuple[int, float]] = field(default_factory=list)
    """Of each token: where it ends in `text`, and its log-probability."""
    limit: int | None = None
    finished: bool = False
    """At `limit` the model was done with the statement."""
    stats: GenerationStats = field(default_factory=GenerationStats)


async def complete(
    request: CompleteRequest, schema: Schema | None, engine: Engine, *, settings: Settings
) -> CompleteResponse:
    """Suggestions for the statement at the cursor, best first.

    Raises TooLarge (text or statement over the length limit, the prompt over the context),
    Unprocessable (unknown dialect, brackets nested too deep), QueueFull and Unavailable (the engine).
    Cancelling the coroutine cancels the generation.
    """
    async with aclosing(stream(request, schema, engine, settings=settings)) as parts:
        async for part in parts:
            if isinstance(part, CompleteResponse):
                return part
    raise RuntimeError("a completion ended without an answer")


async def stream(
    request: CompleteRequest, schema: Schema | None, engine: Engine, *, settings: Settings
) -> AsyncGenerator[str | CompleteResponse, None]:
    """The first suggestion's text piece by piece as far as it is certain, then the answer.

    The answer's text may differ from what was streamed: it is cut, or mended, to what is valid.
    """
    began = time.perf_counter()
    timings = Timings()
    plan = await asyncio.to_thread(_plan, request, schema, engine, settings)
    if isinstance(plan, str):
        yield _nothing(engine, plan, began)
        return
    others = [asyncio.create_task(_collect(plan, request, engine, n)) for n in range(1, request.n)]
    try:
        first = _Written()
        shown = ""
        async with aclosing(_generate(plan, request, engine, 0)) as parts:
            async for state, certain in parts:
                first = state
                if request.stream and len(certain) > len(shown) and certain.startswith(shown):
                    yield certain[len(shown) :]
                    shown = certain
        written = [first, *(await asyncio.gather(*others))]
    finally:
        for task in others:
            task.cancel()
    trimmer = Trimmer(plan.cursor, schema, request.dialect)
    checking = time.perf_counter()
    suggestions = await asyncio.to_thread(_suggestions, request, plan, trimmer, written)
    timings.validate_ms = (time.perf_counter() - checking) * 1e3
    if _deserves_another(first) and not any(one.valid for one in suggestions):
        retried = time.perf_counter()
        written += await _again(plan, request, engine)
        timings.decode_ms = (time.perf_counter() - retried) * 1e3
        checking = time.perf_counter()
        suggestions = await asyncio.to_thread(_suggestions, request, plan, trimmer, written)
        timings.validate_ms += (time.perf_counter() - checking) * 1e3
    timings.queue_ms = first.stats.queue_ms
    timings.prefill_ms = first.stats.prefill_ms
    timings.decode_ms += first.stats.decode_ms
    timings.total_ms = (time.perf_counter() - began) * 1e3
    yield CompleteResponse(
        id=new_id(),
        model=engine.info.name,
        suggestions=(kept := _returned(request, suggestions)),
        usage=Usage(
            prompt_tokens=first.stats.prompt_tokens,
            cached_tokens=first.stats.cached_tokens,
            completion_tokens=sum(one.stats.completion_tokens for one in written),
        ),
        timings=timings,
        nothing_because=None if kept else _why_nothing(suggestions, written),
    )


def _deserves_another(first: _Written) -> bool:
    """Whether other texts are worth the wait: not after one that was cut off by the token limit, as
    they would take as long and end as little."""
    cut_off = first.limit is None and first.stats.finish_reason is FinishReason.LENGTH
    return bool(first.text) and not cut_off


def _returned(request: CompleteRequest, suggestions: list[Suggestion]) -> list[Suggestion]:
    """What the caller gets to see: valid ones, at most as many as asked for."""
    return [one for one in suggestions if one.valid or request.include_invalid][: request.n]


async def _again(plan: _Plan, request: CompleteRequest, engine: Engine) -> list[_Written]:
    """Where the likeliest text makes no valid statement, one of a few others often does."""
    tasks = [
        asyncio.create_task(_collect(plan, request, engine, request.n + number))
        for number in range(_SECOND_CHANCES)
    ]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _plan(request: CompleteRequest, schema: Schema | None, engine: Engine, settings: Settings) -> _Plan | str:
    """What to ask the engine, or why nothing is."""
    dialects.get(request.dialect)
    parsing.check_text(request.prefix + request.suffix, param="prefix")
    cursor = cursors.locate(request.prefix, request.suffix, request.dialect)
    if cursor.nothing is not None:
        return cursor.nothing
    parsing.check_length(cursor.before + cursor.after)
    parsing.check_depth(cursor.before + cursor.after, request.dialect, param="prefix")
    if "\0" in cursor.before or "\0" in cursor.after:
        return "the statement holds a NUL character"
    if cursor.mid_word and _is_whole(cursor, schema, request.dialect):
        return "inside a word"
    kept, fragment = healing.split(cursor.before)
    made = prompt.completion_prompt(engine, schema, settings, cursor, kept)
    names = NameRules(schema, cursor, request.dialect) if schema is not None else None
    constraint = guide(engine, fragment, names)
    return _Plan(cursor, fragment, made.ids, made.shared, fim_stop_ids(engine), constraint)


def _is_whole(cursor: Cursor, schema: Schema | None, dialect: str) -> bool:
    """Whether the statement is right as it stands, without anything at the cursor."""
    whole = cursor.before + cursor.after
    return validation.is_valid(validation.validate_statement(whole, schema, dialect))


async def _generate(
    plan: _Plan, request: CompleteRequest, engine: Engine, number: int
) -> AsyncGenerator[tuple[_Written, str], None]:
    """Run one generation; yields it as it grows, with the part of its text that is certain."""
    stopper = Stopper(plan.cursor, request.dialect)
    state = _Written()
    temperature = request.temperature or (_DIVERSITY if number else 0.0)
    generation = await engine.generate(
        GenerateRequest(
            prompt=plan.ids,
            max_tokens=request.max_tokens + _spelling_steps(plan.fragment),
            temperature=temperature,
            seed=number if temperature and request.temperature == 0 else None,
            stop_ids=plan.stop_ids,
            constraint=plan.constraint,
            shared_prefix=plan.shared,
        )
    )
    state.stats = generation.stats
    try:
        async for token in generation:
            state.text += token.text
            state.ends.append((len(state.text), token.logprob))
            if not state.text.startswith(plan.fragment):
                continue
            new = state.text[len(plan.fragment) :]
            reason = stopper.check(new)
            state.limit, state.finished = stopper.limit, stopper.finished
            yield state, stopper.certain(new)
            if reason is not None:
                break
    finally:
        generation.cancel()
    yield state, ""


def _spelling_steps(fragment: str) -> int:
    """Steps that spelling the fragment may take; they are not part of what the user asked for."""
    return min(len(fragment), 4)


async def _collect(plan: _Plan, request: CompleteRequest, engine: Engine, number: int) -> _Written:
    last = _Written()
    async with aclosing(_generate(plan, request, engine, number)) as parts:
        async for state, _ in parts:
            last = state
    return last


def _suggestions(
    request: CompleteRequest, plan: _Plan, trimmer: Trimmer, written: list[_Written]
) -> list[Suggestion]:
    """One suggestion per distinct text, valid ones first, then the likelier."""
    found: dict[str, Suggestion] = {}
    offset = len(request.prefix) - len(plan.cursor.before)
    for state in written:
        text = state.text[len(plan.fragment) :] if state.text.startswith(plan.fragment) else ""
        limit = len(text) if state.limit is None else state.limit
        more = "" if state.finished else text[limit:]
        reason = state.stats.finish_reason if state.limit is None else None
        ended = state.finished or reason is FinishReason.STOP
        draft = Draft(text[:limit], ended, reason is FinishReason.LENGTH, more)
        kept = trimmer.trim(draft)
        if kept is not None and kept.text not in found:
            found[kept.text] = _suggestion(kept, state, plan.fragment, offset)
    return sorted(found.values(), key=lambda one: (not one.valid, -one.logprob))


def _suggestion(kept: Kept, state: _Written, fragment: str, offset: int) -> Suggestion:
    used = len(fragment) + kept.used
    start = 0
    logprobs = []
    for end, logprob in state.ends:
        if start < used and end > len(fragment):
            logprobs.append(logprob)
        start = end
    issues = [_moved(issue, offset) for issue in kept.issues]
    mean = sum(logprobs) / len(logprobs) if logprobs else 0.0
    return Suggestion(text=kept.text, valid=kept.valid, issues=issues, logprob=mean)


def _moved(issue: Issue, by: int) -> Issue:
    return issue.model_copy(update={"start": issue.start + by, "end": issue.end + by})


def _why_nothing(suggestions: list[Suggestion], written: list[_Written]) -> str:
    if suggestions:
        return "no valid suggestion"
    return "no suggestion" if any(one.text.strip() for one in written) else "the model had nothing to add"


def _nothing(engine: Engine, why: str, began: float) -> CompleteResponse:
    elapsed = (time.perf_counter() - began) * 1e3
    return CompleteResponse(
        id=new_id(),
        model=engine.info.name,
        suggestions=[],
        usage=Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0),
        timings=Timings(total_ms=elapsed),
        nothing_because=why,
    )
