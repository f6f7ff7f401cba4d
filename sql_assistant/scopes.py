"""What stands in scope: sources (tables, CTEs, subqueries), their columns, and looking a name up.

Pure data and lookup; walking a statement and filling scopes is `resolver`'s work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sql_assistant.dialects import Dialect
from sql_assistant.names import Columns, key


@dataclass(slots=True)
class Source:
    """One item of FROM. `name` is shown in messages, `alias` is the key it is referred to by."""

    name: str
    alias: str
    columns: Columns
    is_table: bool = False
    """A table of the schema, which has the dialect's pseudo columns."""
    namespace: str = ""
    keys: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        name: str,
        alias: str,
        columns: Columns,
        dialect: Dialect,
        *,
        is_table: bool = False,
        namespace: str = "",
    ) -> Source:
        """A source whose column names are keyed by the dialect's rule."""
        keys = frozenset(key(column, dialect.column_case) for column in columns.names)
        return cls(name, alias, columns, is_table, namespace, keys)

    def has(self, column: str, dialect: Dialect) -> bool:
        """Whether the column (a key) is known to be there."""
        return column in self.keys or (self.is_table and column.lower() in dialect.pseudo_columns)


@dataclass(slots=True)
class Scope:
    """The sources of one SELECT, UPDATE ... and those of the queries around it."""

    dialect: Dialect
    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    merged: dict[str, set[int]] = field(default_factory=dict)
    """Column key -> positions in `sources` whose columns USING or NATURAL made one."""
    fuzzy: bool = False
    """NATURAL over sources not known completely: what is merged cannot be told."""
    aliases: frozenset[str] = frozenset()
    """Keys of select aliases that the clause being looked at may use."""
    locals: frozenset[str] = frozenset()
    """Keys of names that are something else here (lambda parameters, named windows)."""

    def chain(self) -> Iterator[Scope]:
        """This scope and the ones around it, inside out."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def source(self, alias: str) -> Source | None:
        """The nearest source called `alias` (a key)."""
        for scope in self.chain():
            for source in scope.sources:
                if source.alias == alias:
                    return source
        return None

    def holders(self, column: str) -> list[Source]:
        """The sources of this scope that have `column` (a key); merged ones count once."""
        holding = [i for i, source in enumerate(self.sources) if source.has(column, self.dialect)]
        merged = self.merged.get(column, set())
        first = next((i for i in holding if i in merged), None)
        return [self.sources[i] for i in holding if i not in merged or i == first]

    def is_complete(self) -> bool:
        """Whether every source here and around is known completely."""
        return all(source.columns.complete for scope in self.chain() for source in scope.sources)

    def visible_columns(self) -> Iterator[tuple[str, str]]:
        """(column, source) of everything in scope, nearest first, for suggestions."""
        for scope in self.chain():
            for source in scope.sources:
                for column in source.columns.names:
                    yield column, source.name

    def merge(self, columns: Iterable[str], right: int) -> None:
        """USING: each column (a key) of the source at `right` and of those before it are one."""
        for column in columns:
            left = {i for i in range(right) if self.sources[i].has(column, self.dialect)}
            self.merged[column] = self.merged.get(column, set()) | left | {right}
