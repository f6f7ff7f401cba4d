"""What templates draw from: tables, columns, joins along foreign keys, and values that the rows really have.

A drawing that a schema has nothing for raises `NothingToDraw`; the template then is not used on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from distill.sqltrack import wording
from distill.sqltrack.columns import Kind, Trait, words
from distill.sqltrack.database import Database
from distill.sqltrack.query import Style
from distill.sqltrack.values import Value
from sql_assistant.ddl_words import RESERVED
from sql_assistant.schema import Column, ForeignKey, Table

T = TypeVar("T")
NUMBERS: tuple[Kind, ...] = ("amount", "count")
_QUOTED = RESERVED - frozenset("COMMENT FUNCTION KEY PERIOD RANGE RANK ROW ROWS VIEW".split())
_SHORT_WORDS = frozenset("as by if in is no of on or to do at all and any for not set end key".split())


class NothingToDraw(Exception):
    """This schema lacks what the template needs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table in a FROM clause; `name` is what qualifies its columns."""

    table: Table
    name: str
    text: str
    """As the FROM clause has it."""


@dataclass(frozen=True, slots=True)
class Join:
    """Two tables and the foreign key between them; `child` holds it."""

    child: Table
    parent: Table
    foreign: ForeignKey


class Drawing:
    """One template's draws on one database."""

    def __init__(self, database: Database, chance: random.Random, style: Style, *, booleans: bool) -> None:
        """`booleans`: flags are compared with TRUE, as the dialect that the statement ends up in wants it."""
        self.database = database
        self.chance = chance
        self.style = style
        self._booleans = booleans

    # Tables and columns

    def table(self, *kinds: Kind) -> Table:
        """One that has a column of one of `kinds`."""
        return self._one([t for t in self._tables() if not kinds or self.columns(t, *kinds)])

    def columns(self, table: Table, *kinds: Kind) -> list[Column]:
        """All of these kinds."""
        return [column for column in table.columns if self.trait(table, column).kind in kinds]

    def column(self, table: Table, *kinds: Kind) -> Column:
        """One of these kinds."""
        return self._one(self.columns(table, *kinds))

    def nullable(self, table: Table) -> Column:
        """One that really is NULL somewhere."""
        rows = len(self.database.rows[table.name])
        return self._one([c for c in table.columns if 0 < len(self.values(table, c)) < rows])

    def trait(self, table: Table, column: Column) -> Trait:
        return self.database.trait(table.name, column.name)

    def labels(self, table: Table) -> list[Column]:
        """What a row is called by: its name or title (two columns for people), else its key."""
        found = self.columns(table, "label")
        named = [c for c in found if {"first", "last", "given", "family"} & set(words(c.name))][:2]
        if len(named) == 2:
            return named
        usual = [c for c in found if words(c.name)[-1] in ("name", "title")] or found
        if usual:
            return usual[:1]
        keys = [c for c in table.columns if c.name in table.primary_key]
        return keys[:1] or list(table.columns[:1])

    # Joins

    def joins(self, table: Table | None = None) -> list[Join]:
        """Foreign keys between two different tables; those that `table` takes part in where it is given."""
        found = []
        for child in self._tables():
            for foreign in child.foreign_keys:
                if foreign.ref_table.lower() == child.name.lower() or not foreign.ref_columns:
                    continue
                parent = self.database.table(foreign.ref_table)
                if table is None or table in (child, parent):
                    found.append(Join(child, parent, foreign))
        return found

    def join(self, *, child: Sequence[Kind] = (), parent: Sequence[Kind] = ()) -> Join:
        """One whose tables have columns of these kinds."""
        return self._one(
            [
                j
                for j in self.joins()
                if (not child or self.columns(j.child, *child))
                and (not parent or self.columns(j.parent, *parent))
            ]
        )

    def path(self, length: int, *, down: bool = False) -> tuple[list[Table], list[Join]]:
        """A chain of `length` joins over different tables; `down` goes from parents to children only."""
        tables = [self.table()]
        joins: list[Join] = []
        while len(joins) < length:
            ways = [
                j
                for j in self.joins(tables[-1])
                if (j.child in tables) != (j.parent in tables)
                and (not down or j.parent is tables[-1])
                and self._once(j)
            ]
            joins.append(self._one(ways))
            tables.append(joins[-1].parent if joins[-1].child in tables else joins[-1].child)
        return tables, joins

    def _once(self, join: Join) -> bool:
        """Whether it is the only foreign key between its tables: of two, a question would have to say which."""
        return (
            sum({j.child.name, j.parent.name} == {join.child.name, join.parent.name} for j in self.joins())
            == 1
        )

    def sources(self, tables: Sequence[Table]) -> list[Source]:
        """The tables as a FROM clause names them, aliased as the style has it."""
        taken: set[str] = set()
        found = []
        for table in tables:
            repeated = sum(one.name == table.name for one in tables) > 1
            if repeated or (self.style.aliases != "none" and len(tables) > 1):
                name = self._alias(table, taken)
                between = " AS " if self.style.aliases == "as" else " "
                found.append(Source(table, name, f"{quoted(table.name)}{between}{name}"))
            else:
                found.append(Source(table, quoted(table.name), quoted(table.name)))
            taken.add(found[-1].name.lower())
        return found

    def _alias(self, table: Table, taken: set[str]) -> str:
        own = words(table.name)
        own = own[1:] if len(own) > 1 and own[0] == "tbl" else own
        initials = "".join(word[0] for word in own)
        tries = [initials, own[-1][:2], own[-1][:3], *(f"{initials}{n}" for n in range(2, 9))]
        return next(one for one in tries if one not in taken and one not in _SHORT_WORDS)

    def ref(self, source: Source, column: Column | str, sources: Sequence[Source]) -> str:
        """A column as the statement writes it: qualified where the style or ambiguity wants it."""
        name = column if isinstance(column, str) else column.name
        shared = sum(name.lower() in {c.name.lower() for c in s.table.columns} for s in sources) > 1
        if len(sources) > 1 and (shared or self.style.qualified):
            return f"{source.name}.{quoted(name)}"
        return quoted(name)

    def on(
        self, join: Join, sources: Sequence[Source], *, left: bool = False, new: Source | None = None
    ) -> str:
        """The JOIN clause that brings `new` (the later of its two tables) in."""
        by_table = {source.table.name: source for source in sources}
        child, parent = by_table[join.child.name], by_table[join.parent.name]
        added = new or (child if sources.index(child) > sources.index(parent) else parent)
        pairs = [
            (f"{child.name}.{quoted(own)}", f"{parent.name}.{quoted(other)}")
            for own, other in zip(join.foreign.columns, join.foreign.ref_columns, strict=True)
        ]
        if self.chance.random() < 0.3:
            pairs = [(two, one) for one, two in pairs]
        kind = "LEFT JOIN" if left else ("INNER JOIN" if self.style.inner else "JOIN")
        return f"{kind} {added.text} ON {' AND '.join(f'{one} = {other}' for one, other in pairs)}"

    # Values

    def values(self, table: Table, column: Column) -> list[Value]:
        return self.database.values(table.name, column.name)

    def value(self, table: Table, column: Column) -> Value:
        """One that occurs, the frequent ones more often."""
        return self._one(self.values(table, column))

    def threshold(
        self, table: Table, column: Column, *, low: float = 0.25, high: float = 0.75
    ) -> int | float:
        """A round figure between two quantiles of what occurs."""
        found = sorted(v for v in self.values(table, column) if isinstance(v, (int, float)))
        if not found:
            raise NothingToDraw
        at = found[int(len(found) * self.chance.uniform(low, high))]
        if abs(at) < 10:
            return int(at) if isinstance(at, int) else round(at, 1)
        step = 10 ** (len(str(int(abs(at)))) - 2)
        return int(at // step * step)

    def flag(self, reference: str, table: Table, column: Column, wanted: bool) -> str:
        """`reference` compared with true or false."""
        if "BOOL" in column.type.upper() and self._booleans:
            return f"{reference} = {'TRUE' if wanted else 'FALSE'}"
        return f"{reference} = {int(wanted)}"

    def pick(self, *choices: str) -> str:
        """One of several wordings."""
        return self.chance.choice(choices)

    def _tables(self) -> list[Table]:
        return [table for table in self.database.schema.tables if self.database.rows.get(table.name)]

    def _one(self, found: Sequence[T]) -> T:
        if not found:
            raise NothingToDraw
        return self.chance.choice(found)


Template = Callable[[Drawing], tuple[str, str]]
"""Draws a question and the statement that answers it. Raises NothingToDraw."""


def quoted(name: str) -> str:
    """A name as it has to be written."""
    plain = name.replace("_", "a").isalnum() and name.isascii() and not name[0].isdigit()
    return name if plain and name.upper() not in _QUOTED else '"' + name.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """A value as SQL writes it."""
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def called(columns: Sequence[Column], of: Table) -> str:
    """Columns in words: `the name and price of the products`."""
    return f"the {wording.listed([wording.column(c.name) for c in columns])} of the {wording.plural(of.name)}"
