"""Names of tables and columns as words of a question, and figures as people write them."""

from __future__ import annotations

from collections.abc import Sequence

from distill.sqltrack.columns import words

_SAME = {"species": "species", "staff": "staff", "series": "series", "people": "person"}
_PLURALS = {"species": "species", "staff": "staff", "series": "series", "person": "people"}
_PREFIXES = frozenset({"tbl", "tb", "t", "dim", "fact"})
_SHORT = {"qty": "quantity", "no": "number", "dept": "department", "emp": "employee"}
_ENDS = {"on": "date", "at": "time"}


def singular(table: str) -> str:
    """`tbl_order_items` → order item."""
    own = words(table)
    own = own[1:] if len(own) > 1 and own[0] in _PREFIXES else own
    last = own[-1]
    if last in _SAME:
        last = _SAME[last]
    elif last.endswith("ies"):
        last = f"{last[:-3]}y"
    elif last.endswith(("sses", "xes", "ches", "shes")):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")):
        last = last[:-1]
    return " ".join([*own[:-1], last])


def plural(table: str) -> str:
    """`order_item` → order items."""
    *first, last = singular(table).split()
    if last in _PLURALS:
        last = _PLURALS[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "es" if last.endswith(("s", "x", "ch", "sh")) else "s"
    return " ".join([*first, last])


def column(name: str) -> str:
    """`shipping_cost` → shipping cost, `posted_on` → posted date, `is_green` → green."""
    own = words(name)
    if len(own) > 1:
        own = own[1:] if own[0] in ("is", "has") else [*own[:-1], _ENDS.get(own[-1], own[-1])]
    return " ".join(_SHORT.get(word, word) for word in own)


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def some(noun: str) -> str:
    """With its article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
