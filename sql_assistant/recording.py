"""Every SQL request becomes one row of the event log, whatever came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request

from serve.errors import DistilsqlError
from sql_assistant.events import RequestRecord
from sql_assistant.ids import new_id
from sql_assistant.services import SqlServices
from sql_assistant.types import (
    CompleteRequest,
    CompleteResponse,
    RepairRequest,
    RepairResponse,
    Timings,
    Usage,
    ValidateRequest,
    WithSchema,
)

_CLIENT_CLOSED = 499
_NO_USAGE = Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0)


@dataclass(slots=True)
class Outcome:
    """What is known of a request so far."""

    id: str = field(default_factory=new_id)
    model: str = ""
    timings: Timings = field(default_factory=Timings)
    usage: Usage | None = None
    valid: list[bool] = field(default_factory=list)
    """Whether each suggestion makes a valid statement, the best first."""
    suggestion: str | None = None
    nothing_because: str | None = None

    def completed(self, answer: CompleteResponse) -> None:
        """A completion has been answered."""
        self.id, self.model, self.timings, self.usage = answer.id, answer.model, answer.timings, answer.usage
        self.nothing_because = answer.nothing_because
        self.valid = [suggestion.valid for suggestion in answer.suggestions]
        self.suggestion = answer.suggestions[0].text if answer.suggestions else None

    def repaired(self, answer: RepairResponse) -> None:
        """A repair has been answered."""
        self.id, self.timings = answer.id, answer.timings
        self.valid = [suggestion.valid for suggestion in answer.suggestions]
        self.suggestion = answer.suggestions[0].sql if answer.suggestions else None

    def validated(self, *, valid: bool) -> None:
        """A text has been checked."""
        self.valid = [valid]


@asynccontextmanager
async def recorded(
    request: Request, services: SqlServices, task: str, body: WithSchema
) -> AsyncIterator[Outcome]:
    """Record the block as one request: what it was answered, or the status that it failed with."""
    outcome = Outcome()
    started = time.perf_counter()
    status = 200
    try:
        yield outcome
    except DistilsqlError as error:
        status = error.status
        raise
    except (asyncio.CancelledError, GeneratorExit):
        status = _CLIENT_CLOSED if request.scope["state"].get("outcome") == "client_closed" else 503
        raise
    except BaseException:
        status = 500
        raise
    finally:
        if not outcome.timings.total_ms:
            outcome.timings = Timings(total_ms=(time.perf_counter() - started) * 1000)
        services.record(_row(task, status, body, outcome), outcome.valid)


def _row(task: str, status: int, body: WithSchema, outcome: Outcome) -> RequestRecord:
    usage, timings = outcome.usage or _NO_USAGE, outcome.timings
    prefix, suffix = _typed(body)
    return RequestRecord(
        id=outcome.id,
        task=task,
        status=status,
        model=outcome.model,
        schema_id=body.schema_id,
        dialect=body.dialect,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        queue_ms=timings.queue_ms,
        prefill_ms=timings.prefill_ms,
        decode_ms=timings.decode_ms,
        validate_ms=timings.validate_ms,
        total_ms=timings.total_ms,
        suggestions=len(outcome.valid) if task != "validate" else 0,
        valid=outcome.valid[0] if outcome.valid else None,
        nothing_because=outcome.nothing_because,
        prefix=prefix,
        suffix=suffix,
        suggestion=outcome.suggestion,
    )


def _typed(body: WithSchema) -> tuple[str | None, str | None]:
    """What the user typed; the event log keeps it, its hash, or neither, by its settings."""
    if isinstance(body, CompleteRequest):
        return body.prefix, body.suffix
    if isinstance(body, RepairRequest | ValidateRequest):
        return body.sql, None
    return None, None
