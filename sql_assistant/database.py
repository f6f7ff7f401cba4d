"""The database of events and schemas: one SQLite file in WAL mode, or PostgreSQL by URL.

A thin layer so that the modules above write each statement once: `?` placeholders, rows as tuples,
and one error for "try again later". Knows nothing of what is stored.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from serve.errors import DistilsqlError, Unavailable
from serve.settings import Settings
from sql_assistant.migrations import migrate

Row = tuple[Any, ...]
Parameters = Sequence[object]

_BUSY_TIMEOUT_MS = 5_000
_FETCH = 10_000
_MIGRATION_LOCK = 0x64_69_73_74_69_6C  # any number that other programs on the server will not pick
_POSTGRES_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")


class DatabaseUnavailable(Unavailable):
    """The database is away, locked or full: the same statement may succeed later."""


class Connection(Protocol):
    """One connection, used by one thread at a time. Every method raises DatabaseUnavailable where
    trying again (after a reconnect) can help, and the driver's own error where it cannot."""

    @property
    def where(self) -> str:
        """The database in words, without password."""

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        """Run one statement; its rows, none for a statement that gives no rows."""

    def execute_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        """Run one statement for each of `rows`."""

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[list[Row]]:
        """Rows in chunks, for results too large to hold as Python objects."""

    def transaction(self) -> Any:
        """Context manager: commit at its end, roll back on an exception."""

    def lock_migrations(self) -> None:
        """Inside a transaction: let no other process migrate meanwhile."""

    def close(self) -> None: ...


class Database:
    """Where the data is; `connect` as often as needed, one connection a thread."""

    def __init__(self, path: Path | None, url: str = "") -> None:
        self._path = path
        self._url = url

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """The database that the settings name, created and migrated.

        Raises DistilsqlError for a URL that cannot be used, Conflict for a database newer than the
        code, DatabaseUnavailable when the server does not answer.
        """
        if settings.database_url:
            scheme, _, rest = settings.database_url.partition("://")
            if scheme not in _POSTGRES_SCHEMES:
                raise DistilsqlError(
                    f"database_url starts with {scheme[:20]!r}; it has to be postgresql://user@host/database "
                    "(or empty for SQLite under the data folder)",
                    param="database_url",
                )
            database = cls(None, f"postgresql://{rest}")
        else:
            database = cls(_private_file(settings.state_dir, "state.sqlite3"))
        connection = database.connect(durable=True)
        try:
            migrate(connection)
        finally:
            connection.close()
        return database

    def connect(self, *, durable: bool = False) -> Connection:
        """A new connection. `durable`: a commit has reached the disk when it returns (PostgreSQL
        always does that); else a power failure may lose the last commits but never damages the file."""
        if self._path is not None:
            return _Sqlite(self._path, durable)
        return _Postgres(self._url)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A short-lived connection for a few statements."""
        connection = self.connect(durable=True)
        try:
            yield connection
        finally:
            connection.close()


def _private_file(folder: Path, name: str) -> Path:
    """`folder`/`name`, both readable by their owner only: SQLite gives its side files the same mode."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        os.close(os.open(folder / name, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DistilsqlError(
            f"cannot write to {folder}: {error.strerror}; set DISTILSQL_HOME to a folder of your own",
            param="home",
        ) from error
    return folder / name


class _Sqlite:
    def __init__(self, path: Path, durable: bool) -> None:
        self.where = str(path)
        with _sqlite_errors(self.where):
            self._raw = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
            )
            self._raw.execute("PRAGMA journal_mode = WAL")
            self._raw.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        with _sqlite_errors(self.where):
            return self._raw.execute(sql, parameters).fetchall()

    def execute_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        with _sqlite_errors(self.where):
            self._raw.executemany(sql, rows)

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[list[Row]]:
        with _sqlite_errors(self.where):
            cursor = self._raw.execute(sql, parameters)
            while rows := cursor.fetchmany(_FETCH):
                yield rows

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with _sqlite_errors(self.where):
            # IMMEDIATE takes the write lock at once, under the busy timeout; a plain BEGIN would
            # fail at its first write whenever another process has written in between.
            self._raw.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._raw.execute("COMMIT")
            except BaseException:
                if self._raw.in_transaction:
                    self._raw.execute("ROLLBACK")
                raise

    def lock_migrations(self) -> None:
        """BEGIN IMMEDIATE holds the write lock already."""

    def close(self) -> None:
        self._raw.close()


@contextmanager
def _sqlite_errors(where: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DatabaseUnavailable(f"the database {where} cannot be used: {error}", retry_after=5) from error
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise
        raise DistilsqlError(
            f"{where} is damaged or no SQLite database ({error}): move it away to start with an empty one"
        ) from error


class _Postgres:
    def __init__(self, url: str) -> None:
        import psycopg

        parts = urlsplit(url)
        self.where = (
            f"PostgreSQL at {parts.hostname or 'the local socket'}, database {parts.path.lstrip('/')}"
        )
        self._psycopg = psycopg
        with self._errors():
            # A server that vanished without a word is noticed after 15 s instead of two hours.
            self._raw = psycopg.connect(
                url,
                autocommit=True,
                connect_timeout=5,
                application_name="distilsql",
                keepalives_idle=10,
                tcp_user_timeout=15_000,
            )

    def execute(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        with self._errors():
            cursor = self._raw.execute(_percent(sql), parameters)
            return cursor.fetchall() if cursor.description else []

    def execute_many(self, sql: str, rows: Sequence[Parameters]) -> None:
        with self._errors(), self._raw.cursor() as cursor:
            cursor.executemany(_percent(sql), rows)

    def stream(self, sql: str, parameters: Parameters = ()) -> Iterator[list[Row]]:
        with self._errors(), self._raw.transaction(), self._raw.cursor(name="distilsql_stream") as cursor:
            cursor.execute(_percent(sql), parameters)
            while rows := cursor.fetchmany(_FETCH):
                yield rows

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._errors(), self._raw.transaction():
            yield

    def lock_migrations(self) -> None:
        self.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))

    def close(self) -> None:
        self._raw.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._psycopg.OperationalError, self._psycopg.InterfaceError) as error:
            # The driver's text may quote a statement or the connection string: its class says enough.
            raise DatabaseUnavailable(
                f"{self.where} cannot be used ({type(error).__name__}): is the server running, "
                "and are user and password in database_url right?",
                retry_after=5,
            ) from error


def _percent(sql: str) -> Any:
    return sql.replace("?", "%s")
