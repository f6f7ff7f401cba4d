"""The routes under /v1/sql/schemas: register a schema from DDL, a URL or a database file; list; delete."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from serve.errors import InvalidRequest, Unprocessable
from serve.openapi import api_errors
from sql_assistant import ddl, dialects, introspect
from sql_assistant.schema import Schema
from sql_assistant.schema_store import StoredSchema
from sql_assistant.services import SqlServices, services_of
from sql_assistant.types import SchemaRequest

router = APIRouter(prefix="/v1/sql/schemas", tags=["schemas"])


class _SchemaId(Convertor[str]):
    """A path segment that is an id: `upload` is a route of its own, also for the methods it has not."""

    regex = "(?!upload$)[^/]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("schema_id", _SchemaId())
UPLOAD_PATH = "/v1/sql/schemas/upload"
_HEAD_BYTES = 16
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "description": "The bytes of a SQLite or DuckDB database file. Only its schema is kept.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class SchemaSummary(BaseModel):
    """A registered schema."""

    schema_id: str
    name: str
    dialect: str
    tables: int
    tokens: int | None
    """Length of its prompt prefix; None until a model has been loaded to count it."""
    warm: bool
    """A completion on it starts from the cache."""
    created_at: datetime


class SchemaList(BaseModel):
    """Every registered schema, the newest first."""

    schemas: list[SchemaSummary]


class SchemaDetail(SchemaSummary):
    """A registered schema with its tables, and the DDL that describes them."""

    ddl: str
    definition: Annotated[Schema, Field(serialization_alias="schema")]


@router.post("", status_code=201, responses=api_errors(409))
async def register(request: Request, body: SchemaRequest) -> SchemaSummary:
    """Register a schema from DDL, or from a database whose URL the settings allow."""
    services = services_of(request)
    dialects.get(body.dialect)
    if body.ddl is not None and body.url is None:
        schema = await asyncio.to_thread(ddl.parse_ddl, body.ddl, body.dialect)
    elif body.url is not None and body.ddl is None:
        allowed = services.settings.schema_database_urls
        schema = await asyncio.to_thread(introspect.from_url, body.url, allowed)
    else:
        raise InvalidRequest("give ddl or url: one of them", param="ddl")
    return await _add(services, body.name, schema)


@router.post("/upload", status_code=201, responses=api_errors(409), openapi_extra=_UPLOAD_BODY)
async def upload(
    request: Request, name: Annotated[str, Query(min_length=1, max_length=200)]
) -> SchemaSummary:
    """Register the schema of a SQLite or DuckDB file, sent as the body."""
    services = services_of(request)
    # A private folder: the file holds somebody's rows, and is gone when this block ends.
    with tempfile.TemporaryDirectory(prefix="distilsql-upload-") as folder:
        path = Path(folder) / "database"
        read = _reader_for(await _receive(request, path))
        schema = await asyncio.to_thread(read, path)
    return await _add(services, name, schema)


@router.get("", responses=api_errors())
async def list_schemas(request: Request) -> SchemaList:
    """Every registered schema."""
    services = services_of(request)
    stored = await asyncio.to_thread(services.schemas.list)
    return SchemaList(schemas=[SchemaSummary(**_summary(services, one)) for one in stored])


@router.get("/{schema_id:schema_id}", responses=api_errors())
async def get_schema(request: Request, schema_id: str) -> SchemaDetail:
    """One of them, with its tables."""
    services = services_of(request)
    stored = await asyncio.to_thread(services.schemas.get, schema_id)
    text = await asyncio.to_thread(ddl.render_ddl, stored.schema)
    return SchemaDetail(**_summary(services, stored), ddl=text, definition=stored.schema)


@router.delete("/{schema_id:schema_id}", status_code=204, response_class=Response, responses=api_errors())
async def delete_schema(request: Request, schema_id: str) -> None:
    """Forget a schema, and what the cache saved of it."""
    services = services_of(request)
    await services.removed(await asyncio.to_thread(services.schemas.delete, schema_id))


async def _add(services: SqlServices, name: str, schema: Schema) -> SchemaSummary:
    stored = await asyncio.to_thread(services.schemas.add, name, schema)
    await services.added(stored)
    return SchemaSummary(**_summary(services, stored))


def _summary(services: SqlServices, stored: StoredSchema) -> dict[str, Any]:
    warmth = services.warmth(stored.id)
    return {
        "schema_id": stored.id,
        "name": stored.name,
        "dialect": stored.schema.dialect,
        "tables": len(stored.schema.tables),
        "tokens": warmth.tokens,
        "warm": warmth.warm,
        "created_at": stored.created_at,
    }


async def _receive(request: Request, path: Path) -> bytes:
    """Write the body to `path`; returns its first bytes."""
    head = b""
    with path.open("wb") as file:
        async for chunk in request.stream():
            if len(head) < _HEAD_BYTES:
                head = (head + chunk)[:_HEAD_BYTES]
            await asyncio.to_thread(file.write, chunk)
    return head


def _reader_for(head: bytes) -> Callable[[Path], Schema]:
    """Told by the file itself, whatever its name says."""
    if head.startswith(b"SQLite format 3\0"):
        return introspect.from_sqlite_file
    if head[8:12] == b"DUCK":
        return introspect.from_duckdb_file
    raise Unprocessable("this is neither a SQLite nor a DuckDB database file")
