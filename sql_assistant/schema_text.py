"""A schema as the prompt shows it: compact, and the same text byte for byte for the same schema.

What fits the budget is shown whole and in the schema's own order. A larger schema is shown in two
parts: a base that depends on the schema alone, so that every request shares its tokens, and behind
it the tables that this statement needs and the base lacks. Knows nothing of tokens but how to count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sql_assistant import statements
from sql_assistant.schema import Column, Schema, Table

Count = Callable[[str], int]
"""How many tokens a text has."""

_BASE_SHARE = 0.5
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*")
_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MIN_WORD = 3
_MAX_COMMENT = 160


@dataclass(frozen=True, slots=True)
class SchemaText:
    """`base` is the same for every statement on the schema, `extra` is not; either may be empty."""

    base: str
    extra: str = ""

    @property
    def text(self) -> str:
        """Both parts, as the prompt has them."""
        return self.base + self.extra


def render(schema: Schema, budget_tokens: int, count: Count, prefix: str = "", suffix: str = "") -> str:
    """The schema's text within `budget_tokens`; see `select`."""
    return select(schema, budget_tokens, count, prefix, suffix).text


def select(
    schema: Schema, budget_tokens: int, count: Count, prefix: str = "", suffix: str = ""
) -> SchemaText:
    """All tables where they fit; else half the budget for the tables that most others refer to, and
    the rest for those that the statement between `prefix` and `suffix` needs, most wanted first:
    named in it, joined to those by a foreign key, named like a word of it.

    Both parts keep the schema's order, so the text moves little while somebody types.
    """
    texts = [render_table(table) for table in schema.tables]
    whole = "".join(texts)
    if len(whole) <= budget_tokens or count(whole) <= budget_tokens:
        return SchemaText(whole)
    costs = [count(text) for text in texts]
    base = _fill(_by_references(schema), costs, int(budget_tokens * _BASE_SHARE))
    left = budget_tokens - sum(costs[at] for at in base)
    wanted = [at for at in _by_need(schema, f"{prefix}\n{suffix}") if at not in base]
    extra = _fill(wanted, costs, left)
    return SchemaText(*("".join(texts[at] for at in sorted(part)) for part in (base, extra)))


def render_table(table: Table) -> str:
    """One table as a CREATE TABLE statement on a line of its own, with what a model makes use of."""
    keyed = table.primary_key if len(table.primary_key) == 1 else ()
    referred = {key.columns[0]: key for key in table.foreign_keys if len(key.columns) == 1}
    items = []
    for column in table.columns:
        foreign = referred.get(column.name)
        target = f" REFERENCES {_target(foreign.ref_table, foreign.ref_columns)}" if foreign else ""
        key = " PRIMARY KEY" if column.name in keyed else ""
        items.append(f"{_name(column.name)}{_type(column)}{key}{target}{_comment(column.comment)}")
    if len(table.primary_key) > 1:
        items.append(f"PRIMARY KEY ({_names(table.primary_key)})")
    items += [
        f"FOREIGN KEY ({_names(key.columns)}) REFERENCES {_target(key.ref_table, key.ref_columns)}"
        for key in table.foreign_keys
        if len(key.columns) > 1
    ]
    full = f"{_name(table.schema)}.{_name(table.name)}" if table.schema else _name(table.name)
    kind = "VIEW" if table.is_view else "TABLE"
    return f"CREATE {kind} {full} ({', '.join(items)});{_comment(table.comment)}\n"


def _target(table: str, columns: tuple[str, ...]) -> str:
    return f"{_name(table)}({_names(columns)})" if columns else _name(table)


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(_name, names))


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def _type(column: Column) -> str:
    """Lengths and precisions say little and cost tokens."""
    bare = re.sub(r"\s*\(\s*\d+\s*(,\s*\d+\s*)?\)", "", column.type)
    return f" {bare}" if bare else ""


def _comment(comment: str) -> str:
    words = " ".join(comment.replace("*/", "").split())
    return f" /* {words[:_MAX_COMMENT]} */" if words else ""


def _fill(order: Iterable[int], costs: list[int], budget: int) -> set[int]:
    """As many tables as fit, taken in `order`; one too large for what is left is passed over."""
    chosen: set[int] = set()
    for at in order:
        if costs[at] <= budget:
            chosen.add(at)
            budget -= costs[at]
    return chosen


def _by_references(schema: Schema) -> list[int]:
    """Positions of the tables, those that take part in most foreign keys first."""
    ties: Counter[str] = Counter()
    for table in schema.tables:
        for key in table.foreign_keys:
            ties[key.ref_table.lower()] += 1
            ties[table.name.lower()] += 1
    return sorted(range(len(schema.tables)), key=lambda at: (-ties[schema.tables[at].name.lower()], at))


def _by_need(schema: Schema, text: str) -> list[int]:
    """Positions of the tables that `text` may need, most wanted first; tables unlike it are left out."""
    mentioned = _mentioned(text, schema.dialect)
    spoken = set(_words(text))
    named = {at for at, table in enumerate(schema.tables) if table.name.lower() in mentioned}
    beside = _neighbours(schema, named)
    ranks = []
    for at, table in enumerate(schema.tables):
        own = set(_words(table.name))
        hits = len(own & spoken) / len(own) if own else 0.0
        inside = sum(bool(set(_words(column.name)) & spoken) for column in table.columns)
        ranks.append((at in named, at in beside, hits, inside))
    order = sorted(range(len(ranks)), key=lambda at: (*(-value for value in ranks[at]), at))
    return [at for at in order if any(ranks[at])]


def _mentioned(text: str, dialect: str) -> set[str]:
    return {
        text[piece.start : piece.end].strip('"`[]').lower()
        for piece in statements.pieces(text, dialect)
        if piece.kind in ("word", "name")
    }


def _neighbours(schema: Schema, named: set[int]) -> set[int]:
    """Tables one foreign key away from one of `named`, in either direction."""
    names = {schema.tables[at].name.lower() for at in named}
    referred = {key.ref_table.lower() for at in named for key in schema.tables[at].foreign_keys}
    return {
        at
        for at, table in enumerate(schema.tables)
        if table.name.lower() in referred or any(key.ref_table.lower() in names for key in table.foreign_keys)
    }


def _words(text: str) -> list[str]:
    """The words of a name or a text, lower case and without a plural s."""
    found = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text))]
    return [word.removesuffix("s") for word in found if len(word) >= _MIN_WORD]
