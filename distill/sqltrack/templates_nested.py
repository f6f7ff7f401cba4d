"""Questions with statements that hold others: subqueries, common table expressions, set operations, windows."""

from __future__ import annotations

from dataclasses import replace

from distill.sqltrack import wording
from distill.sqltrack.drawing import NUMBERS, Drawing, NothingToDraw, called, literal, quoted
from distill.sqltrack.query import Query, combine, nested, write
from distill.sqltrack.templates import columns_in_words, names, template
from distill.sqltrack.templates_joins import label_words, refs
from sql_assistant.schema import Table


@template("sub/above-average")
def _above_average(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    number, own = draw.column(table, *NUMBERS), quoted(table.name)
    inner = Query([f"AVG({quoted(number.name)})"], own)
    shown = [*draw.labels(table), number]
    query = Query(names(shown), own, where=[f"{quoted(number.name)} > {nested(inner, draw.style)}"])
    name = wording.column(number.name)
    return draw.pick(
        f"Show {called(shown, table)} with an above-average {name}",
        f"Which {wording.plural(table.name)} have a {name} over the average? Show {columns_in_words(shown)}.",
    ), write(query, draw.style)


@template("sub/extreme")
def _extreme(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    number, own = draw.column(table, *NUMBERS), quoted(table.name)
    function, words = draw.chance.choice((("MAX", "highest"), ("MIN", "lowest")))
    inner = Query([f"{function}({quoted(number.name)})"], own)
    shown = draw.labels(table)
    query = Query(names(shown), own, where=[f"{quoted(number.name)} = {nested(inner, draw.style)}"])
    return (
        f"Which {wording.plural(table.name)} have the {words} {wording.column(number.name)}? Include ties."
    ), write(query, draw.style)


@template("sub/in")
def _in(draw: Drawing) -> tuple[str, str]:
    join = draw.join(child=("choice", *NUMBERS))
    column = draw.column(join.child, "choice", *NUMBERS)
    if draw.trait(join.child, column).kind == "choice":
        value = draw.value(join.child, column)
        condition, words = f"{quoted(column.name)} = {literal(value)}", f"is {value}"
    else:
        limit = draw.threshold(join.child, column)
        condition, words = f"{quoted(column.name)} > {limit}", f"is over {limit}"
    key, ref = join.foreign.columns[0], join.foreign.ref_columns[0]
    inner = Query([quoted(key)], quoted(join.child.name), where=[condition])
    negated = draw.chance.random() < 0.35
    if negated:
        # One NULL among the values would make NOT IN empty.
        inner.where.append(f"{quoted(key)} IS NOT NULL")
    shown = draw.labels(join.parent)
    operator = "NOT IN" if negated else "IN"
    query = Query(
        names(shown),
        quoted(join.parent.name),
        where=[f"{quoted(ref)} {operator} {nested(inner, draw.style)}"],
    )
    have = "have no" if negated else "have at least one"
    return (
        f"{called(shown, join.parent).capitalize()} that {have} {wording.singular(join.child.name)} whose "
        f"{wording.column(column.name)} {words}"
    ), write(query, draw.style)


@template("sub/exists")
def _exists(draw: Drawing) -> tuple[str, str]:
    join = draw.join()
    style = draw.style if draw.style.aliases != "none" else replace(draw.style, aliases="bare")
    sources = Drawing(draw.database, draw.chance, style, booleans=False).sources([join.parent, join.child])
    parent, child = sources
    link = f"{child.name}.{quoted(join.foreign.columns[0])} = {parent.name}.{quoted(join.foreign.ref_columns[0])}"
    inner = Query(["1"], child.text, where=[link])
    negated = draw.chance.random() < 0.5
    text = ""
    choices = draw.columns(join.child, "choice")
    if choices and draw.chance.random() < 0.6:
        column = draw.chance.choice(choices)
        value = draw.value(join.child, column)
        inner.where.append(f"{child.name}.{quoted(column.name)} = {literal(value)}")
        text = f" with {wording.column(column.name)} {value}"
    labels = [f"{parent.name}.{quoted(c.name)}" for c in draw.labels(join.parent)]
    condition = f"{'NOT ' if negated else ''}EXISTS {nested(inner, style)}"
    query = Query(labels, parent.text, where=[condition])
    have = (
        f"no {wording.singular(join.child.name)}" if negated else f"some {wording.singular(join.child.name)}"
    )
    return (
        f"Find the {label_words(draw, join.parent)} of the {wording.plural(join.parent.name)} that have {have}{text}"
    ), write(query, style)


@template("sub/latest")
def _latest(draw: Drawing) -> tuple[str, str]:
    """The row with the latest date of each group, by a correlated subquery."""
    join = draw.join(child=("date", "moment"))
    table, when = join.child, draw.column(join.child, "date", "moment")
    own, key = quoted(table.name), quoted(join.foreign.columns[0])
    alias = "".join(word[0] for word in wording.singular(table.name).split())
    alias = (
        alias if alias not in ("as", "by", "in", "is", "or", "on", "to", "of", "do", "no") else f"{alias}1"
    )
    inner = Query(
        [f"MAX({alias}2.{quoted(when.name)})"], f"{own} {alias}2", where=[f"{alias}2.{key} = {alias}.{key}"]
    )
    shown = [join.foreign.columns[0], when.name, *(c.name for c in draw.labels(table))]
    query = Query(
        [f"{alias}.{quoted(name)}" for name in dict.fromkeys(shown)],
        f"{own} {alias}",
        where=[f"{alias}.{quoted(when.name)} = {nested(inner, draw.style)}"],
    )
    return (
        f"For each {wording.singular(join.parent.name)}, its {wording.singular(table.name)} with the latest "
        f"{wording.column(when.name)}: show {wording.listed([wording.column(n) for n in dict.fromkeys(shown)])}"
    ), write(query, draw.style)


@template("cte/totals")
def _cte(draw: Drawing) -> tuple[str, str]:
    join = draw.join(child=NUMBERS)
    number = draw.column(join.child, *NUMBERS)
    key = quoted(join.foreign.columns[0])
    name = draw.pick("totals", f"{'_'.join(wording.singular(join.parent.name).split())}_totals", "sums")
    inner = Query([key, f"SUM({quoted(number.name)}) AS total"], quoted(join.child.name), group=[key])
    sources = draw.sources([join.parent])
    parent = sources[0]
    labels = [f"{parent.name}.{quoted(c.name)}" for c in draw.labels(join.parent)]
    link = f"{name}.{key} = {parent.name}.{quoted(join.foreign.ref_columns[0])}"
    query = Query([*labels, f"{name}.total"], parent.text, [f"JOIN {name} ON {link}"], tables=[(name, inner)])
    question = (
        f"Add up the {wording.column(number.name)} of the {wording.plural(join.child.name)} for each "
        f"{wording.singular(join.parent.name)} and show it with the {label_words(draw, join.parent)}"
    )
    if draw.chance.random() < 0.5:
        average = Query(["AVG(total)"], name)
        query.where = [f"{name}.total > {nested(average, draw.style)}"]
        question += ", only where it is above the average of these sums"
    else:
        query.order = [f"{name}.total DESC"]
        question += ", largest first"
    return question, write(query, draw.style)


@template("cte/counts")
def _cte_counts(draw: Drawing) -> tuple[str, str]:
    join = draw.join(parent=("choice",))
    column = draw.column(join.parent, "choice")
    sources = draw.sources([join.parent, join.child])
    parent, child = sources
    reference = draw.ref(parent, column, sources)
    inner = Query([reference, "COUNT(*) AS n"], parent.text, [draw.on(join, sources)], group=[reference])
    name = draw.pick("counts", "counted", "per_group")
    top = Query(["MAX(n)"], name)
    query = Query(
        [quoted(column.name), "n"], name, where=[f"n = {nested(top, draw.style)}"], tables=[(name, inner)]
    )
    return (
        f"Which {wording.column(column.name)} of {wording.plural(join.parent.name)} has the most "
        f"{wording.plural(child.table.name)}, and how many?"
    ), write(query, draw.style)


@template("derived")
def _derived(draw: Drawing) -> tuple[str, str]:
    join = draw.join()
    key = quoted(join.foreign.columns[0])
    nullable = next(c.nullable for c in join.child.columns if c.name == join.foreign.columns[0])
    inner = Query(
        [key, "COUNT(*) AS n"],
        quoted(join.child.name),
        group=[key],
        where=[f"{key} IS NOT NULL"] if nullable else [],
    )
    name = draw.pick("t", "counts", "per_key")
    between = " AS " if draw.style.aliases == "as" else " "
    query = Query(
        [f"{draw.pick('ROUND(AVG(n), 2)', 'AVG(n)', 'MAX(n)')}"],
        f"{nested(inner, draw.style)}{between}{name}",
    )
    kind = "largest" if "MAX" in query.select[0] else "average"
    tail = ", rounded to two digits" if "ROUND" in query.select[0] else ""
    return (
        f"What is the {kind} number of {wording.plural(join.child.name)} per {wording.singular(join.parent.name)} "
        f"that has any{tail}?"
    ), write(query, draw.style)


@template("set/operation")
def _set(draw: Drawing) -> tuple[str, str]:
    """Keys of one table by two conditions on its children, or values of two like-named columns."""
    join = draw.join(child=("choice",))
    column = draw.column(join.child, "choice")
    found = sorted({str(value) for value in draw.values(join.child, column)})
    if len(found) < 2:
        raise NothingToDraw
    one, other = draw.chance.sample(found, 2)
    key, own = quoted(join.foreign.columns[0]), quoted(join.child.name)
    operator = draw.chance.choice(("UNION", "EXCEPT", "INTERSECT"))
    first, second = (
        Query([key], own, where=[f"{quoted(column.name)} = {literal(value)}"]) for value in (one, other)
    )
    words = {
        "UNION": f"{one} or {other}",
        "EXCEPT": f"{one} but none with {other}",
        "INTERSECT": f"{one} and also {other}",
    }
    return (
        f"{wording.column(join.foreign.columns[0])} of the {wording.plural(join.parent.name)} that have "
        f"{wording.plural(join.child.name)} with {wording.column(column.name)} {words[operator]}"
    ), combine(first, operator, second, draw.style)


def _partitioned(draw: Drawing) -> tuple[Table, str, str]:
    """A table with numbers, the column its windows are partitioned by, and that in words."""
    tables = [
        t
        for t in draw.database.schema.tables
        if draw.columns(t, *NUMBERS) and draw.columns(t, "choice", "foreign")
    ]
    if not tables:
        raise NothingToDraw
    table = draw.chance.choice(tables)
    column = draw.column(table, "choice", "foreign")
    return table, quoted(column.name), wording.column(column.name)


@template("window/rank")
def _rank(draw: Drawing) -> tuple[str, str]:
    table, part, words = _partitioned(draw)
    number = draw.column(table, *NUMBERS)
    labels = [c for c in draw.labels(table) if quoted(c.name) != part]
    window = f"RANK() OVER (PARTITION BY {part} ORDER BY {quoted(number.name)} DESC)"
    query = Query([*names(labels), part, f"{window} AS position"], quoted(table.name))
    return (
        f"Rank the {wording.plural(table.name)} by {wording.column(number.name)}, highest first, within each {words}"
    ), write(query, draw.style)


@template("window/first")
def _first(draw: Drawing) -> tuple[str, str]:
    table, part, words = _partitioned(draw)
    number = draw.column(table, *NUMBERS)
    count = draw.chance.choice((1, 1, 2, 3))
    key = (table.primary_key or (table.columns[0].name,))[0]
    order = f"{quoted(number.name)} DESC, {quoted(key)}"
    shown = [*names(draw.labels(table)), part, quoted(number.name)]
    inner = Query(
        [*dict.fromkeys(shown), f"ROW_NUMBER() OVER (PARTITION BY {part} ORDER BY {order}) AS rn"],
        quoted(table.name),
    )
    outer = [*dict.fromkeys(shown)]
    if draw.chance.random() < 0.5:
        query = Query(outer, "ranked", where=[f"rn <= {count}"], tables=[("ranked", inner)])
    else:
        between = " AS " if draw.style.aliases == "as" else " "
        query = Query(outer, f"{nested(inner, draw.style)}{between}ranked", where=[f"rn <= {count}"])
    many = f"{count} {wording.plural(table.name)}" if count > 1 else wording.singular(table.name)
    return (f"For each {words}, the {many} with the highest {wording.column(number.name)}"), write(
        query, draw.style
    )


@template("window/running")
def _running(draw: Drawing) -> tuple[str, str]:
    tables = [
        t
        for t in draw.database.schema.tables
        if draw.columns(t, *NUMBERS) and draw.columns(t, "date", "moment")
    ]
    if not tables:
        raise NothingToDraw
    table = draw.chance.choice(tables)
    number, when = draw.column(table, *NUMBERS), draw.column(table, "date", "moment")
    key = (table.primary_key or (table.columns[0].name,))[0]
    value, day = quoted(number.name), quoted(when.name)
    query = Query(
        [day, value, f"SUM({value}) OVER (ORDER BY {day}, {quoted(key)}) AS running_total"], quoted(table.name),
        order=[day, quoted(key)], where=[f"{day} IS NOT NULL"] if when.nullable else [],
    )  # fmt: skip
    return (
        f"Running total of the {wording.column(number.name)} of {wording.plural(table.name)} by "
        f"{wording.column(when.name)}"
    ), write(query, draw.style)


@template("join/having-average")
def _having_average(draw: Drawing) -> tuple[str, str]:
    join = draw.join(child=NUMBERS)
    number = draw.column(join.child, *NUMBERS)
    sources = draw.sources([join.parent, join.child])
    parent, child = sources
    value = draw.ref(child, number, sources)
    inner = Query([f"AVG({quoted(number.name)})"], quoted(join.child.name))
    labels = refs(draw, parent, sources)
    query = Query(
        list(labels), parent.text, [draw.on(join, sources)], group=list(labels),
        having=[f"AVG({value}) > {nested(inner, draw.style)}"],
    )  # fmt: skip
    parents, children = wording.plural(join.parent.name), wording.plural(join.child.name)
    return (
        f"Which {parents} (by {label_words(draw, join.parent)}) have {children} whose average "
        f"{wording.column(number.name)} is above that of all {children}?"
    ), write(query, draw.style)
