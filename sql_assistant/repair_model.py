"""Repair by the model, where no rule helps: asked for the statement, believed only when it is right.

The likeliest answer first, then a few others drawn together. An answer that is not valid, does
another kind of thing than what was asked about (SELECT, DELETE, ...) or has little in common with it
is dropped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from serve.engines.base import Engine, GenerateRequest, GenerationStats
from serve.prompt_format import ChatMessage, chat_prompt, chat_stop_ids
from serve.settings import Settings
from sql_assistant import dialects, prompt, statements, validation
from sql_assistant.repair_search import Mended
from sql_assistant.schema import Schema
from sql_assistant.types import Issue, Timings

MAX_TOKENS = 512
"""Longest answer."""
_ROOM_TOKENS = 48
"""What a corrected statement may be longer than the broken one."""
_MOST_TOLD = 3
_SAMPLES = 2
_TEMPERATURE = 0.7
_LEAST_ALIKE = 0.4
"""Share of the words that answer and statement have in common (Ratcliff and Obershelp), at least."""
_FENCED = re.compile(r"```(?:\w*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_WORD = re.compile(r"\w+|[^\w\s]")
_HEADS = frozenset("SELECT WITH INSERT UPDATE DELETE MERGE CREATE DROP ALTER REPLACE TRUNCATE VALUES".split())
_TASK = (
    "You correct SQL statements. Answer with the whole corrected statement in one ```sql block, "
    "and nothing else."
)


async def mend(
    engine: Engine,
    schema: Schema | None,
    settings: Settings,
    *,
    statement: str,
    issues: list[Issue],
    dialect: str,
    error: str,
    timings: Timings,
) -> list[Mended]:
    """Right statements near `statement`, the likeliest first; none where the model finds none.

    Adds to `timings`. Raises TooLarge (the prompt is over the context), QueueFull and Unavailable.
    """
    ids = await asyncio.to_thread(_prompt, engine, schema, settings, statement, issues, dialect, error)
    limit = min(MAX_TOKENS, len(engine.tokenize(statement)) + _ROOM_TOKENS)
    found = [await _answer(engine, ids, limit, 0, timings)]
    mended = _right(found, statement, schema, dialect)
    if not mended:
        drawn = [_answer(engine, ids, limit, seed, timings) for seed in range(1, 1 + _SAMPLES)]
        mended = _right(await asyncio.gather(*drawn), statement, schema, dialect)
    return mended


def _prompt(
    engine: Engine,
    schema: Schema | None,
    settings: Settings,
    statement: str,
    issues: list[Issue],
    dialect: str,
    error: str,
) -> list[int]:
    shown = prompt.schema_block(engine, schema, settings, statement) if schema is not None else ""
    told = [error.strip()] if error.strip() else [issue.message for issue in issues]
    return chat_prompt(engine, messages(shown, statement, told, dialect))


def messages(shown: str, statement: str, told: Sequence[str], dialect: str) -> list[ChatMessage]:
    """The question: `shown` is the schema's text, `told` what is wrong (the first few are said)."""
    label = dialects.get(dialect).label
    wrong = "\n".join(f"- {one}" for one in told[:_MOST_TOLD])
    return [
        ChatMessage("system", f"{_TASK} The dialect is {label}.\n\n{shown}".rstrip()),
        ChatMessage("user", f"What is wrong:\n{wrong}\n\n```sql\n{statement.strip()}\n```"),
    ]


async def _answer(engine: Engine, ids: list[int], limit: int, seed: int, timings: Timings) -> str:
    generation = await engine.generate(
        GenerateRequest(
            prompt=ids,
            max_tokens=limit,
            temperature=_TEMPERATURE if seed else 0.0,
            seed=seed or None,
            stop_ids=chat_stop_ids(engine),
        )
    )
    text = ""
    try:
        async for token in generation:
            text += token.text
            if text.count("```") > 1:
                break
    finally:
        generation.cancel()
    _add(timings, generation.stats)
    return text


def _add(timings: Timings, stats: GenerationStats) -> None:
    timings.queue_ms += stats.queue_ms
    timings.prefill_ms += stats.prefill_ms
    timings.decode_ms += stats.decode_ms


def _right(answers: list[str], statement: str, schema: Schema | None, dialect: str) -> list[Mended]:
    found: dict[str, Mended] = {}
    for answer in answers:
        text = _statement_in(answer, dialect)
        if text is None or text == statement.strip() or not _same_kind(statement, text):
            continue
        issues = validation.validate(text, schema, dialect)
        if validation.is_valid(issues) and text not in found:
            found[text] = Mended(text, float(len(found)), ("rewritten",), tuple(issues), "model")
    return list(found.values())


def _statement_in(answer: str, dialect: str) -> str | None:
    """The one statement of an answer, without what stands around it; None where there is not one."""
    fenced = _FENCED.search(answer)
    text = fenced[1] if fenced else answer
    spans = [statements.code_span(text, span, dialect) for span in statements.split(text, dialect)]
    found = [span for span in spans if span is not None]
    if len(found) != 1:
        return None
    start, end = found[0]
    return text[start:end].rstrip().rstrip(";").rstrip() or None


def _same_kind(statement: str, answer: str) -> bool:
    words, others = _WORD.findall(statement.upper()), _WORD.findall(answer.upper())
    if not words or not others:
        return False
    if words[0] in _HEADS and words[0] != others[0]:
        return False
    if words[0] not in _HEADS and others[0] not in ("SELECT", "WITH"):
        return False
    return SequenceMatcher(None, words, others, autojunk=False).ratio() >= _LEAST_ALIKE
