"""Registered schemas: added once, named by their content, looked up on every keystroke.

The same name, dialect and tables give the same id, so registering twice is harmless and an id never
means something else later. `get` answers from memory in microseconds.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from serve.errors import InvalidRequest, NotFound
from serve.settings import Settings
from sql_assistant.database import Database, DatabaseUnavailable, Row
from sql_assistant.schema import Column, ForeignKey, Schema, Table

_CACHED = 256
_TRUST_S = 60.0
"""So long a schema that another process has deleted may still be answered from memory."""
_COLUMNS = "id, name, dialect, tables, created_ms"


@dataclass(frozen=True, slots=True)
class StoredSchema:
    """A schema with its id ("sch_" and 16 hexadecimal digits)."""

    id: str
    name: str
    schema: Schema
    created_at: datetime


class SchemaStore:
    """Methods may be called from any thread; all but a cached `get` read the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._cache: OrderedDict[str, tuple[StoredSchema, float]] = OrderedDict()

    @classmethod
    def open(cls, settings: Settings) -> SchemaStore:
        """Raises as `Database.open` does."""
        return cls(Database.open(settings))

    def add(self, name: str, schema: Schema) -> StoredSchema:
        """Register `schema`; what is there already stays as it is, with its first date."""
        if not name.strip() or not name.isprintable() or len(name) > 200:
            raise InvalidRequest("a schema's name has 1 to 200 printable characters", param="name")
        tables = json.dumps([asdict(table) for table in schema.tables], sort_keys=True)
        digest = hashlib.sha256(json.dumps([name, schema.dialect, tables]).encode()).hexdigest()
        row = (f"sch_{digest[:16]}", name, schema.dialect, tables, int(time.time() * 1000))
        with self._database.connection() as connection, connection.transaction():
            connection.execute(
                f"INSERT INTO distilsql_schemas ({_COLUMNS}) VALUES (?, ?, ?, ?, ?) "  # noqa: S608
                "ON CONFLICT (id) DO NOTHING",
                row,
            )
        return self.get(row[0])

    def get(self, schema_id: str) -> StoredSchema:
        """The schema called `schema_id`; the same object every time. NotFound when there is none."""
        with self._lock:
            cached = self._cache.get(schema_id)
            if cached is not None:
                self._cache.move_to_end(schema_id)
                if time.monotonic() - cached[1] < _TRUST_S:
                    return cached[0]
        try:
            found = self._read(schema_id)
        except DatabaseUnavailable:
            if cached is not None:
                return cached[0]
            raise
        with self._lock:
            if found is None:
                self._cache.pop(schema_id, None)
                raise _unknown(schema_id)
            # Indexes of names are cached by the schema's identity, so an entry keeps its object.
            stored = cached[0] if cached is not None else self._cache.get(schema_id, (found, 0.0))[0]
            self._cache[schema_id] = (stored, time.monotonic())
            if len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return stored

    def list(self) -> list[StoredSchema]:
        """All schemas, newest first."""
        with self._database.connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM distilsql_schemas ORDER BY created_ms DESC, id"  # noqa: S608
            )
        with self._lock:
            cached = {key: entry[0] for key, entry in self._cache.items()}
        return [cached.get(row[0]) or _stored(row) for row in rows]

    def delete(self, schema_id: str) -> StoredSchema:
        """Forget a schema; what it was. NotFound when there is none."""
        stored = self._read(schema_id)
        with self._lock:
            self._cache.pop(schema_id, None)
        if stored is None:
            raise _unknown(schema_id)
        with self._database.connection() as connection, connection.transaction():
            connection.execute("DELETE FROM distilsql_schemas WHERE id = ?", (schema_id,))
        with self._lock:
            self._cache.pop(schema_id, None)
        return stored

    def _read(self, schema_id: str) -> StoredSchema | None:
        if not schema_id.isprintable():
            return None
        with self._database.connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM distilsql_schemas WHERE id = ?",  # noqa: S608
                (schema_id,),
            )
        return _stored(rows[0]) if rows else None


def _unknown(schema_id: str) -> NotFound:
    return NotFound(
        f"there is no schema {schema_id[:40]!r}; register it with POST /v1/sql/schemas", param="schema_id"
    )


def _stored(row: Row) -> StoredSchema:
    schema_id, name, dialect, tables, created_ms = row
    schema = Schema(tuple(_table(table) for table in json.loads(tables)), dialect)
    return StoredSchema(schema_id, name, schema, datetime.fromtimestamp(created_ms / 1000, UTC))


def _table(data: dict[str, Any]) -> Table:
    keys = (
        ForeignKey(tuple(k["columns"]), k["ref_table"], tuple(k["ref_columns"])) for k in data["foreign_keys"]
    )
    return Table(
        name=data["name"],
        columns=tuple(Column(**column) for column in data["columns"]),
        schema=data["schema"],
        primary_key=tuple(data["primary_key"]),
        foreign_keys=tuple(keys),
        comment=data["comment"],
        is_view=data["is_view"],
    )
