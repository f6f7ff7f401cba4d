"""A schema made ready: read, described, filled with rows and queryable; and how a statement is judged on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import duckdb

from distill.sqltrack import columns, rows
from distill.sqltrack.columns import Key, Trait
from distill.sqltrack.execution import Refused, Result, Sandbox
from distill.sqltrack.rows import Row
from distill.sqltrack.values import Value
from serve.errors import Unprocessable
from sql_assistant import ddl as ddl_reader
from sql_assistant import prompt, schema_text, validation
from sql_assistant.schema import Schema, Table

Split = Literal["train", "held_out"]
_SHOWN_TOKENS = 1_000_000
"""The schemas here are small: a prompt shows them whole, as the product's does."""


@dataclass(frozen=True)
class Database:
    """`ddl` is in the schema's dialect, and the rows follow from it alone."""

    name: str
    ddl: str
    schema: Schema
    traits: Mapping[Key, Trait]
    rows: Mapping[str, Sequence[Row]]
    sandbox: Sandbox

    @property
    def dialect(self) -> str:
        return self.schema.dialect

    @property
    def shown(self) -> str:
        """What the product shows a model of it: the dialect's line and the tables."""
        chosen = schema_text.select(self.schema, _SHOWN_TOKENS, len)
        return prompt.header(self.dialect) + chosen.text

    def table(self, name: str) -> Table:
        """By name, whatever its letter case. KeyError where there is none."""
        found = next((table for table in self.schema.tables if table.name.lower() == name.lower()), None)
        if found is None:
            raise KeyError(name)
        return found

    def trait(self, table: str, column: str) -> Trait:
        """Of one column."""
        return self.traits[columns.key(table, column)]

    def values(self, table: str, column: str) -> list[Value]:
        """Of one column in the synthetic rows, without NULLs."""
        found = self.table(table)
        at = [one.name.lower() for one in found.columns].index(column.lower())
        return [row[at] for row in self.rows[found.name] if row[at] is not None]

    def judge(self, sql: str) -> Result | Refused:
        """The rows of a valid query; Refused says whether validation or execution objected.

        Both have to agree: a statement that only one of them takes is not learned from.
        """
        issues = validation.validate_statement(sql, self.schema, self.dialect)
        wrong = next((issue for issue in issues if issue.severity == "error"), None)
        if wrong is not None:
            return Refused(f"invalid: {wrong.message}")
        result = self.sandbox.run(sql)
        return Refused(f"fails: {result.reason}") if isinstance(result, Refused) else result


@lru_cache(maxsize=64)
def load(name: str, ddl: str, dialect: str, count: int = rows.ROWS_PER_TABLE) -> Database:
    """Read `ddl` and fill it with `count` rows a table.

    Raises as `sql_assistant.ddl.parse_ddl` does, and Unprocessable where the tables cannot be built.
    """
    schema = ddl_reader.parse_ddl(ddl, dialect)
    made = rows.make(schema, ddl, count)
    try:
        sandbox = Sandbox(schema, made)
    except (sqlite3.Error, duckdb.Error) as error:
        raise Unprocessable(f"the tables of {name} cannot be built: {error}", param="ddl") from error
    return Database(name, ddl, schema, columns.traits(schema, ddl), made, sandbox)
