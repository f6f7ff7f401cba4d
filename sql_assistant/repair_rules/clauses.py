"""Clauses that stand in the wrong order, twice, or in the words of another dialect."""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant.repair_rules.statement import Broken, Fix, delete, insert, replace
from sql_assistant.types import Edit

_RANK = {"SELECT": 0, "FROM": 1, "WHERE": 2, "GROUP": 3, "HAVING": 4, "ORDER": 6, "LIMIT": 7}
_NO_FETCH = ("sqlite", "mysql", "bigquery")


def double_where(broken: Broken) -> Iterator[Fix]:
    """A second WHERE adds a condition: AND."""
    token = broken.token(broken.at)
    if token is None or token.upper not in ("WHERE", "HAVING"):
        return
    before = [i for i in broken.level(broken.at) if i < broken.at]
    first = next((i for i in before if broken.upper(i) == token.upper), None)
    if first is None or any(broken.upper(i) in ("GROUP", "ORDER") for i in before if i > first):
        return
    edits = [replace(token, broken.keyword("AND"))]
    if any(broken.upper(i) == "OR" for i in before if i > first):
        # AND binds tighter: without brackets the second condition would join half of the first.
        edits += [insert(broken.tokens[first + 1].start, "("), insert(broken.tokens[broken.at - 1].end, ")")]
    yield Fix(0.5, tuple(edits), f"two {token.upper} clauses are joined by AND")


def clause_order(broken: Broken) -> Iterator[Fix]:
    """WHERE behind GROUP BY or ORDER BY, HAVING before GROUP BY: put into the order that SQL wants."""
    if not 0 <= broken.at < len(broken.tokens):
        return
    level = broken.level(broken.at)
    starts = [i for i in level if broken.upper(i) in _RANK and not _is_part(broken, i)]
    if not starts or broken.upper(starts[0]) not in ("SELECT", "FROM"):
        return
    ranks = [_RANK[broken.upper(i)] for i in starts]
    if ranks == sorted(ranks) or len(set(ranks)) < len(ranks):
        return
    last = max(level)
    while last + 1 < len(broken.tokens) and broken.tokens[last + 1].depth > broken.tokens[level[0]].depth:
        last += 1
    if broken.tokens[last].text == ";":
        last -= 1
    ends = [*(i - 1 for i in starts[1:]), last]
    text = broken.text
    parts = [text[broken.tokens[s].start : broken.tokens[e].end] for s, e in zip(starts, ends, strict=True)]
    ordered = [part for _, part in sorted(zip(ranks, parts, strict=True), key=lambda pair: pair[0])]
    gaps = [
        text[broken.tokens[end].end : broken.tokens[start].start]
        for end, start in zip(ends, starts[1:], strict=False)
    ]
    joined = "".join(part + gap for part, gap in zip(ordered, [*gaps, ""], strict=True))
    edit = Edit(start=broken.tokens[starts[0]].start, end=broken.tokens[last].end, text=joined)
    yield Fix(0.9, (edit,), "the clauses stood in the wrong order")


def _is_part(broken: Broken, index: int) -> bool:
    """IS DISTINCT FROM, WITHIN GROUP, DELETE FROM: no clause of a SELECT starts here."""
    return broken.upper(index - 1) in ("DISTINCT", "WITHIN", "DELETE", ".")


def top(broken: Broken) -> Iterator[Fix]:
    """SELECT TOP n, which is SQL Server's, where the dialect says LIMIT n."""
    if broken.dialect.name in ("tsql", "snowflake"):
        return
    for index, token in enumerate(broken.tokens):
        if token.upper != "TOP" or broken.upper(index - 1) not in ("SELECT", "DISTINCT"):
            continue
        first = last = index + 1
        if broken.upper(first) == "(":
            first, last = first + 1, first + 2
        count = broken.token(first)
        if count is None or count.kind not in ("number", "parameter") or last >= len(broken.tokens):
            continue
        end = broken.tokens[max(broken.level(index))]
        at = broken.tokens[_end(broken, index)].end
        if end.start < count.end:
            continue
        limit = f" {broken.keyword('LIMIT')} {count.text}"
        yield Fix(
            0.5,
            (delete(broken, index, last), insert(at, limit)),
            f"{broken.dialect.label} writes LIMIT {count.text}, not TOP",
        )


def fetch_first(broken: Broken) -> Iterator[Fix]:
    """FETCH FIRST n ROWS ONLY where the dialect says LIMIT n."""
    if broken.dialect.name not in _NO_FETCH:
        return
    for index, token in enumerate(broken.tokens):
        count = broken.token(index + 2)
        words = [broken.upper(index + n) for n in (0, 1, 3, 4)]
        if count is None or words[0] != "FETCH" or words[1] not in ("FIRST", "NEXT"):
            continue
        if count.kind != "number" or words[2] not in ("ROW", "ROWS") or words[3] != "ONLY":
            continue
        edits = [
            Edit(
                start=token.start,
                end=broken.tokens[index + 4].end,
                text=f"{broken.keyword('LIMIT')} {count.text}",
            )
        ]
        yield Fix(0.4, tuple(edits), f"{broken.dialect.label} writes LIMIT {count.text}, not FETCH FIRST")


def _end(broken: Broken, index: int) -> int:
    """The last token of the SELECT at `index`, with brackets that belong to it."""
    last = max(broken.level(index))
    depth = broken.tokens[index].depth
    while last + 1 < len(broken.tokens) and broken.tokens[last + 1].depth > depth:
        last += 1
    return last - 1 if broken.tokens[last].text == ";" else last
