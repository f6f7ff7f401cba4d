"""Schemas from database files (SQLite, DuckDB), opened read-only; and, by URL, from servers.

Only catalogues are read; no statement of anybody's is run.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serve.errors import DistilsqlError, NotFound, TooLarge, Unprocessable
from sql_assistant import ddl
from sql_assistant.introspect_server import from_url
from sql_assistant.schema import Column, ForeignKey, Schema, Table

__all__ = ["from_duckdb_file", "from_sqlite_file", "from_url"]

_SQLITE_MAGIC = b"SQLite format 3\0"
_DUCKDB_MAGIC = b"DUCK"
_STEP_BUDGET = 50_000_000
"""Virtual-machine steps of SQLite: seconds of work, so that a crafted file cannot hold a thread."""


def from_sqlite_file(path: Path | str) -> Schema:
    """Tables, views, keys and the comments inside CREATE statements of a SQLite file.

    The file is opened read-only and taken as unchanging, so nothing is written beside it either.
    NotFound without such a file; Unprocessable where it is not SQLite, is damaged or holds no table.
    """
    path = _existing(path)
    if _head(path, 16) != _SQLITE_MAGIC:
        raise Unprocessable(
            f"{path.name} is not a SQLite database (its first bytes say otherwise)", param="file"
        )
    db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA query_only = ON")
        steps = iter(range(_STEP_BUDGET // 1000))
        db.set_progress_handler(lambda: next(steps, None) is None, 1000)
        tables = _sqlite_tables(db)
    except sqlite3.Error as error:
        raise Unprocessable(f"{path.name} cannot be read: {error}", param="file") from None
    finally:
        db.close()
    return _schema(tables, "sqlite", path.name)


def _sqlite_tables(db: sqlite3.Connection) -> list[Table]:
    kinds = {name: kind for schema, name, kind, *_ in db.execute("PRAGMA table_list") if schema == "main"}
    found = db.execute(
        "SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE "
        "'sqlite\\_%' ESCAPE '\\' "
        "ORDER BY rowid LIMIT ?",
        (ddl.MAX_TABLES + 1,),
    ).fetchall()
    return [
        _sqlite_table(db, name, kinds.get(name, "table"), sql or "")
        for name, sql in found
        if kinds.get(name) != "shadow"
    ]


def _sqlite_table(db: sqlite3.Connection, name: str, kind: str, sql: str) -> Table:
    try:
        rows = db.execute(
            "SELECT name, type, [notnull], pk, hidden FROM pragma_table_xinfo(?)", (name,)
        ).fetchall()
    except sqlite3.OperationalError:
        # A view over something that is gone, or a virtual table whose module is not here.
        return Table(name, (), is_view=True)
    written = _as_written(sql)
    comments = {column.name: column.comment for column in written.columns} if written else {}
    columns = tuple(
        Column(column, type_, not (notnull or pk), comments.get(column, ""))
        for column, type_, notnull, pk, hidden in rows
        if hidden != 1 or kind == "virtual"
    )
    primary = tuple(row[0] for row in sorted((r for r in rows if r[3]), key=lambda r: int(r[3])))
    return Table(
        name,
        columns,
        primary_key=primary,
        foreign_keys=_sqlite_foreign_keys(db, name),
        comment=written.comment if written else "",
        is_view=kind == "view",
    )


def _as_written(sql: str) -> Table | None:
    """The table as its CREATE statement reads: SQLite keeps the comments in there."""
    try:
        return ddl.parse_ddl(sql, "sqlite").tables[0]
    except DistilsqlError:
        return None


def _sqlite_foreign_keys(db: sqlite3.Connection, name: str) -> tuple[ForeignKey, ...]:
    rows = db.execute(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
    ).fetchall()
    keys = []
    for number in sorted({row[0] for row in rows}, reverse=True):  # SQLite numbers them backwards
        mine = [row for row in rows if row[0] == number]
        referred = tuple(to for *_, to in mine if to) or _sqlite_primary_key(db, mine[0][1])
        keys.append(ForeignKey(tuple(row[2] for row in mine), mine[0][1], referred))
    return tuple(keys)


def _sqlite_primary_key(db: sqlite3.Connection, name: str) -> tuple[str, ...]:
    return tuple(
        row[0] for row in db.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (name,))
    )


def from_duckdb_file(path: Path | str) -> Schema:
    """Tables, views, keys and comments of a DuckDB file, opened read-only and without outside access.

    NotFound without such a file; Unprocessable where it is not DuckDB, is in use by a writer, is
    damaged or holds no table.
    """
    import duckdb

    path = _existing(path)
    if _head(path, 12)[8:12] != _DUCKDB_MAGIC:
        raise Unprocessable(
            f"{path.name} is not a DuckDB database (its first bytes say otherwise)", param="file"
        )
    config = {"enable_external_access": "false", "autoload_known_extensions": "false", "threads": "1"}
    try:
        db = duckdb.connect(str(path), read_only=True, config=config)
    except duckdb.Error as error:
        raise Unprocessable(f"{path.name} cannot be opened: {_first_line(error)}", param="file") from None
    try:
        tables = _duckdb_tables(db)
    except duckdb.Error as error:
        raise Unprocessable(f"{path.name} cannot be read: {_first_line(error)}", param="file") from None
    finally:
        db.close()
    return _schema(tables, "duckdb", path.name)


def _duckdb_tables(db: Any) -> list[Table]:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        return list(db.execute(sql).fetchall())

    columns: dict[tuple[str, str], list[Column]] = {}
    for schema, table, name, type_, nullable, comment in rows(
        "SELECT schema_name, table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() "
        "WHERE NOT internal AND database_name = current_database() ORDER BY table_oid, column_index"
    ):
        columns.setdefault((schema, table), []).append(Column(name, type_, bool(nullable), comment or ""))
    primary: dict[tuple[str, str], tuple[str, ...]] = {}
    foreign: dict[tuple[str, str], list[ForeignKey]] = {}
    for schema, table, kind, names, referred, referred_names in rows(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names, referenced_table, "
        "referenced_column_names FROM duckdb_constraints() WHERE database_name = current_database() "
        "AND constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY') ORDER BY constraint_index"
    ):
        if kind == "PRIMARY KEY":
            primary[schema, table] = tuple(names)
        else:
            key = ForeignKey(tuple(names), referred, tuple(referred_names))
            foreign.setdefault((schema, table), []).append(key)
    return [
        Table(
            name,
            tuple(columns.get((schema, name), ())),
            schema="" if schema == "main" else schema,
            primary_key=primary.get((schema, name), ()),
            foreign_keys=tuple(foreign.get((schema, name), ())),
            comment=comment or "",
            is_view=is_view,
        )
        for schema, name, comment, is_view, _ in rows(
            "SELECT schema_name, table_name, comment, false, table_oid FROM duckdb_tables() "
            "WHERE NOT internal AND database_name = current_database() UNION ALL "
            "SELECT schema_name, view_name, comment, true, view_oid FROM duckdb_views() "
            "WHERE NOT internal AND database_name = current_database() ORDER BY 5"
        )
    ]


def _existing(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"there is no file {path.name}", param="file")
    return path


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _schema(tables: list[Table], dialect: str, name: str) -> Schema:
    if not tables:
        raise Unprocessable(f"{name} holds no table", param="file")
    if len(tables) > ddl.MAX_TABLES:
        raise TooLarge(f"{name} holds more than {ddl.MAX_TABLES:,} tables", param="file")
    return Schema(tuple(tables), dialect)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
