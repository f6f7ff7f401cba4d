"""The small schema that the completion tests share."""

from __future__ import annotations

from sql_assistant import ddl
from sql_assistant.schema import Schema

DDL = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT);
CREATE TABLE book (
  id INTEGER PRIMARY KEY, title TEXT, price REAL, author_id INTEGER REFERENCES author (id)
);
CREATE TABLE review (book_id INTEGER REFERENCES book (id), rating INTEGER, body TEXT);
"""
SCHEMA: Schema = ddl.parse_ddl(DDL, "sqlite")


def schema_in(dialect: str) -> Schema:
    """The same tables, read in another dialect."""
    return ddl.parse_ddl(DDL, dialect)
