"""The text of a JOIN that brings a table in."""

from __future__ import annotations

from sql_assistant.keys import Pairs
from sql_assistant.repair_rules.sources import Source
from sql_assistant.repair_rules.statement import Broken, insert
from sql_assistant.schema import Table
from sql_assistant.types import Edit

_BEHIND_FROM = frozenset(
    (
        "WHERE GROUP HAVING ORDER LIMIT OFFSET FETCH UNION INTERSECT EXCEPT WINDOW QUALIFY RETURNING SET ;"
    ).split()
)


def join_edit(broken: Broken, index: int, table: Table, alias: str, partner: Source, pairs: Pairs) -> Edit:
    """JOIN `table` to `partner` by `pairs` (of `table`, of `partner`) in the SELECT of token `index`."""
    level = broken.level(index)
    start = next((i for i in level if broken.upper(i) == "FROM"), level[0])
    behind = next(
        (i for i in level if i > start and broken.upper(i) in _BEHIND_FROM), broken.span(index)[1] + 1
    )
    at = broken.tokens[behind - 1].end
    name = broken.written(table.name, table=True)
    called = f"{name} {alias}" if alias else name
    condition = equality(broken, alias or name, partner, pairs)
    return insert(at, f" {broken.keyword('JOIN')} {called} {broken.keyword('ON')} {condition}")


def equality(broken: Broken, qualifier: str, partner: Source, pairs: Pairs) -> str:
    """The condition that joins `qualifier` to `partner` by `pairs` (of the former, of the latter)."""
    return f" {broken.keyword('AND')} ".join(
        f"{qualifier}.{broken.written(own)} = {partner.qualifier}.{broken.written(other)}"
        for own, other in pairs
    )
