"""What a statement's FROM, JOIN, UPDATE and WITH bring into scope, read off its tokens.

A guess by design: it also works where the statement does not parse. Whatever it gets wrong, the
validation of the mended statement finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from sql_assistant.repair_rules.statement import KEYWORDS, Broken, bare
from sql_assistant.schema import Table

_OPENS_SOURCE = frozenset({"FROM", "JOIN", "UPDATE", "INTO"})


@dataclass(frozen=True, slots=True)
class Source:
    """One item of FROM. Indexes are of tokens."""

    name: str
    """Of the table, without quotes; "" for a subquery."""
    qualifier: str
    """As written, to be put before a column: the alias, else the table's name."""
    columns: tuple[str, ...]
    table: Table | None
    first: int
    last: int
    has_alias: bool
    scope: tuple[int, int]
    """The first and last token of the SELECT that it belongs to, nested queries included."""

    def has(self, column: str) -> bool:
        """Whether it has that column, letter case aside."""
        return column.lower() in (name.lower() for name in self.columns)

    def visible_at(self, index: int) -> bool:
        """Whether the token at `index` stands in its SELECT or in a query nested in that."""
        return self.scope[0] <= index <= self.scope[1]


@lru_cache(maxsize=8)
def sources(broken: Broken) -> tuple[Source, ...]:
    """Every source of the statement, in the order of the text."""
    common = _common_tables(broken)
    return tuple(_in_from(broken, common))


def visible(broken: Broken, index: int) -> list[Source]:
    """The sources in scope at a token: those of its own SELECT first, then those around it."""
    found = [source for source in sources(broken) if source.visible_at(index)]
    return sorted(found, key=lambda source: source.scope[1] - source.scope[0])


def innermost(broken: Broken, index: int) -> list[Source]:
    """The sources of the SELECT that the token itself stands in."""
    found = visible(broken, index)
    return [source for source in found if source.scope == found[0].scope]


def find_table(broken: Broken, name: str) -> Table | None:
    """The schema's table of that name, letter case aside."""
    tables = broken.schema.tables if broken.schema else ()
    return next((table for table in tables if table.name.lower() == name.lower()), None)


def common_table_names(broken: Broken) -> list[str]:
    """The names that WITH gives."""
    return list(_common_tables(broken))


@lru_cache(maxsize=8)
def _common_tables(broken: Broken) -> dict[str, tuple[str, ...]]:
    """CTE names and their columns."""
    found: dict[str, tuple[str, ...]] = {}
    for index, token in enumerate(broken.tokens):
        if token.upper != "AS" or index < 2 or broken.upper(index + 1) != "(":
            continue
        if broken.upper(index + 2) not in ("SELECT", "WITH", "VALUES"):
            continue
        name, listed = index - 1, []
        if broken.upper(name) == ")":
            name = broken.opening(name) - 1
            listed = [bare(t.text) for t in broken.tokens[name + 2 : index - 1] if t.text != ","]
        if name > 0 and broken.upper(name - 1) in ("WITH", "RECURSIVE", ","):
            outputs = tuple(listed) or _outputs(broken, index + 2)
            found.setdefault(bare(broken.tokens[name].text), outputs)
    return found


def _in_from(broken: Broken, common: dict[str, tuple[str, ...]]) -> Iterator[Source]:
    for index, token in enumerate(broken.tokens[:-1]):
        opens = token.upper in _OPENS_SOURCE and broken.upper(index - 1) != "DISTINCT"
        opens |= token.text == "," and broken.clause(index) in ("FROM", "JOIN")
        if opens:
            source = _source(broken, index + 1, common)
            if source is not None:
                yield source


def _source(broken: Broken, first: int, common: dict[str, tuple[str, ...]]) -> Source | None:
    """The item of FROM whose first token is at `first`."""
    token = broken.token(first)
    name, table, last = "", None, first
    columns: tuple[str, ...] = ()
    if token is None:
        return None
    if token.text == "(":
        last = broken.closing(first)
        columns = _outputs(broken, first + 1)
    elif token.is_name:
        while broken.upper(last + 1) == "." and last + 2 < len(broken.tokens):
            last += 2
        name = bare(broken.tokens[last].text)
        table = find_table(broken, name)
        columns = tuple(column.name for column in table.columns) if table else ()
        columns = next((c for n, c in common.items() if n.lower() == name.lower()), columns)
    else:
        return None
    qualifier, end = broken.tokens[last].text, last
    alias = last + 2 if broken.upper(last + 1) == "AS" else last + 1
    found = broken.token(alias)
    has_alias = found is not None and found.is_name and found.upper not in KEYWORDS
    if found is not None and has_alias:
        qualifier, end = found.text, alias
    elif token.text == "(":
        qualifier = ""
    return Source(name, qualifier, columns, table, first, end, has_alias, broken.span(first))


def _outputs(broken: Broken, index: int) -> tuple[str, ...]:
    """The columns of the SELECT that starts at `index`; a star stands for those of the tables
    behind it."""
    if broken.upper(index) != "SELECT":
        return ()
    names: list[str] = []
    level = [i for i in broken.level(index) if i > index]
    for place, i in enumerate(level):
        token = broken.tokens[i]
        after = broken.tokens[level[place + 1]] if place + 1 < len(level) else None
        ends = after is None or after.text in (",", ")") or after.upper == "FROM"
        if token.upper == "FROM":
            break
        if ends and token.text == "*":
            names += _starred(broken, level[place:])
        elif ends and token.is_name:
            names.append(bare(token.text))
    return tuple(names)


def _starred(broken: Broken, level: list[int]) -> list[str]:
    found: list[str] = []
    for i in level:
        if broken.upper(i) in ("FROM", "JOIN") and i + 1 < len(broken.tokens):
            table = find_table(broken, bare(broken.tokens[i + 1].text))
            found += [column.name for column in table.columns] if table else []
    return found
