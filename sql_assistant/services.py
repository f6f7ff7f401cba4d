"""What the SQL routes share while the application runs: schemas, their warm-up, events, engines."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter

from serve.engines.base import Engine
from serve.errors import DistilsqlError, InvalidRequest
from serve.lifecycle import Lifecycle
from serve.metrics import Metrics
from serve.registry import ModelRegistry
from serve.settings import Settings
from sql_assistant import ddl as ddl_module
from sql_assistant import dialects, prompt
from sql_assistant.events import EventLog, RequestRecord
from sql_assistant.schema import Schema
from sql_assistant.schema_store import SchemaStore, StoredSchema
from sql_assistant.types import EventRequest, WithSchema

log = logging.getLogger(__name__)

_RECENT = 10_000
"""Suggestions whose model and task are remembered for the metrics of what becomes of them."""


class SqlMetrics:
    """What Prometheus is told of suggestions, besides what `serve.metrics` counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._suggestions = Counter(
            "distilsql_suggestions",
            "Suggestions returned, by whether they make a valid statement.",
            ("model", "task", "valid"),
            registry=registry,
        )
        self._empty = Counter(
            "distilsql_empty_answers",
            "Requests answered without a suggestion.",
            ("model", "task"),
            registry=registry,
        )
        self._actions = Counter(
            "distilsql_suggestion_actions",
            "What became of suggestions in the editor: shown, accepted, rejected, ...",
            ("model", "task", "action"),
            registry=registry,
        )

    def answered(self, model: str, task: str, valid: list[bool]) -> None:
        """Count one answer; `valid` has one item a suggestion."""
        for one in valid:
            self._suggestions.labels(model, task, str(one).lower()).inc()
        if not valid:
            self._empty.labels(model, task).inc()

    def action(self, model: str, task: str, action: str) -> None:
        """Count one action."""
        self._actions.labels(model, task, action).inc()


@dataclass(slots=True)
class Warmth:
    """Where the prompt prefix of a schema stands with the default model."""

    tokens: int | None = None
    """Its length; None until the model is loaded."""
    warm: bool = False
    """It is in the cache, or was saved from it."""


class SqlServices:
    """Opened with the application and closed after its last request."""

    def __init__(
        self, settings: Settings, registry: ModelRegistry, lifecycle: Lifecycle, metrics: Metrics
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.metrics = SqlMetrics(metrics.registry)
        self.events = EventLog.open(settings)
        self.schemas = SchemaStore.open(settings)
        self._lifecycle = lifecycle
        self._engine_metrics = metrics
        self._recent: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._warmth: dict[str, Warmth] = {}

    async def close(self) -> None:
        """Write what is still queued in the event log."""
        await asyncio.to_thread(self.events.close)

    def record(self, row: RequestRecord, valid: list[bool]) -> None:
        """Queue a request's row; `valid` has one item a suggestion."""
        self.events.record_request(row)
        if row.task == "validate" or row.status != 200:
            return
        self.metrics.answered(row.model, row.task, valid)
        self._recent[row.id] = (row.model, row.task)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def record_action(self, event: EventRequest) -> None:
        """Queue what became of a suggestion. Raises NotFound for an id that no request has."""
        await asyncio.to_thread(self.events.record_action, event)
        model, task = self._recent.get(event.completion_id, ("", ""))
        self.metrics.action(model, task, event.action)

    @asynccontextmanager
    async def engine(self, name: str | None = None) -> AsyncIterator[Engine]:
        """The model asked for, measured and kept in memory for the length of the block."""
        async with self.registry.lease(name) as engine:
            yield self._engine_metrics.observe(engine)

    async def schema_for(self, request: WithSchema) -> Schema | None:
        """The schema a request names or brings; None where it does neither.

        Raises InvalidRequest (both), NotFound (unknown id), Unprocessable (dialect, DDL).
        """
        dialects.get(request.dialect)
        if request.schema_id is not None and request.ddl is not None:
            raise InvalidRequest("give schema_id or ddl, not both", param="ddl")
        if request.schema_id is not None:
            return (await asyncio.to_thread(self.schemas.get, request.schema_id)).schema
        if request.ddl is not None:
            return await asyncio.to_thread(ddl_module.parse_ddl, request.ddl, request.dialect)
        return None

    def warmth(self, schema_id: str) -> Warmth:
        """Where that schema stands; cold when nothing is known."""
        return self._warmth.get(schema_id, Warmth())

    async def added(self, stored: StoredSchema) -> None:
        """A schema has been registered: count its tokens, and warm it in the background."""
        try:
            await self._count(stored)
        except DistilsqlError as error:
            # The schema is of use to validation without a model; it is warmed at the next start.
            log.warning("a schema was not counted", extra={"error": error.type})
            return
        self._lifecycle.spawn(self._warm(stored), name="warm a schema")

    async def removed(self, stored: StoredSchema) -> None:
        """A schema has been deleted: forget what the cache saved of it."""
        self._warmth.pop(stored.id, None)
        for engine in self.registry.loaded().values():
            prefix = await asyncio.to_thread(prompt.schema_prefix, engine, stored.schema, self.settings)
            engine.forget(prefix)

    def warm_all(self) -> None:
        """Warm every registered schema in the background, one after the other."""
        self._lifecycle.spawn(self._warm_all(), name="warm all schemas")

    async def _warm_all(self) -> None:
        for stored in await asyncio.to_thread(self.schemas.list):
            await self._warm(stored)

    async def _count(self, stored: StoredSchema) -> list[int]:
        engine = await self.registry.get(None)
        prefix = await asyncio.to_thread(prompt.schema_prefix, engine, stored.schema, self.settings)
        self._warmth.setdefault(stored.id, Warmth()).tokens = len(prefix)
        return prefix

    async def _warm(self, stored: StoredSchema) -> None:
        try:
            prefix = await self._count(stored)
            async with self.registry.lease(None) as engine:
                computed = await engine.warm(prefix)
        except DistilsqlError as error:
            log.warning("a schema was not warmed", extra={"schema_id": stored.id, "error": error.type})
            return
        warmth = self._warmth.get(stored.id)
        if warmth is None:  # Deleted meanwhile: what was just saved must go as well.
            await self.removed(stored)
            return
        warmth.warm = True
        log.info("schema warmed", extra={"schema_id": stored.id, "computed_tokens": computed})


def services_of(request: Request) -> SqlServices:
    """The services of the application that a request came to."""
    services: SqlServices = request.app.state.sql
    return services
