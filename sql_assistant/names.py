"""How names compare in a dialect, and finding a table of a schema by the name a statement uses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlglot import exp

from sql_assistant import dialects
from sql_assistant.caches import IdentityCache
from sql_assistant.dialects import Dialect, NameCase
from sql_assistant.schema import Schema, Table


def true_name(name: str, quoted: bool, case: NameCase) -> str:
    """The name as the engine stores it: an unquoted one folds to the dialect's case."""
    if quoted or case in ("insensitive", "sensitive"):
        return name
    return name.lower() if case == "lower" else name.upper()


def key(name: str, case: NameCase) -> str:
    """Equal for two stored names exactly where the engine takes them for the same."""
    return name.lower() if case == "insensitive" else name


def column_key(identifier: exp.Identifier, dialect: Dialect) -> str:
    """`key` of a column name in a statement."""
    case = dialect.column_case
    return key(true_name(identifier.name, bool(identifier.args.get("quoted")), case), case)


def table_key(identifier: exp.Identifier, dialect: Dialect) -> str:
    """`key` of a table name or alias in a statement."""
    case = dialect.table_case
    return key(true_name(identifier.name, bool(identifier.args.get("quoted")), case), case)


def near(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate spelled most like `name`, or None where none is close."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table, CTE or subquery; `names` as stored, in order, duplicates kept.

    `complete` is False where there may be more than `names` says.
    """

    names: tuple[str, ...] = ()
    complete: bool = False


UNKNOWN = Columns()


class NameIndex:
    """The tables of one schema under the comparison rules of one dialect."""

    def __init__(self, schema: Schema, dialect: Dialect) -> None:
        self.dialect = dialect
        self.schema = schema
        self._by_name: dict[str, list[Table]] = {}
        for table in schema.tables:
            self._by_name.setdefault(key(table.name, dialect.table_case), []).append(table)
        self._namespaces = {key(t.schema, dialect.table_case) for t in schema.tables if t.schema}

    def find(self, table: exp.Table) -> Columns | None:
        """The columns of the table that `table` names, None where the schema has no such table.

        A schema whose DDL names no namespaces matches under any, except where the dialect's own
        namespaces are few and fixed (SQLite's main and temp).
        """
        name, space = table.this, table.args.get("db")
        if not isinstance(name, exp.Identifier):
            return UNKNOWN
        candidates = self._by_name.get(table_key(name, self.dialect), [])
        if isinstance(space, exp.Identifier):
            wanted = table_key(space, self.dialect)
            candidates = [t for t in candidates if self._in_namespace(t, wanted)]
        if not candidates:
            return UNKNOWN if self._is_system(name, space) else None
        columns = [columns_of(t) for t in candidates]
        # The same name in two namespaces, none given: which one is meant depends on the session.
        return columns[0] if len(columns) == 1 else Columns(tuple(n for c in columns for n in c.names))

    def table_names(self) -> list[str]:
        """Every table's name, for suggestions."""
        return [table.name for table in self.schema.tables]

    def is_table(self, identifier: exp.Identifier) -> bool:
        """Whether some table has this name."""
        return table_key(identifier, self.dialect) in self._by_name

    def _in_namespace(self, table: Table, wanted: str) -> bool:
        if table.schema:
            return key(table.schema, self.dialect.table_case) == wanted
        if self.dialect.name == "sqlite":
            return wanted in self.dialect.default_schemas
        return wanted not in self._namespaces

    def _is_system(self, name: exp.Identifier, space: object) -> bool:
        text = name.name.lower()
        if text.startswith("information_schema."):  # BigQuery's parser makes one name of it
            return True
        if isinstance(space, exp.Identifier):
            return space.name.lower() in self.dialect.system_schemas
        return text.startswith(self.dialect.system_prefixes)


def columns_of(table: Table) -> Columns:
    """What is known of a table's columns; a view without any has columns that could not be told."""
    return Columns(tuple(c.name for c in table.columns), complete=bool(table.columns))


_INDEXES: IdentityCache[Schema, NameIndex] = IdentityCache(64)


def index(schema: Schema, dialect: str) -> NameIndex:
    """The (cached) index of `schema` for `dialect`."""
    known = dialects.get(dialect)
    return _INDEXES.get(schema, lambda made_from: NameIndex(made_from, known), known.name)
