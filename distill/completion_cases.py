"""Pass@1 of a GGUF on held-out completion cases: once through the product, once as the model writes alone.

"Alone" is the greedy text of the same fill-in-the-middle prompt, neither cut nor constrained: what distillation can
change. "Through the product" is what a user gets. Knows no training.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.asking import Advance
from distill.sqltrack.cases import HeldOutCase, passes
from serve import prompt_format
from serve.engines.base import Engine, GenerateRequest
from serve.engines.llamacpp import LlamaCppEngine
from serve.settings import Settings
from sql_assistant import completion, prompt
from sql_assistant.cursor import locate
from sql_assistant.ddl import parse_ddl
from sql_assistant.schema import Schema
from sql_assistant.types import CompleteRequest


@dataclass(frozen=True, slots=True)
class PassRates:
    """Percent of the cases."""

    product: float
    alone: float


def spread(cases: Sequence[HeldOutCase], count: int) -> list[HeldOutCase]:
    """`count` of the cases, evenly from the whole list."""
    if count >= len(cases):
        return list(cases)
    return [cases[at * len(cases) // count] for at in range(count)]


def pass_rates(
    gguf: Path,
    cases: Sequence[HeldOutCase],
    *,
    max_tokens: int,
    settings: Settings,
    scratch: Path,
    advance: Advance = lambda done, total: None,
) -> PassRates:
    """Complete each of `cases` (one at least) with the model in `gguf`; KV states are kept in `scratch` alone."""
    engine = LlamaCppEngine.load(
        gguf, name=gguf.stem, sha256="", family="qwen2.5-coder", snapshots_dir=scratch / "kv"
    )

    async def run() -> PassRates:
        product = alone = 0
        try:
            for number, case in enumerate(cases):
                schema = parse_ddl(case.ddl, case.dialect)
                product += passes(case, await _through_product(case, schema, engine, settings, max_tokens))
                alone += passes(case, await _alone(case, schema, engine, settings, max_tokens))
                advance(number + 1, len(cases))
        finally:
            await engine.close()
        return PassRates(100 * product / len(cases), 100 * alone / len(cases))

    return asyncio.run(run())


async def _through_product(
    case: HeldOutCase, schema: Schema, engine: Engine, settings: Settings, max_tokens: int
) -> str:
    request = CompleteRequest(
        prefix=case.prefix, suffix=case.suffix, dialect=case.dialect, max_tokens=max_tokens
    )
    answer = await completion.complete(request, schema, engine, settings=settings)
    return answer.suggestions[0].text if answer.suggestions else ""


async def _alone(
    case: HeldOutCase, schema: Schema, engine: Engine, settings: Settings, max_tokens: int
) -> str:
    cursor = locate(case.prefix, case.suffix, case.dialect)
    shown = prompt.completion_prompt(engine, schema, settings, cursor, cursor.before)
    generation = await engine.generate(
        GenerateRequest(
            prompt=shown.ids,
            max_tokens=max_tokens,
            stop_ids=prompt_format.fim_stop_ids(engine),
            shared_prefix=shown.shared,
        )
    )
    return "".join([token.text async for token in generation])
