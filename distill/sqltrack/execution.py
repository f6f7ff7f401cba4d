"""Runs queries on synthetic rows, bounded in time, size and reach; tells whether two gave the same rows.

Statements come from a model: only one query a time runs (SELECT, WITH, VALUES), on a database in memory
that refuses writes, files and extensions. SQLite runs SQLite's statements and DuckDB DuckDB's; those of
other dialects are translated to SQLite first. Knows nothing of where statements come from.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

import duckdb
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as SqlglotDialect
from sqlglot.errors import ErrorLevel, SqlglotError

from distill.sqltrack.rows import Row
from sql_assistant import dialects, statements
from sql_assistant.schema import Schema

TIME_LIMIT_S = 2.0
ROW_LIMIT = 5_000
_MAX_VALUE_BYTES = 1_000_000
_STEPS_BETWEEN_LOOKS = 20_000
_QUERIES = frozenset({"SELECT", "WITH", "VALUES"})


@dataclass(frozen=True, slots=True)
class Result:
    """What a query gave."""

    rows: tuple[tuple[object, ...], ...]

    @property
    def says_something(self) -> bool:
        """There is a row, and a value in it that is neither NULL nor a count of nothing."""
        return any(value is not None and value != 0 for row in self.rows for value in row)


@dataclass(frozen=True, slots=True)
class Refused:
    """A statement that gave no rows, and why."""

    reason: str


class _Engine(Protocol):
    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """At most ROW_LIMIT + 1 of them. Raises `_Stopped`."""


class _Stopped(Exception):
    """An engine's own words."""


class Sandbox:
    """One schema's rows, ready to be queried in one dialect. Results are kept by statement."""

    def __init__(self, schema: Schema, rows: Mapping[str, Sequence[Row]]) -> None:
        self.dialect = dialects.get(schema.dialect)
        self._engine: _Engine = (_Duck if self.dialect.name == "duckdb" else _Lite)(schema, rows)
        self._known: dict[str, Result | Refused] = {}

    def run(self, sql: str) -> Result | Refused:
        """The rows of one query of this sandbox's dialect."""
        known = self._known.get(sql)
        if known is None:
            known = self._known[sql] = self._run(sql)
        return known

    def _run(self, sql: str) -> Result | Refused:
        name = self.dialect.name
        spans = [
            one for span in statements.split(sql, name) if (one := statements.code_span(sql, span, name))
        ]
        if len(spans) != 1:
            return Refused("not one statement")
        code = sql[slice(*spans[0])]
        head = next(statements.pieces(code.lstrip("( \n"), name), None)
        if head is None or code.lstrip("( \n")[: head.end].upper() not in _QUERIES:
            return Refused("not a query")
        if name not in ("sqlite", "duckdb"):
            translated = translate(code, name, "sqlite")
            if translated is None:
                return Refused("not translatable to SQLite")
            code = translated
        try:
            rows = self._engine.rows(code)
        except _Stopped as stopped:
            return Refused(str(stopped))
        if len(rows) > ROW_LIMIT:
            return Refused("too many rows")
        return Result(tuple(rows))


def translate(
    sql: str, source: str, target: str, *, pretty: bool = False, idiomatic: bool = False
) -> str | None:
    """`sql` in another dialect, None where sqlglot cannot say it there.

    `idiomatic` leaves out NULLS FIRST and NULLIF, by which sqlglot keeps the source's treatment of NULL in
    sorting and of division by zero: nobody writes them. The caller compares the rows.
    """
    read, write = SqlglotDialect.get_or_raise(dialects.get(source).sqlglot), dialects.get(target).sqlglot
    try:
        trees = [tree for tree in read.parse(sql) if tree is not None]
        if len(trees) != 1:
            return None
        if idiomatic:
            _as_usual(trees[0], SqlglotDialect.get_or_raise(write))
        return trees[0].sql(dialect=write, pretty=pretty, unsupported_level=ErrorLevel.RAISE)
    except (SqlglotError, RecursionError):
        return None


def _as_usual(tree: exp.Expr, target: SqlglotDialect) -> None:
    for ordered in tree.find_all(exp.Ordered):
        small = target.NULL_ORDERING == "nulls_are_small"
        large = target.NULL_ORDERING == "nulls_are_large"
        ordered.set("nulls_first", large if ordered.args.get("desc") else small)
    for division in tree.find_all(exp.Div):
        division.set("safe", target.SAFE_DIVISION)


def same_rows(one: Result, other: Result) -> bool:
    """Equal as multisets of rows, numbers compared at six digits."""
    return len(one.rows) == len(other.rows) and _counted(one) == _counted(other)


def _counted(result: Result) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(f"{value:.6g}" if isinstance(value, (int, float, Decimal)) else str(value) for value in row)
        for row in result.rows
    )


class _Lite:
    def __init__(self, schema: Schema, rows: Mapping[str, Sequence[Row]]) -> None:
        self._db = db = sqlite3.connect(":memory:", check_same_thread=False)
        _load(db, schema, rows, "sqlite")
        db.commit()
        db.execute("PRAGMA query_only = ON")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        deadline = time.monotonic() + TIME_LIMIT_S
        self._db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            return self._db.execute(sql).fetchmany(ROW_LIMIT + 1)
        except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError, OverflowError) as error:
            late = time.monotonic() > deadline
            raise _Stopped("takes too long" if late else str(error)) from error
        finally:
            self._db.set_progress_handler(None, 0)


class _Duck:
    def __init__(self, schema: Schema, rows: Mapping[str, Sequence[Row]]) -> None:
        self._db = db = duckdb.connect(
            ":memory:", config={"threads": 1, "memory_limit": "512MB", "enable_external_access": "false"}
        )
        _load(db, schema, rows, "duckdb")
        db.execute("SET lock_configuration = true")

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        timer = threading.Timer(TIME_LIMIT_S, self._db.interrupt)
        timer.start()
        try:
            # DuckDB runs any number of statements, and WITH may begin a DELETE.
            if [one.type for one in self._db.extract_statements(sql)] != [duckdb.StatementType.SELECT]:
                raise _Stopped("not a query")
            found: list[tuple[object, ...]] = self._db.execute(sql).fetchmany(ROW_LIMIT + 1)
        except duckdb.InterruptException as error:
            raise _Stopped("takes too long") from error
        except (duckdb.Error, RuntimeError) as error:
            raise _Stopped(str(error)) from error
        finally:
            timer.cancel()
        return found


class _Database(Protocol):
    def execute(self, sql: str, /) -> object: ...

    def executemany(self, sql: str, rows: list[Row], /) -> object: ...


def _load(db: _Database, schema: Schema, rows: Mapping[str, Sequence[Row]], target: str) -> None:
    """Tables without constraints: what the rows keep to is the rows' business."""
    for table in schema.tables:
        if table.name not in rows:
            continue
        columns = ", ".join(
            f"{_quoted(c.name)} {_type(c.type, schema.dialect, target)}" for c in table.columns
        )
        db.execute(f"CREATE TABLE {_quoted(table.name)} ({columns})")
        if rows[table.name]:
            marks = ", ".join("?" * len(table.columns))
            db.executemany(f"INSERT INTO {_quoted(table.name)} VALUES ({marks})", [*rows[table.name]])  # noqa: S608


def _type(written: str, dialect: str, target: str) -> str:
    if not written:
        return "TEXT" if target == "duckdb" else ""
    try:
        kind = exp.DataType.build(written, dialect=dialects.get(dialect).sqlglot)
    except (SqlglotError, ValueError):
        return "TEXT" if target == "duckdb" else ""
    if not kind.args.get("nested"):
        # A precision says nothing that the rows keep to.
        kind.set("expressions", [])
    return kind.sql(dialect=target)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
