"""Synthetic rows for a schema: the same rows for the same DDL, wherever, whenever and in whichever dialect.

Foreign keys hold (also to the table itself), some parents stay without children, values repeat often
enough that joins, groups and filters give rows, and what may be NULL sometimes is. Knows no database
engine: `execution` loads the rows.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping

from distill.sqltrack import columns, values
from distill.sqltrack.columns import Key, Trait
from distill.sqltrack.values import Value
from sql_assistant.schema import Column, ForeignKey, Schema, Table

Row = tuple[Value, ...]
ROWS_PER_TABLE = 40
_NULL_SHARE = 0.15
_CHILDLESS = 0.15
_LOOKUP_COLUMNS = 5
_TRIES = 12
_LATER = frozenset(
    "end closed closes shipped paid due out until to returned returns completed finished delivered expires "
    "resolved left death".split()
)
"""Words of a date's name that say it lies behind the date before it."""


def make(schema: Schema, ddl: str, count: int = ROWS_PER_TABLE) -> dict[str, list[Row]]:
    """Rows by table name, in the order of the tables' columns: about `count` a table, fewer in lookups.

    The names of tables and columns are the seed, so that a schema has the same rows in every dialect.
    """
    names = [
        [table.name.lower(), *(column.name.lower() for column in table.columns)] for table in schema.tables
    ]
    seed = int.from_bytes(hashlib.sha256(json.dumps(names).encode("utf-8", "surrogatepass")).digest()[:8])
    filler = _Filler(schema, columns.traits(schema, ddl), random.Random(seed), count)
    for table in in_order(schema):
        filler.fill(table)
    return {table.name: filler.rows[table.name.lower()] for table in schema.tables if not table.is_view}


def in_order(schema: Schema) -> list[Table]:
    """Tables behind those they refer to; where they refer to each other, in the schema's order."""
    waiting = [table for table in schema.tables if not table.is_view]
    done: list[Table] = []
    while waiting:
        open_names = {table.name.lower() for table in waiting}
        ready = [t for t in waiting if not _needs(t) & (open_names - {t.name.lower()})]
        chosen = ready or waiting[:1]
        done += chosen
        waiting = [table for table in waiting if table not in chosen]
    return done


def _needs(table: Table) -> set[str]:
    return {foreign.ref_table.lower() for foreign in table.foreign_keys}


class _Filler:
    """Fills table after table; keys are known before rows are, so that cycles resolve."""

    def __init__(
        self, schema: Schema, traits: Mapping[Key, Trait], chance: random.Random, count: int
    ) -> None:
        self._tables = {table.name.lower(): table for table in schema.tables}
        self._traits = traits
        self._chance = chance
        self.rows: dict[str, list[Row]] = {}
        self._sizes = {name: self._size(table, schema, count) for name, table in self._tables.items()}

    def _size(self, table: Table, schema: Schema, count: int) -> int:
        referred = any(
            f.ref_table.lower() == table.name.lower() for t in schema.tables for f in t.foreign_keys
        )
        is_lookup = referred and not table.foreign_keys and len(table.columns) <= _LOOKUP_COLUMNS
        size = max(5, count // 4) if is_lookup else count
        for column in table.columns:
            trait = self._traits[columns.key(table.name, column.name)]
            if trait.unique and trait.kind == "choice":
                size = min(size, len(trait.choices))
        return size

    def fill(self, table: Table) -> None:
        name = table.name.lower()
        taken: dict[str, set[Value]] = {}
        keys: set[Row] = set()
        rows = self.rows[name] = []
        for number in range(1, self._sizes[name] + 1):
            for _ in range(_TRIES):
                row = self._row(table, number, taken)
                key = tuple(row.get(column) for column in table.primary_key)
                if not key or key not in keys:
                    keys.add(key)
                    rows.append(tuple(row[column.name] for column in table.columns))
                    for column in table.columns:
                        if self._traits[columns.key(table.name, column.name)].unique:
                            taken.setdefault(column.name, set()).add(row[column.name])
                    break

    def _row(self, table: Table, number: int, taken: Mapping[str, set[Value]]) -> dict[str, Value]:
        row: dict[str, Value] = {}
        spelled = {column.name.lower(): column.name for column in table.columns}
        for foreign in table.foreign_keys:
            found = self._reference(table, foreign, number)
            row.update(
                {spelled[name.lower()]: value for name, value in found.items() if name.lower() in spelled}
            )
        previous: Value = None
        for column in table.columns:
            trait = self._traits[columns.key(table.name, column.name)]
            if column.name not in row:
                row[column.name] = self._value(column, trait, number, previous, taken.get(column.name, set()))
            dated = trait.kind in ("date", "moment") and row[column.name] is not None
            if dated or (trait.kind in ("year", "count", "amount") and column.name.lower().startswith("min")):
                previous = row[column.name]
        return row

    def _value(self, column: Column, trait: Trait, number: int, previous: Value, taken: set[Value]) -> Value:
        if trait.kind == "key":
            return values.key_value(column.type, column.name, number)
        found = values.value(trait, column.name, self._chance)
        if found is None or previous is None:
            return _untaken(found, trait, number, taken)
        own = columns.words(column.name)
        if trait.kind in ("date", "moment") and _LATER & set(own) and isinstance(previous, str):
            found = values.later(trait, previous, self._chance)
        elif own[0] == "max" and isinstance(previous, (int, float)) and isinstance(found, (int, float)):
            found = round(previous + abs(found), 2)
        return _untaken(found, trait, number, taken)

    def _reference(self, table: Table, foreign: ForeignKey, number: int) -> dict[str, Value]:
        """Values of a foreign key: a parent's, or NULL where that may be."""
        nullable = all(self._nullable(table, column) for column in foreign.columns)
        parents = self._parents(foreign)
        is_self = foreign.ref_table.lower() == table.name.lower()
        paired = len(foreign.columns) == len(foreign.ref_columns)
        if is_self and paired and not parents and not nullable:
            # The first row can only refer to itself.
            return {
                column: values.key_value(self._type(table, other), other, number)
                for column, other in zip(foreign.columns, foreign.ref_columns, strict=True)
            }
        if not parents or (nullable and self._chance.random() < _NULL_SHARE):
            return dict.fromkeys(foreign.columns)
        usable = max(1, round(len(parents) * (1 - _CHILDLESS)))
        # A power over one, so that some parents have many children and others few.
        parent = parents[int(self._chance.random() ** 1.4 * usable)]
        return dict(zip(foreign.columns, parent, strict=True))

    def _parents(self, foreign: ForeignKey) -> list[Row]:
        target = self._tables.get(foreign.ref_table.lower())
        if target is None or len(foreign.columns) != len(foreign.ref_columns):
            return []
        names = [column.name.lower() for column in target.columns]
        at = [names.index(column.lower()) for column in foreign.ref_columns if column.lower() in names]
        filled = self.rows.get(target.name.lower())
        if filled is None and len(at) == 1 and target.primary_key == (target.columns[at[0]].name,):
            column = target.columns[at[0]]
            if self._traits[columns.key(target.name, column.name)].kind != "key":
                return []
            size = self._sizes[target.name.lower()]
            return [(values.key_value(column.type, column.name, n),) for n in range(1, size + 1)]
        return [tuple(row[place] for place in at) for row in filled or []]

    def _nullable(self, table: Table, column: str) -> bool:
        trait = self._traits.get(columns.key(table.name, column))
        return trait is None or trait.nullable

    def _type(self, table: Table, column: str) -> str:
        return next((one.type for one in table.columns if one.name == column), "")


def _untaken(found: Value, trait: Trait, number: int, taken: set[Value]) -> Value:
    """`found`, made different where the column is unique and has it already."""
    if not trait.unique or found is None or found not in taken:
        return found
    if isinstance(found, str):
        if trait.kind == "choice":
            return next((choice for choice in trait.choices if choice not in taken), found)
        name, at, domain = found.partition("@")
        return f"{name}{number}{at}{domain}" if at else f"{found} {number}"
    return int(found) + number * 1000
