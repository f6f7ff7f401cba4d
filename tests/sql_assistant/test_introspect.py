"""Schemas read from database files and from real servers; no row of theirs is touched."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import duckdb
import psycopg
import pymysql
import pytest
from databases import MariaServer, PostgresServer, mariadb, postgres_server, postgres_url

from serve.errors import InvalidRequest, Unprocessable
from sql_assistant import introspect
from sql_assistant.schema import ForeignKey, Schema, Table

__all__ = ["mariadb", "postgres_server", "postgres_url"]
_TABLES = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(80) NOT NULL, country TEXT);
CREATE TABLE book (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, price NUMERIC(8, 2),
    author_id INTEGER REFERENCES author (id)
);
CREATE TABLE edition (book_id INTEGER, number INTEGER, PRIMARY KEY (book_id, number));
CREATE VIEW cheap AS SELECT id, title FROM book WHERE price < 10;
"""


def _by_name(schema: Schema) -> dict[str, Table]:
    return {table.name: table for table in schema.tables}


def _check(schema: Schema, dialect: str) -> None:
    assert schema.dialect == dialect
    tables = _by_name(schema)
    assert set(tables) == {"author", "book", "edition", "cheap"}
    assert [column.name for column in tables["book"].columns] == ["id", "title", "price", "author_id"]
    assert tables["author"].primary_key == ("id",)
    assert tables["edition"].primary_key == ("book_id", "number")
    assert tables["cheap"].is_view and not tables["book"].is_view
    assert [column.name for column in tables["cheap"].columns] == ["id", "title"]
    nullable = {column.name: column.nullable for column in tables["author"].columns}
    assert nullable["name"] is False and nullable["country"] is True


def test_a_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    database = sqlite3.connect(path)
    database.executescript(_TABLES)
    database.close()
    before = path.read_bytes()
    schema = introspect.from_sqlite_file(path)
    _check(schema, "sqlite")
    assert _by_name(schema)["book"].foreign_keys == (ForeignKey(("author_id",), "author", ("id",)),)
    assert path.read_bytes() == before


def test_a_duckdb_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute(_TABLES)
    schema = introspect.from_duckdb_file(path)
    _check(schema, "duckdb")
    assert _by_name(schema)["book"].foreign_keys == (ForeignKey(("author_id",), "author", ("id",)),)


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"\xff" * 2000])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(Unprocessable):
        introspect.from_sqlite_file(path)
    with pytest.raises(Unprocessable):
        introspect.from_duckdb_file(path)


def test_postgres_with_comments_and_another_namespace(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as database:
        database.execute(_TABLES)
        database.execute("COMMENT ON TABLE author IS 'who writes'")
        database.execute("COMMENT ON COLUMN book.price IS 'in euros'")
        database.execute("CREATE SCHEMA stock; CREATE TABLE stock.shelf (id INT)")
    schema = introspect.from_url(postgres_url, [f"postgresql://127.0.0.1:{postgres_server.port}"])
    tables = _by_name(schema)
    assert tables.pop("shelf").schema == "stock"
    _check(Schema(tuple(tables.values()), schema.dialect), "postgres")
    assert tables["author"].comment == "who writes"
    assert {c.name: c.comment for c in tables["book"].columns}["price"] == "in euros"
    assert tables["book"].foreign_keys == (ForeignKey(("author_id",), "author", ("id",)),)


def test_mariadb(mariadb: MariaServer) -> None:
    connection = pymysql.connect(
        host="127.0.0.1", port=mariadb.port, user="tester", password=mariadb.password, database="shop"
    )
    with connection as database, database.cursor() as cursor:
        # MariaDB reads REFERENCES beside a column since 10.5.
        for statement in _TABLES.split(";"):
            if statement.strip():
                cursor.execute(statement)
        cursor.execute("ALTER TABLE author COMMENT 'who writes'")
    schema = introspect.from_url(mariadb.url, [f"mysql://127.0.0.1:{mariadb.port}/shop"])
    _check(schema, "mysql")
    assert _by_name(schema)["author"].comment == "who writes"
    assert _by_name(schema)["book"].foreign_keys == (ForeignKey(("author_id",), "author", ("id",)),)


def test_a_server_must_be_allowed(mariadb: MariaServer) -> None:
    for allowed in ([], ["mysql://127.0.0.1:1"], [f"postgresql://127.0.0.1:{mariadb.port}"]):
        with pytest.raises(InvalidRequest, match="DISTILSQL_SCHEMA_DATABASE_URLS") as caught:
            introspect.from_url(mariadb.url, allowed)
        assert mariadb.password not in str(caught.value)


def test_a_wrong_password_is_told_without_it(mariadb: MariaServer) -> None:
    url = mariadb.url.replace(mariadb.password, "wrong-secret")
    with pytest.raises(Unprocessable) as caught:
        introspect.from_url(url, [f"mysql://127.0.0.1:{mariadb.port}"])
    assert "wrong-secret" not in str(caught.value)


def test_nobody_there_is_told() -> None:
    with pytest.raises(Unprocessable):
        introspect.from_url("postgresql://tester@127.0.0.1:9/shop", ["postgresql://127.0.0.1:9"])
