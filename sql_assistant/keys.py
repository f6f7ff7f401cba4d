"""Which columns join two tables."""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant.schema import Table

Pairs = tuple[tuple[str, str], ...]
"""(column of the first table, column of the second), pairwise equal."""


def keys_between(first: Table, second: Table) -> list[Pairs]:
    """How two tables are joined: by declared foreign keys; where there are none, by columns named so."""
    declared: list[Pairs] = []
    for one, other, swapped in ((first, second, False), (second, first, True)):
        for key in one.foreign_keys:
            if key.ref_table.lower() == other.name.lower():
                targets = key.ref_columns or other.primary_key
                pairs = tuple(zip(key.columns, targets, strict=False))
                declared.append(tuple((b, a) for a, b in pairs) if swapped else pairs)
    return [pairs for pairs in declared if pairs] or list(_by_name(first, second))


def _by_name(first: Table, second: Table) -> Iterator[Pairs]:
    """`author_id` in both; `id` of author and `author_id`; `author` or `author_id` and a key `id`."""
    names = {column.name.lower(): column.name for column in first.columns}
    others = {column.name.lower(): column.name for column in second.columns}
    for name in names:
        if name in others and len(name) > 2 and name.endswith("id"):
            yield ((names[name], others[name]),)
    for stem, mine, theirs, swapped in (
        (first.name.lower().rstrip("s"), names, others, False),
        (second.name.lower().rstrip("s"), others, names, True),
    ):
        for name in (f"{stem}_id", f"{stem}id", f"{first.name if not swapped else second.name}_id".lower()):
            if "id" in mine and name in theirs:
                pair = (mine["id"], theirs[name])
                yield ((pair[1], pair[0]) if swapped else pair,)
                break
