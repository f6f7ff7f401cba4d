"""What the model is shown: the schema first, then the statement around the cursor.

The schema comes first because it is the same for every keystroke, so its KV state is computed once
and shared. Knows the order of things; the markers are known by `serve.prompt_format` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from serve.engines.base import Engine
from serve.prompt_format import fim_prompt
from serve.settings import Settings
from sql_assistant import dialects, schema_text
from sql_assistant.caches import IdentityCache
from sql_assistant.cursor import Cursor
from sql_assistant.schema import Schema

_CACHED_SCHEMAS = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids of a fill-in-the-middle prompt, and how many of the first are the schema's."""

    ids: list[int]
    shared: int


class _SchemaTokens:
    """What is derived from one schema for one model: token counts of its tables, ids of its base."""

    def __init__(self, engine: Engine, budget: int, schema: Schema) -> None:
        self._counts: dict[str, int] = {}
        self._budget = budget
        self._schema = schema
        self._text = self._select(engine, "", "").base
        self.base = engine.tokenize(header(schema.dialect) + self._text)

    def extra(self, engine: Engine, before: str, after: str) -> list[int]:
        """The tables that this statement needs and the base lacks."""
        text = self._select(engine, before, after).extra
        return engine.tokenize(text) if text else []

    def _select(self, engine: Engine, before: str, after: str) -> schema_text.SchemaText:
        return schema_text.select(self._schema, self._budget, partial(self._count, engine), before, after)

    def _count(self, engine: Engine, text: str) -> int:
        known = self._counts.get(text)
        if known is None:
            known = self._counts[text] = len(engine.tokenize(text))
        return known


_schemas: IdentityCache[Schema, _SchemaTokens] = IdentityCache(_CACHED_SCHEMAS)


def header(dialect: str) -> str:
    """The line that names the dialect."""
    return f"-- {dialects.get(dialect).label}\n"


def schema_prefix(engine: Engine, schema: Schema | None, settings: Settings) -> list[int]:
    """The tokens that every completion on `schema` begins with."""
    base = _of(engine, schema, settings).base if schema is not None else []
    return fim_prompt(engine, base, [])[: 1 + len(base)]


def completion_prompt(
    engine: Engine, schema: Schema | None, settings: Settings, cursor: Cursor, kept: str
) -> Prompt:
    """The prompt for `cursor`, whose text before it is reduced to `kept` by token healing."""
    shown: list[int] = []
    extra: list[int] = []
    if schema is not None:
        tokens = _of(engine, schema, settings)
        shown, extra = tokens.base, tokens.extra(engine, cursor.before, cursor.after)
    before = [*shown, *extra, *engine.tokenize(kept)]
    return Prompt(fim_prompt(engine, before, engine.tokenize(cursor.after)), 1 + len(shown))


def schema_block(engine: Engine, schema: Schema, settings: Settings, statement: str) -> str:
    """The schema's text for other kinds of prompt, tables that `statement` needs included."""
    budget = settings.schema_token_budget
    chosen = schema_text.select(schema, budget, lambda text: len(engine.tokenize(text)), statement)
    return header(schema.dialect) + chosen.text


def _of(engine: Engine, schema: Schema, settings: Settings) -> _SchemaTokens:
    info, budget = engine.info, settings.schema_token_budget
    return _schemas.get(
        schema, lambda one: _SchemaTokens(engine, budget, one), (info.name, info.sha256, budget)
    )
