"""Questions with statements over several tables, joined along foreign keys."""

from __future__ import annotations

from distill.sqltrack import wording
from distill.sqltrack.drawing import (
    NUMBERS,
    Drawing,
    Join,
    NothingToDraw,
    Source,
    called,
    literal,
    quoted,
)
from distill.sqltrack.query import Query, write
from distill.sqltrack.templates import shown_columns, template
from sql_assistant.schema import Table

_PAIR_WORDS = ("source", "target")


def refs(draw: Drawing, source: Source, sources: list[Source]) -> list[str]:
    """What rows of `source` are called by."""
    return [draw.ref(source, column, sources) for column in draw.labels(source.table)]


def two(draw: Drawing, join: Join) -> tuple[Source, Source, list[Source]]:
    """Child, parent, and both in the order in which FROM and JOIN name them."""
    tables = [join.child, join.parent]
    if draw.chance.random() < 0.4:
        tables.reverse()
    sources = draw.sources(tables)
    child = next(s for s in sources if s.table is join.child)
    parent = next(s for s in sources if s.table is join.parent)
    return child, parent, sources


def label_words(draw: Drawing, table: Table) -> str:
    return wording.listed([wording.column(c.name) for c in draw.labels(table)])


@template("join/list")
def _list(draw: Drawing) -> tuple[str, str]:
    join = draw.join()
    child, parent, sources = two(draw, join)
    shown = shown_columns(draw, join.child)
    query = Query(
        [*(draw.ref(child, c, sources) for c in shown), *refs(draw, parent, sources)],
        sources[0].text,
        [draw.on(join, sources)],
    )
    role = " ".join(wording.column(join.foreign.columns[0]).split()[:-1]) or wording.singular(
        join.parent.name
    )
    question = f"Show {called(shown, join.child)} with the {label_words(draw, join.parent)} of their {role}"
    if draw.chance.random() < 0.4:
        query.order = [draw.ref(parent, draw.labels(join.parent)[0], sources)]
        question += f", sorted by the {role}"
    return question, write(query, draw.style)


@template("join/filter")
def _filter(draw: Drawing) -> tuple[str, str]:
    join = draw.join(parent=("choice",))
    child, parent, sources = two(draw, join)
    column = draw.column(join.parent, "choice")
    value, shown = draw.value(join.parent, column), shown_columns(draw, join.child)
    query = Query(
        [draw.ref(child, c, sources) for c in shown],
        sources[0].text,
        [draw.on(join, sources)],
        [f"{draw.ref(parent, column, sources)} = {literal(value)}"],
    )
    of = wording.singular(join.parent.name)
    question = draw.pick(
        f"List {called(shown, join.child)} whose {of} has the {wording.column(column.name)} {value}",
        f"{called(shown, join.child)} for {wording.plural(join.parent.name)} with "
        f"{wording.column(column.name)} {value}",
    )
    return question, write(query, draw.style)


@template("join/path")
def _path(draw: Drawing) -> tuple[str, str]:
    length = draw.chance.choice((2, 2, 3))
    tables, joins = draw.path(length)
    sources = draw.sources(tables)
    last = sources[-1]
    query = Query(
        [*refs(draw, sources[0], sources), *refs(draw, last, sources)],
        sources[0].text,
        [draw.on(j, sources, new=s) for j, s in zip(joins, sources[1:], strict=True)],
        distinct=draw.chance.random() < 0.5,
    )
    between = wording.listed([wording.plural(t.name) for t in tables[1:-1]])
    question = (
        f"Show the {label_words(draw, tables[0])} of the {wording.plural(tables[0].name)} with the "
        f"{label_words(draw, tables[-1])} of their {wording.plural(tables[-1].name)}, through the {between}"
    )
    filters = draw.columns(last.table, "choice")
    if filters and draw.chance.random() < 0.6:
        column = draw.chance.choice(filters)
        value = draw.value(last.table, column)
        query.where = [f"{draw.ref(last, column, sources)} = {literal(value)}"]
        of = wording.singular(last.table.name)
        question += f"; only where the {wording.column(column.name)} of the {of} is {value}"
    return question + (", without repetitions" if query.distinct else ""), write(query, draw.style)


@template("join/count")
def _count(draw: Drawing) -> tuple[str, str]:
    join = draw.join()
    left = draw.chance.random() < 0.5
    sources = draw.sources([join.parent, join.child])
    parent, child = sources
    labels, keys = (
        refs(draw, parent, sources),
        [f"{parent.name}.{quoted(c)}" for c in join.foreign.ref_columns],
    )
    counted = f"COUNT({child.name}.{quoted(join.foreign.columns[0])})" if left else "COUNT(*)"
    alias = "_".join(wording.singular(join.child.name).split()) + "_count"
    query = Query(
        [*labels, f"{counted} AS {alias}"], parent.text, [draw.on(join, sources, left=left)],
        group=[*dict.fromkeys((*keys, *labels))],
    )  # fmt: skip
    children = wording.plural(join.child.name)
    question = draw.pick(
        f"How many {children} does each {wording.singular(join.parent.name)} have?",
        f"Count the {children} of every {wording.singular(join.parent.name)}.",
    )
    question += " Also those without any." if left else ""
    kind = draw.chance.choice(("", "order", "having", "top"))
    if kind == "having" and not left:
        least = draw.chance.choice((2, 3, 4))
        query.having = [f"{counted} >= {least}"]
        question += f" Only those with at least {least}."
    elif kind in ("order", "top"):
        query.order = [f"{alias} DESC"]
        query.limit = 5 if kind == "top" else 0
        question += " The first five by that number." if kind == "top" else " Most first."
    return f"{question} Show the {label_words(draw, join.parent)}.", write(query, draw.style)


@template("join/aggregate")
def _aggregate(draw: Drawing) -> tuple[str, str]:
    join = draw.join(child=NUMBERS)
    child, parent, sources = two(draw, join)
    number = draw.column(join.child, *NUMBERS)
    function, words = draw.chance.choice(
        (("SUM", "total"), ("AVG", "average"), ("MAX", "highest"), ("MIN", "lowest"))
    )
    value = f"{function}({draw.ref(child, number, sources)})"
    alias = f"{'total' if function == 'SUM' else function.lower()}_{'_'.join(wording.column(number.name).split())}"
    groups = draw.columns(join.parent, "choice")
    if groups and draw.chance.random() < 0.5:
        column = draw.chance.choice(groups)
        shown, by = (
            [draw.ref(parent, column, sources)],
            f"{wording.column(column.name)} of the {wording.singular(join.parent.name)}",
        )
    else:
        shown = refs(draw, parent, sources)
        by = f"{wording.singular(join.parent.name)}, by {label_words(draw, join.parent)}"
    query = Query(
        [*shown, f"{value} AS {alias}"], sources[0].text, [draw.on(join, sources)], group=list(shown)
    )
    question = f"What is the {words} {wording.column(number.name)} of the {wording.plural(join.child.name)} per {by}?"
    if draw.chance.random() < 0.6:
        query.order = [f"{alias} DESC"]
        question += " Highest first."
        if draw.chance.random() < 0.5:
            query.limit = draw.chance.choice((3, 5))
            question += f" Only the first {query.limit}."
    return question, write(query, draw.style)


@template("join/path-aggregate")
def _path_aggregate(draw: Drawing) -> tuple[str, str]:
    # From parents down to children: a measure of the last table is not doubled by the joins.
    tables, joins = draw.path(2, down=True)
    sources = draw.sources(tables)
    numbers = draw.columns(tables[-1], *NUMBERS)
    if numbers and draw.chance.random() < 0.6:
        number = draw.chance.choice(numbers)
        value = f"SUM({draw.ref(sources[-1], number, sources)})"
        alias, words = (
            "total",
            f"total {wording.column(number.name)} of the {wording.plural(tables[-1].name)}",
        )
    else:
        value, alias, words = "COUNT(*)", "n", f"number of {wording.plural(tables[-1].name)}"
    labels = refs(draw, sources[0], sources)
    query = Query(
        [*labels, f"{value} AS {alias}"], sources[0].text,
        [draw.on(j, sources, new=s) for j, s in zip(joins, sources[1:], strict=True)],
        group=list(labels), order=[f"{alias} DESC"],
    )  # fmt: skip
    query.limit = draw.chance.choice((0, 0, 5, 10))
    tail = f", the first {query.limit}" if query.limit else ""
    return (
        f"For each {wording.singular(tables[0].name)} (by {label_words(draw, tables[0])}), the {words}, through the "
        f"{wording.plural(tables[1].name)}, largest first{tail}"
    ), write(query, draw.style)


@template("join/missing")
def _missing(draw: Drawing) -> tuple[str, str]:
    join = draw.join()
    sources = draw.sources([join.parent, join.child])
    parent, child = sources
    key = f"{child.name}.{quoted(join.foreign.columns[0])}"
    query = Query(
        refs(draw, parent, sources), parent.text, [draw.on(join, sources, left=True)], [f"{key} IS NULL"]
    )
    question = draw.pick(
        f"Which {wording.plural(join.parent.name)} have no {wording.plural(join.child.name)}?",
        f"List the {label_words(draw, join.parent)} of {wording.plural(join.parent.name)} without any "
        f"{wording.singular(join.child.name)}.",
    )
    return question, write(query, draw.style)


@template("join/date")
def _date(draw: Drawing) -> tuple[str, str]:
    join = draw.join(child=("date", "moment"))
    child, parent, sources = two(draw, join)
    column = draw.column(join.child, "date", "moment")
    year = str(draw.value(join.child, column))[:4]
    reference = draw.ref(child, column, sources)
    query = Query(
        refs(draw, parent, sources), sources[0].text, [draw.on(join, sources)],
        [f"{reference} >= '{year}-01-01'", f"{reference} < '{int(year) + 1}-01-01'"], distinct=True,
    )  # fmt: skip
    return (
        f"Which {wording.plural(join.parent.name)} have {wording.plural(join.child.name)} whose "
        f"{wording.column(column.name)} is in {year}? Show each {label_words(draw, join.parent)} once."
    ), write(query, draw.style)


@template("join/self")
def _self(draw: Drawing) -> tuple[str, str]:
    """A table that refers to itself."""
    found = [
        (table, foreign)
        for table in draw.database.schema.tables
        for foreign in table.foreign_keys
        if foreign.ref_table.lower() == table.name.lower() and len(foreign.columns) == 1
    ]
    if not found:
        raise NothingToDraw
    table, foreign = draw.chance.choice(found)
    left = draw.chance.random() < 0.4
    role = " ".join(wording.column(foreign.columns[0]).split()[:-1]) or "parent"
    between = " AS " if draw.style.aliases == "as" else " "
    one, other = wording.singular(table.name).split()[-1][0], role.split()[0][0]
    other = other if other != one else f"{one}2"
    labels = [quoted(c.name) for c in draw.labels(table)]
    kind = "LEFT JOIN" if left else "JOIN"
    query = Query(
        [
            *(f"{one}.{name}" for name in labels),
            *(f"{other}.{name} AS {role.split()[0]}_{name}" for name in labels),
        ],
        f"{quoted(table.name)}{between}{one}",
        [
            f"{kind} {quoted(table.name)}{between}{other} ON "
            f"{one}.{quoted(foreign.columns[0])} = {other}.{quoted(foreign.ref_columns[0])}"
        ],
    )
    tail = f", also those without a {role}" if left else ""
    return f"Show every {wording.singular(table.name)} with its {role}{tail}", write(query, draw.style)


@template("join/pair")
def _pair(draw: Drawing) -> tuple[str, str]:
    """Two foreign keys to one table, such as home and away team."""
    found = [
        (table, one, other)
        for table in draw.database.schema.tables
        for one in table.foreign_keys
        for other in table.foreign_keys
        if one is not other
        and one.ref_table == other.ref_table
        and len(one.columns) == len(other.columns) == 1
    ]
    if not found:
        raise NothingToDraw
    table, one, other = draw.chance.choice(found)
    target = draw.database.table(one.ref_table)
    names = [columns[0].split("_")[0] for columns in (one.columns, other.columns)]
    names = names if names[0] != names[1] else list(_PAIR_WORDS)
    between = " AS " if draw.style.aliases == "as" else " "
    own = quoted(table.name)
    label = quoted(draw.labels(target)[0].name)
    when = draw.columns(table, "date", "moment")
    query = Query(
        [
            *([f"{own}.{quoted(when[0].name)}"] if when else []),
            *(f"{name}.{label} AS {name}_{label}" for name in names),
        ],
        own,
        [
            f"JOIN {quoted(target.name)}{between}{name} ON {own}.{quoted(key.columns[0])} = "
            f"{name}.{quoted(key.ref_columns[0])}"
            for name, key in zip(names, (one, other), strict=True)
        ],
    )
    dated = f"the {wording.column(when[0].name)} and " if when else ""
    return (
        f"For every {wording.singular(table.name)}, show {dated}the {wording.column(label)} of its {names[0]} and "
        f"{names[1]} {wording.singular(target.name)}"
    ), write(query, draw.style)
