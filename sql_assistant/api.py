"""The routes under /v1/sql for statements: complete, repair, validate; and for what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from serve.app import add_lifespan
from serve.errors import DistilsqlError
from serve.openapi import api_errors, or_stream
from serve.registry import ModelRegistry
from serve.responses import EventStream, sse
from serve.settings import Settings
from sql_assistant import completion, parsing, repair, validation
from sql_assistant.recording import recorded
from sql_assistant.schema import Schema
from sql_assistant.schemas_api import UPLOAD_PATH
from sql_assistant.schemas_api import router as schemas_router
from sql_assistant.services import SqlServices, services_of
from sql_assistant.stats import StatsRow
from sql_assistant.types import (
    CompleteRequest,
    CompleteResponse,
    EventRequest,
    Issue,
    RepairRequest,
    RepairResponse,
    ValidateRequest,
    ValidateResponse,
)

router = APIRouter(prefix="/v1/sql", tags=["SQL"])

# A "+" that was not escaped in a URL arrives as a blank.
_ISO_8601 = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[-+ ]\d\d:\d\d)?)?$"
_Moment = Annotated[
    str | None,
    Query(
        pattern=_ISO_8601,
        description="ISO 8601; UTC where no offset is given.",
        examples=["2026-11-03T10:00:00Z"],
    ),
]


class Recorded(BaseModel):
    """An event has been taken down."""

    status: Literal["recorded"] = "recorded"


class Stats(BaseModel):
    """One row a group."""

    rows: list[StatsRow]


def attach(app: FastAPI, settings: Settings, registry: ModelRegistry) -> None:
    """Add the /v1/sql routes to an application of `serve.app.create_app`, and what they need while it
    runs: `app.state.sql` is the `SqlServices`, from start to end."""

    @asynccontextmanager
    async def services(app: FastAPI) -> AsyncIterator[None]:
        state = app.state
        state.sql = await asyncio.to_thread(SqlServices, settings, registry, state.lifecycle, state.metrics)
        try:
            state.sql.warm_all()
            yield
        finally:
            await state.sql.close()

    app.include_router(router)
    app.include_router(schemas_router)
    app.state.upload_limits[UPLOAD_PATH] = settings.max_upload_bytes
    add_lifespan(app, services)


@router.post("/complete", response_model=CompleteResponse, responses=or_stream(api_errors(429)))
async def complete(request: Request, body: CompleteRequest) -> CompleteResponse | Response:
    """Complete the statement at the cursor."""
    services = services_of(request)
    if body.stream:
        return EventStream(_stream(request, services, body))
    async with recorded(request, services, "complete", body) as record:
        schema = await services.schema_for(body)
        async with services.engine(body.model) as engine:
            record.model = engine.info.name
            answer = await completion.complete(body, schema, engine, settings=services.settings)
        record.completed(answer)
        return answer


async def _stream(
    request: Request, services: SqlServices, body: CompleteRequest
) -> AsyncGenerator[bytes, None]:
    async with recorded(request, services, "complete", body) as record:
        schema = await services.schema_for(body)
        async with services.engine(body.model) as engine:
            record.model = engine.info.name
            parts = completion.stream(body, schema, engine, settings=services.settings)
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, CompleteResponse):
                        # Recorded before it is sent: the client may report on it at once.
                        record.completed(part)
                        yield sse(part.model_dump_json(), "completion")
                    else:
                        yield sse(_Text(text=part).model_dump_json(), "text")


class _Text(BaseModel):
    text: str


@router.post("/repair", responses=api_errors(429))
async def repair_statement(request: Request, body: RepairRequest) -> RepairResponse:
    """Mend a broken statement."""
    services = services_of(request)
    async with recorded(request, services, "repair", body) as record, AsyncExitStack() as stack:
        schema = await services.schema_for(body)
        try:
            engine = await stack.enter_async_context(services.engine(None))
        except DistilsqlError:
            engine = None  # The rules mend a good deal without a model.
        record.model = engine.info.name if engine else ""
        answer = await repair.repair(body, schema, engine, settings=services.settings)
        record.repaired(answer)
        return answer


@router.post("/validate", responses=api_errors())
async def validate(request: Request, body: ValidateRequest) -> ValidateResponse:
    """Check every statement of a text; nothing is executed."""
    services = services_of(request)
    async with recorded(request, services, "validate", body) as record:
        schema = await services.schema_for(body)
        issues = await asyncio.to_thread(_issues, body, schema)
        answer = ValidateResponse(valid=validation.is_valid(issues), issues=issues)
        record.validated(valid=answer.valid)
        return answer


def _issues(body: ValidateRequest, schema: Schema | None) -> list[Issue]:
    parsing.check_text(body.sql)
    parsing.check_depth(body.sql, body.dialect)
    return validation.validate(body.sql, schema, body.dialect)


@router.post("/events", status_code=202, responses=api_errors())
async def events(request: Request, body: EventRequest) -> Recorded:
    """Say what became of a suggestion in the editor."""
    await services_of(request).record_action(body)
    return Recorded()


@router.get("/stats", responses=api_errors())
async def stats(
    request: Request,
    since: _Moment = None,
    until: _Moment = None,
    group_by: Annotated[Literal["model", "schema", "task", "day"], Query()] = "model",
) -> Stats:
    """Acceptance, validity and latency from the event log, from `since` on and before `until`."""
    log = services_of(request).events
    return Stats(rows=await asyncio.to_thread(log.stats, since, until, group_by))
