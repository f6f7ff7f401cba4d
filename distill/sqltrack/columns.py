"""What a column holds, told by its type, name, comment and CHECK: once, for rows and for questions alike.

Knows no rows and no statements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from distill.sqltrack import pools
from sql_assistant import dialects
from sql_assistant.schema import Column, Schema, Table

Kind = Literal[
    "key", "foreign", "flag", "choice", "date", "moment", "year", "amount", "count", "label", "text"
]
Key = tuple[str, str]
"""Table and column, lower case."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BOOLEAN = re.compile(r"BOOL|\bBIT\b", re.I)
_MOMENT = re.compile(r"DATETIME|TIMESTAMP", re.I)
_DATE = re.compile(r"\bDATE\b", re.I)
_WHOLE = re.compile(r"INT|SERIAL", re.I)
_BROKEN_NUMBER = re.compile(r"DEC|NUM|REAL|FLOA|DOUB|MONEY", re.I)
_ITEM = r"'?[A-Za-z][\w-]*(?: [\w-]+)?'?"
_LISTED = re.compile(rf"(?:one of:? )?({_ITEM}(?:, {_ITEM})+(?:,? or {_ITEM})?)", re.I)
_RANGE = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)")
_LABELS = frozenset("name title label company username subject email fullname".split())
_MOST_CHOICES = 8


@dataclass(frozen=True, slots=True)
class Trait:
    """One column; `low` and `high` bound numbers where the schema says so."""

    kind: Kind
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    unique: bool = False
    nullable: bool = True


@dataclass(slots=True)
class _Constraint:
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    unique: bool = False


def words(name: str) -> list[str]:
    """The lower-case words of a name: `HomeTeamId`, `home_team_id` → home, team, id."""
    return [word for word in re.split(r"[_\W]+", _CAMEL.sub("_", name).lower()) if word]


def key(table: str, column: str) -> Key:
    """How traits are looked up."""
    return table.lower(), column.lower()


def traits(schema: Schema, ddl: str) -> dict[Key, Trait]:
    """What every column of `schema` holds; CHECK and UNIQUE are read out of its `ddl`."""
    constraints = _constraints(ddl, schema.dialect)
    return {
        key(table.name, column.name): _trait(
            table, column, constraints.get(key(table.name, column.name), _Constraint())
        )
        for table in schema.tables
        for column in table.columns
    }


def _trait(table: Table, column: Column, constraint: _Constraint) -> Trait:
    is_key = table.primary_key == (column.name,)
    kind, choices = _kind(table, column, constraint)
    low, high = constraint.low, constraint.high
    ranged = _RANGE.search(column.comment)
    if low is None and ranged is not None and kind in ("amount", "count"):
        low, high = float(ranged[1]), float(ranged[2])
    return Trait(kind, choices, low, high, constraint.unique or is_key, column.nullable and not is_key)


def _kind(table: Table, column: Column, constraint: _Constraint) -> tuple[Kind, tuple[str, ...]]:
    referring = {name.lower() for foreign in table.foreign_keys for name in foreign.columns}
    if column.name.lower() in referring:
        return "foreign", ()
    if table.primary_key == (column.name,):
        return "key", ()
    own = words(column.name)
    if constraint.choices:
        return "choice", constraint.choices
    if _BOOLEAN.search(column.type) or own[0] in ("is", "has") or column.comment.startswith("0 or 1"):
        return "flag", ()
    if _MOMENT.search(column.type):
        return "moment", ()
    if _DATE.search(column.type):
        return "date", ()
    if _WHOLE.search(column.type):
        return ("year" if "year" in own else "count"), ()
    if _BROKEN_NUMBER.search(column.type):
        return "amount", ()
    return _kind_of_text(column, own)


def _kind_of_text(column: Column, own: list[str]) -> tuple[Kind, tuple[str, ...]]:
    if own[-1] in ("date", "on", "day"):
        return "date", ()
    if own[-1] in ("at", "timestamp", "datetime"):
        return "moment", ()
    listed = _LISTED.fullmatch(column.comment.strip().rstrip("."))
    if listed is not None:
        found = tuple(item.strip(" '") for item in re.split(r",? or |, ", listed[1]))
        if 2 <= len(found) <= _MOST_CHOICES:
            return "choice", found
    if _LABELS & set(own) or own[-1].endswith("name"):
        return "label", ()
    pooled = next((pools.FEW[word] for word in reversed(own) if word in pools.FEW), ())
    return ("choice", pooled) if pooled else ("text", ())


def _constraints(ddl: str, dialect: str) -> Mapping[Key, _Constraint]:
    found: dict[Key, _Constraint] = {}
    try:
        trees = sqlglot.parse(ddl, read=dialects.get(dialect).sqlglot)
    except SqlglotError:
        return found  # Our own reader took the DDL; what sqlglot cannot read has no CHECK that we know.
    for tree in trees:
        if not isinstance(tree, exp.Create) or not isinstance(tree.this, exp.Schema):
            continue
        table = tree.this.this.name
        for item in tree.this.expressions:
            column = item.name if isinstance(item, exp.ColumnDef) else ""
            for check in item.find_all(exp.CheckColumnConstraint, exp.Check):
                _read_check(check, table, found)
            if column and item.find(exp.UniqueColumnConstraint) is not None:
                found.setdefault(key(table, column), _Constraint()).unique = True
            elif isinstance(item, exp.UniqueColumnConstraint):
                names = [name.name for name in item.find_all(exp.Identifier)]
                if len(names) == 1:
                    found.setdefault(key(table, names[0]), _Constraint()).unique = True
    return found


def _read_check(check: exp.Expr, table: str, found: dict[Key, _Constraint]) -> None:
    for node in check.find_all(exp.In, exp.Between, exp.GTE, exp.GT, exp.LTE, exp.LT):
        if not isinstance(node.this, exp.Column):
            continue
        into = found.setdefault(key(table, node.this.name), _Constraint())
        if isinstance(node, exp.In):
            values = [one.this for one in node.expressions if isinstance(one, exp.Literal) and one.is_string]
            into.choices = tuple(values) or into.choices
        elif isinstance(node, exp.Between):
            into.low, into.high = _number(node.args["low"]), _number(node.args["high"])
        else:
            _bound(node, into)


def _bound(node: exp.Expr, into: _Constraint) -> None:
    value = _number(node.expression)
    if value is None:
        return
    if isinstance(node, (exp.GTE, exp.GT)):
        into.low = value + isinstance(node, exp.GT)
    else:
        into.high = value - isinstance(node, exp.LT)


def _number(node: exp.Expr) -> float | None:
    return float(node.this) if isinstance(node, exp.Literal) and not node.is_string else None
