"""Numbered SQL files that bring the database from nothing to what this version of the code expects.

The files use only what SQLite and PostgreSQL both understand. A file is never changed once released:
what comes later goes into the next number.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from serve.errors import Conflict

if TYPE_CHECKING:
    from sql_assistant.database import Connection

_FILE = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number and the statements in it."""

    version: int
    name: str
    statements: tuple[str, ...]


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations in order."""
    found = []
    for file in resources.files(__name__).iterdir():
        match = _FILE.fullmatch(file.name)
        if match:
            text = re.sub(r"--[^\n]*", "", file.read_text(encoding="utf-8"))
            statements = tuple(part.strip() for part in text.split(";") if part.strip())
            found.append(Migration(int(match[1]), file.name, statements))
    return tuple(sorted(found, key=lambda migration: migration.version))


def migrate(connection: Connection, known: tuple[Migration, ...] | None = None) -> int:
    """Apply what is missing, all of it in one transaction; the version reached.

    Safe when several processes start at once. Conflict when the database was written by a newer
    version of the code.
    """
    known = migrations() if known is None else known
    newest = known[-1].version
    with connection.transaction():
        connection.lock_migrations()
        connection.execute(
            "CREATE TABLE IF NOT EXISTS distilsql_version "
            "(version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_ms BIGINT NOT NULL)"
        )
        current = connection.execute("SELECT COALESCE(MAX(version), 0) FROM distilsql_version")[0][0]
        if current > newest:
            raise Conflict(
                f"the database ({connection.where}) is at version {current} and this distilsql knows "
                f"versions up to {newest}: upgrade distilsql, or point DISTILSQL_HOME or "
                "DISTILSQL_DATABASE_URL at another database",
                param="database_url",
            )
        for migration in known:
            if migration.version <= current:
                continue
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO distilsql_version (version, name, applied_ms) VALUES (?, ?, ?)",
                (migration.version, migration.name, int(time.time() * 1000)),
            )
    return newest
