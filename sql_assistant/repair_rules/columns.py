"""Columns that do not exist where they are asked for, or exist twice."""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant.keys import keys_between
from sql_assistant.repair_rules.likeness import unlike
from sql_assistant.repair_rules.sources import Source, innermost, visible
from sql_assistant.repair_rules.statement import Broken, Fix, Token, bare, delete, insert, replace
from sql_assistant.repair_rules.tables import joined

_COMPARISONS = frozenset({"=", "<", ">", "LIKE", "ILIKE", "!", "("})


def misspelt_column(broken: Broken) -> Iterator[Fix]:
    """`nme`, `a.nme`: the columns in scope whose names are nearly that, everywhere it stands."""
    token = _wrong(broken)
    if token is None:
        return
    name, qualifier = bare(token.text), _qualifier(broken, broken.at)
    around = visible(broken, broken.at)
    holders = [s for s in around if not qualifier or s.qualifier.lower() == qualifier.text.lower()]
    found: dict[str, list[Source]] = {}
    for source in holders or around:
        for column in source.columns:
            found.setdefault(column, []).append(source)
    for right, having in found.items():
        cost = unlike(name, right)
        if cost is None:
            continue
        written = broken.written(right, like=token.text)
        several = not qualifier and len({source.scope for source in having[:2]}) == 1 < len(having)
        for rank, source in enumerate(having if several else having[:1]):
            text = f"{source.qualifier}.{written}" if several else written
            why = f"there is no column {name}; {right} is nearest"
            places = _same(broken, broken.at)
            if len(places) > 1:
                edits = tuple(replace(broken.tokens[i], text) for i in places)
                yield Fix(cost + 0.1 * rank - 0.02, edits, why)
            yield Fix(cost + 0.1 * rank, (replace(token, text),), why)


def output_name(broken: Broken) -> Iterator[Fix]:
    """A misspelt alias of the select list in GROUP BY, HAVING or ORDER BY."""
    token = _wrong(broken)
    if token is None or _qualifier(broken, broken.at):
        return
    for index in broken.level(broken.at):
        other = broken.tokens[index]
        if index < broken.at and other.is_name and broken.upper(index - 1) == "AS":
            cost = unlike(bare(token.text), bare(other.text))
            if cost is not None:
                yield Fix(
                    cost, (replace(token, other.text),), f"{other.text} is how the select list calls it"
                )


def wrong_qualifier(broken: Broken) -> Iterator[Fix]:
    """`a.title` where title is a column of b: the sources in scope that have it."""
    token = _wrong(broken)
    qualifier = _qualifier(broken, broken.at)
    if token is None or qualifier is None:
        return
    name = bare(token.text)
    ranked = _ranked(broken, [s for s in visible(broken, broken.at) if s.qualifier])
    other = _other_side(broken)
    holders = [
        s
        for s in ranked
        if s.has(name)
        and s.qualifier.lower() != qualifier.text.lower()
        and other != (s.qualifier.lower(), name.lower())  # equal to itself
    ]
    for rank, source in enumerate(holders):
        cost = 0.5 + 0.1 * rank + (0.1 if len(holders) > 1 else 0.0)
        why = f"{name} is a column of {source.name or source.qualifier}, not of {qualifier.text}"
        yield Fix(cost, (replace(qualifier, source.qualifier),), why)
    if not holders and name.lower() in _aliases(broken):
        # An output of the select list has no qualifier.
        yield Fix(1.3, (delete(broken, broken.at - 2, broken.at - 1),), f"{name} takes no qualifier")
    if not holders:
        for source in ranked:
            for right in source.columns:
                cost_of = unlike(name, right)
                if cost_of is not None and source.qualifier.lower() != qualifier.text.lower():
                    edits = (replace(qualifier, source.qualifier), replace(token, broken.written(right)))
                    yield Fix(0.5 + cost_of, edits, f"{source.qualifier} has no {name}; {right} is nearest")


def key_column(broken: Broken) -> Iterator[Fix]:
    """`a.author_id = b.id` where a key joins the two otherwise: by that key. Else `id` for a primary
    key that is called something else."""
    token = _wrong(broken)
    if token is None:
        return
    name, qualifier = bare(token.text), _qualifier(broken, broken.at)
    around = visible(broken, broken.at)
    holders = [s for s in around if not qualifier or s.qualifier.lower() == qualifier.text.lower()]
    other = _other_side(broken)
    partner = next((s for s in around if other and s.qualifier.lower() == other[0]), None)
    for source in holders:
        if source.table is None:
            continue
        if other and partner and partner is not source and partner.table:
            for pairs in keys_between(source.table, partner.table):
                for own, theirs in pairs:
                    if theirs.lower() == other[1]:
                        why = f"{source.qualifier}.{own} is what {partner.qualifier}.{theirs} refers to"
                        yield Fix(0.45, (replace(token, broken.written(own, like=token.text)),), why)
        key = source.table.primary_key
        if len(key) == 1 and name.lower() in ("id", f"{source.name.lower().rstrip('s')}_id"):
            why = f"the key of {source.name} is {key[0]}"
            yield Fix(0.6, (replace(token, broken.written(key[0], like=token.text)),), why)


def ambiguous(broken: Broken) -> Iterator[Fix]:
    """`id` that two sources have: qualified. One reading only where a join makes the two equal."""
    token = broken.token(broken.at)
    if broken.issue.kind != "ambiguous_column" or token is None:
        return
    name = bare(token.text)
    holders = [s for s in _ranked(broken, innermost(broken, broken.at)) if s.has(name) and s.qualifier]
    equal = _joined_on(broken, name)
    if holders and {s.qualifier.lower() for s in holders} <= equal:
        holders = holders[:1]
    for rank, source in enumerate(holders):
        edit = insert(token.start, f"{source.qualifier}.")
        yield Fix(0.4 + 0.1 * rank, (edit,), f"several sources have {name}; this is {source.qualifier}'s")


def quoted_value(broken: Broken) -> Iterator[Fix]:
    """`= Berlin`, or `= "Berlin"` where double quotes are for names: a string was meant."""
    token = _wrong(broken)
    if token is None or _qualifier(broken, broken.at) or broken.upper(broken.at + 1) in ("(", "."):
        return
    before = broken.upper(broken.at - 1)
    compared = before in _COMPARISONS or (before == "," and broken.tokens[broken.at].depth > 0)
    if compared or before in ("THEN", "ELSE", "AND"):
        text = "'" + bare(token.text).replace("'", "''") + "'"
        cost = 0.5 if token.text.startswith('"') else 1.1
        yield Fix(cost, (replace(token, text),), f"{bare(token.text)} is a value, so it stands in quotes")


def alias_used_too_early(broken: Broken) -> Iterator[Fix]:
    """`SELECT a * 2 AS b ... WHERE b > 1`: what the alias stands for, where the alias is not known yet."""
    token = _wrong(broken)
    if token is None or _qualifier(broken, broken.at):
        return
    level = broken.level(broken.at)
    for place, index in enumerate(level):
        if broken.upper(index) != "AS" or index + 1 >= len(broken.tokens) or index > broken.at:
            continue
        if bare(broken.tokens[index + 1].text).lower() != bare(token.text).lower():
            continue
        starts = [
            i
            for i in level[:place]
            if broken.tokens[i].text == "," or broken.upper(i) in ("SELECT", "DISTINCT")
        ]
        if starts:
            meaning = broken.text[broken.tokens[starts[-1] + 1].start : broken.tokens[index - 1].end]
            simple = index - starts[-1] == 2 or broken.tokens[index - 1].text == ")"
            text = meaning if simple else f"({meaning})"
            yield Fix(0.6, (replace(token, text),), f"{token.text} is not known yet at this place")


def column_of_another_table(broken: Broken) -> Iterator[Fix]:
    """A column that no source has but one table of the schema, which a key leads to: joined."""
    token = _wrong(broken)
    if token is None or broken.schema is None or _qualifier(broken, broken.at):
        return
    name = bare(token.text).lower()
    for table in broken.schema.tables:
        if any(column.name.lower() == name for column in table.columns):
            yield from joined(broken, table, "", 1.2)


def _wrong(broken: Broken) -> Token | None:
    return broken.token(broken.at) if broken.issue.kind == "unknown_column" else None


def _qualifier(broken: Broken, index: int) -> Token | None:
    return broken.token(index - 2) if broken.upper(index - 1) == "." else None


def _aliases(broken: Broken) -> set[str]:
    """What AS calls the outputs around, lower case."""
    tokens = broken.tokens
    return {bare(tokens[i].text).lower() for i in range(1, len(tokens)) if tokens[i - 1].upper == "AS"}


def _same(broken: Broken, index: int) -> list[int]:
    """The places where the same column is written with the same qualifier."""

    def spelled(at: int) -> tuple[str, str]:
        qualifier = _qualifier(broken, at)
        return broken.tokens[at].text.lower(), qualifier.text.lower() if qualifier else ""

    here = spelled(index)
    return [
        i
        for i, t in enumerate(broken.tokens)
        if t.is_name and spelled(i) == here and broken.upper(i + 1) != "."
    ]


def _ranked(broken: Broken, around: list[Source]) -> list[Source]:
    """The likelier first: on one side of `=`, not the source that stands on the other side, and rather
    one that a key joins to it."""
    other = _other_side(broken)
    if other is None:
        return around
    partner = next((s for s in around if s.qualifier.lower() == other[0]), None)
    name = bare(broken.tokens[broken.at].text).lower()

    def rank(source: Source) -> int:
        if source is partner:
            return 2
        if partner is None or partner.table is None or source.table is None:
            return 1
        pairs = keys_between(source.table, partner.table)
        return 0 if any((name, other[1]) == (a.lower(), b.lower()) for p in pairs for a, b in p) else 1

    return sorted(around, key=rank)


def _other_side(broken: Broken) -> tuple[str, str] | None:
    """(qualifier, column) on the other side of the `=` beside the token looked at, lower case."""
    first = broken.at - 2 if broken.upper(broken.at - 1) == "." else broken.at
    if broken.upper(first - 1) == "=" and broken.upper(first - 3) == ".":
        qualifier, column = broken.token(first - 4), broken.token(first - 2)
    elif broken.upper(broken.at + 1) == "=" and broken.upper(broken.at + 3) == ".":
        qualifier, column = broken.token(broken.at + 2), broken.token(broken.at + 4)
    else:
        return None
    if qualifier is None or column is None:
        return None
    return qualifier.text.lower(), bare(column.text).lower()


def _joined_on(broken: Broken, name: str) -> set[str]:
    """The qualifiers q of `q.name = r.name` in this statement, lower case."""
    found: set[str] = set()
    tokens = broken.tokens
    for i in range(3, len(tokens) - 3):
        if tokens[i].text == "=" and tokens[i - 2].text == tokens[i + 2].text == ".":
            if bare(tokens[i - 1].text).lower() == bare(tokens[i + 3].text).lower() == name.lower():
                found |= {tokens[i - 3].text.lower(), tokens[i + 1].text.lower()}
    return found
