"""Tables that do not exist and qualifiers that stand for nothing here."""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant.keys import keys_between
from sql_assistant.repair_rules.joins import equality, join_edit
from sql_assistant.repair_rules.likeness import unlike
from sql_assistant.repair_rules.sources import (
    Source,
    common_table_names,
    find_table,
    innermost,
    sources,
    visible,
)
from sql_assistant.repair_rules.statement import Broken, Fix, Token, bare, insert, replace
from sql_assistant.schema import Table


def misspelt_table(broken: Broken) -> Iterator[Fix]:
    """`FROM autor`: the tables whose names are nearly that, everywhere it stands."""
    token = _wrong(broken)
    if token is None or _is_qualifier(broken):
        return
    name = bare(token.text)
    stored = {
        table.name: broken.written(table.name, like=token.text, table=True) for table in _tables(broken)
    }
    for right in dict.fromkeys([*common_table_names(broken), *stored]):
        cost = unlike(name, right)
        if cost is None:
            continue
        text = stored.get(right, right)
        places = [t for t in broken.tokens if t.kind == token.kind and t.text.lower() == token.text.lower()]
        why = f"there is no table {name}; {right} is nearest"
        if len(places) > 1:
            yield Fix(cost - 0.05, tuple(replace(place, text) for place in places), why)
        yield Fix(cost, (replace(token, text),), why)


def table_by_columns(broken: Broken) -> Iterator[Fix]:
    """`FROM users u WHERE u.email`: the only table that has all columns the statement asks of it."""
    token = _wrong(broken)
    if token is None or _is_qualifier(broken):
        return
    source = next((s for s in sources(broken) if s.first <= broken.at <= s.last), None)
    if source is None:
        return
    asked = _columns_of(broken, source.qualifier)
    holders = [t for t in _tables(broken) if asked and asked <= {c.name.lower() for c in t.columns}]
    if len(holders) == 1:
        text = broken.written(holders[0].name, like=token.text, table=True)
        edits = [replace(token, text)]
        if not source.has_alias:
            edits = [replace(t, text) for t in broken.tokens if t.text.lower() == token.text.lower()]
        yield Fix(1.4, tuple(edits), f"there is no table {token.text}; {text} alone has these columns")


def unknown_qualifier(broken: Broken) -> Iterator[Fix]:
    """`x.name` where nothing is called x: the source that is nearly called so or that has the column."""
    token = _wrong(broken)
    if token is None or not _is_qualifier(broken):
        return
    name = bare(token.text)
    column = broken.token(broken.at + 2)
    asked = bare(column.text).lower() if column else ""
    places = _places(broken, token)
    wanted = {bare(broken.tokens[i + 2].text).lower() for i in places if i + 2 < len(broken.tokens)}
    around = [source for source in visible(broken, broken.at) if source.qualifier]
    holders = [source for source in around if source.has(asked) or asked == "*" or not source.columns]
    for source in around:
        cost = _likely(name, source, holders)
        if cost is None:
            continue
        whole = all(source.has(one) or one == "*" for one in wanted) or not source.columns
        why = f"nothing is called {name} here; {source.qualifier} has {asked}"
        if len(places) > 1:
            edits = tuple(replace(broken.tokens[i], source.qualifier) for i in places)
            yield Fix(cost - (0.05 if whole else -0.3), edits, why)
        if source in holders:
            yield Fix(
                cost + (0.2 if whole and len(places) > 1 else 0.0), (replace(token, source.qualifier),), why
            )


def missing_alias(broken: Broken) -> Iterator[Fix]:
    """`SELECT a.name FROM author`: the alias was used and never given."""
    token = _wrong(broken)
    if token is None or not _is_qualifier(broken):
        return
    name = bare(token.text)
    wanted = {bare(broken.tokens[i + 2].text).lower() for i in _places(broken, token)}
    for source in visible(broken, broken.at):
        if source.has_alias or source.table is None or not all(source.has(one) for one in wanted):
            continue
        used = any(_is_qualifier(broken, i) for i in _places(broken, broken.tokens[source.last]))
        if not used and is_short_for(name, source.name):
            edit = insert(broken.tokens[source.last].end, f" {broken.keyword('AS')} {token.text}")
            yield Fix(0.4, (edit,), f"{source.name} was never given the alias {name}")


def table_not_joined(broken: Broken) -> Iterator[Fix]:
    """`book.title` without book in FROM: joined by the key between it and what is there."""
    token = _wrong(broken)
    if token is None or not _is_qualifier(broken):
        return
    name = bare(token.text)
    wanted = {bare(broken.tokens[i + 2].text).lower() for i in _places(broken, token)}
    exact = find_table(broken, name)
    tables = [exact] if exact else [t for t in _tables(broken) if is_short_for(name, t.name)]
    for table in tables:
        if not wanted - {"*"} <= {column.name.lower() for column in table.columns}:
            continue
        alias = "" if exact else token.text
        yield from joined(broken, table, alias, 1.0 if exact else 1.3)


def joined(broken: Broken, table: Table, alias: str, cost: float) -> Iterator[Fix]:
    """`table` joined to each source of this SELECT that a key leads to."""
    for source in innermost(broken, broken.at):
        if source.table is None or source.table is table:
            continue
        for pairs in keys_between(table, source.table):
            edit = join_edit(broken, source.first, table, alias, source, pairs)
            yield Fix(cost, (edit,), f"{table.name} was used but not joined")
            cost += 0.1


def missing_condition(broken: Broken) -> Iterator[Fix]:
    """`JOIN book b` without ON, where the dialect wants one: by the keys that lead to it."""
    if broken.issue.kind != "syntax" or "condition of a JOIN" not in broken.issue.message:
        return
    here = next((s for s in sources(broken) if s.first <= broken.at <= s.last), None)
    if here is None or here.table is None:
        return
    cost = 0.5
    for source in innermost(broken, here.first):
        if source.table is None or source.first >= here.first:
            continue
        for pairs in keys_between(here.table, source.table):
            condition = equality(broken, here.qualifier, source, pairs)
            edit = insert(broken.tokens[here.last].end, f" {broken.keyword('ON')} {condition}")
            yield Fix(cost, (edit,), f"a key joins {here.name} to {source.name}")
            cost += 0.1


def is_short_for(alias: str, name: str) -> bool:
    """`a`, `au` for author; `oi` for order_items."""
    first, second = alias.lower(), name.lower()
    initials = "".join(part[0] for part in second.split("_") if part)
    return second.startswith(first) or first == initials


def _likely(name: str, source: Source, holders: list[Source]) -> float | None:
    if source.name.lower() == name.lower():
        return 0.3
    cost = unlike(name, bare(source.qualifier)) if len(name) > 1 else None
    if cost is not None and (source in holders or cost <= 0.5):
        return cost
    if source in holders:
        far = 0.1 * holders.index(source)
        return (0.6 if len(holders) == 1 else 0.8) + far
    return None


def _wrong(broken: Broken) -> Token | None:
    return broken.token(broken.at) if broken.issue.kind == "unknown_table" else None


def _is_qualifier(broken: Broken, index: int | None = None) -> bool:
    """Whether a column, not a table, follows: `x.` outside of FROM."""
    at = broken.at if index is None else index
    if broken.upper(at + 1) != ".":
        return False
    return not any(source.first <= at <= source.last and source.name for source in sources(broken))


def _places(broken: Broken, token: Token) -> list[int]:
    """The tokens spelled like `token` that a dot and a name follow."""
    return [
        i
        for i, other in enumerate(broken.tokens[:-2])
        if other.kind == token.kind
        and other.text.lower() == token.text.lower()
        and broken.upper(i + 1) == "."
    ]


def _columns_of(broken: Broken, qualifier: str) -> set[str]:
    """The columns asked of a source, lower case."""
    found = set()
    for index, token in enumerate(broken.tokens[:-2]):
        if token.text.lower() == qualifier.lower() and broken.upper(index + 1) == ".":
            found.add(bare(broken.tokens[index + 2].text).lower())
    return found - {"*"}


def _tables(broken: Broken) -> tuple[Table, ...]:
    return broken.schema.tables if broken.schema else ()
