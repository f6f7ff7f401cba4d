"""Questions with statements over one table that count, add up, group or sort into classes."""

from __future__ import annotations

from distill.sqltrack import wording
from distill.sqltrack.drawing import NUMBERS, Drawing, NothingToDraw, literal, quoted
from distill.sqltrack.query import Query, write
from distill.sqltrack.templates import names, template
from sql_assistant.schema import Column, Table

_AGGREGATES = {"AVG": ("average", "mean"), "SUM": ("total", "sum of the"), "MIN": ("lowest", "smallest"),
               "MAX": ("highest", "largest")}  # fmt: skip


def per_value(column: Column, table: Table) -> str:
    """How a group is called."""
    return f"{wording.column(column.name)} of the {wording.plural(table.name)}"


@template("aggregate/count")
def _count(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    value, plural = draw.value(table, column), wording.plural(table.name)
    alias = draw.pick("", f" AS {'_'.join(wording.singular(table.name).split())}_count", " AS total")
    query = Query(
        [f"COUNT(*){alias}"], quoted(table.name), where=[f"{quoted(column.name)} = {literal(value)}"]
    )
    name = wording.column(column.name)
    question = draw.pick(
        f"How many {plural} have the {name} {value}?", f"Count the {plural} whose {name} is {value}."
    )
    return question, write(query, draw.style)


@template("aggregate/plain")
def _aggregate(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    column = draw.column(table, *NUMBERS)
    function, words = draw.chance.choice(list(_AGGREGATES.items()))
    inner = f"{function}({quoted(column.name)})"
    if function == "AVG" and draw.chance.random() < 0.5:
        inner = f"ROUND({inner}, 2)"
    query = Query([inner], quoted(table.name))
    text = f"{draw.pick(*words)} {wording.column(column.name)}"
    question = f"What is the {text} of the {wording.plural(table.name)}?"
    choices = draw.columns(table, "choice")
    if choices and draw.chance.random() < 0.6:
        chosen = draw.chance.choice(choices)
        value = draw.value(table, chosen)
        query.where = [f"{quoted(chosen.name)} = {literal(value)}"]
        question = f"{question[:-1]} with {wording.column(chosen.name)} {value}?"
    if "ROUND" in inner:
        question += " Round to two digits."
    return question, write(query, draw.style)


@template("group/count")
def _group_count(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    alias = draw.pick("", f" AS {'_'.join(wording.singular(table.name).split())}_count", " AS n")
    counted = "COUNT(*)"
    query = Query([quoted(column.name), counted + alias], quoted(table.name), group=names([column]))
    tail = ""
    if draw.chance.random() < 0.6:
        query.order, tail = [f"{alias.removeprefix(' AS ') or counted} DESC"], ", most frequent first"
    if draw.chance.random() < 0.4:
        least = draw.chance.choice((2, 3, 4, 5))
        query.having, tail = [f"{counted} >= {least}"], f"{tail}; only those with at least {least}"
    question = draw.pick(
        f"How many {wording.plural(table.name)} are there for each {wording.column(column.name)}{tail}?",
        f"Number of {wording.plural(table.name)} per {wording.column(column.name)}{tail}",
    )
    return question, write(query, draw.style)


@template("group/aggregate")
def _group_aggregate(draw: Drawing) -> tuple[str, str]:
    tables = [
        t for t in draw.database.schema.tables if draw.columns(t, "choice") and draw.columns(t, *NUMBERS)
    ]
    if not tables:
        raise NothingToDraw
    table = draw.chance.choice(tables)
    column, number = draw.column(table, "choice"), draw.column(table, *NUMBERS)
    function, words = draw.chance.choice(list(_AGGREGATES.items()))
    value = f"{function}({quoted(number.name)})"
    alias = f"{function.lower()}_{'_'.join(wording.column(number.name).split())}"
    query = Query([quoted(column.name), f"{value} AS {alias}"], quoted(table.name), group=names([column]))
    text = f"{words[0]} {wording.column(number.name)}"
    question = f"What is the {text} for each {per_value(column, table)}?"
    kind = draw.chance.choice(("", "order", "having"))
    if kind == "order":
        query.order = [f"{alias} DESC"]
        question += " Highest first."
    elif kind == "having":
        limit = draw.threshold(table, number, low=0.1, high=0.4)
        query.having = [f"{value} > {limit}"]
        question += f" Only where it is over {limit}."
    return question, write(query, draw.style)


@template("group/period")
def _group_period(draw: Drawing) -> tuple[str, str]:
    table = draw.table("date", "moment")
    column = draw.column(table, "date", "moment")
    unit, pattern = draw.chance.choice((("year", "%Y"), ("month", "%Y-%m")))
    period = f"STRFTIME('{pattern}', {quoted(column.name)})"
    numbers = draw.columns(table, *NUMBERS)
    number = draw.chance.choice(numbers) if numbers and draw.chance.random() < 0.5 else None
    value = f"SUM({quoted(number.name)})" if number else "COUNT(*)"
    alias = "total" if number else "n"
    query = Query(
        [f"{period} AS {unit}", f"{value} AS {alias}"], quoted(table.name), group=[unit], order=[unit],
        where=[f"{quoted(column.name)} IS NOT NULL"] if column.nullable else [],
    )  # fmt: skip
    what = f"total {wording.column(number.name)}" if number else "number"
    return (
        f"{draw.pick('Show the', 'Give me the')} {what} of {wording.plural(table.name)} per {unit} of "
        f"{wording.column(column.name)}, in order of time"
    ), write(query, draw.style)


@template("case/buckets")
def _case(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    column = draw.column(table, *NUMBERS)
    low, high = (
        draw.threshold(table, column, low=0.2, high=0.35),
        draw.threshold(table, column, low=0.6, high=0.8),
    )
    if low >= high:
        raise NothingToDraw
    reference = quoted(column.name)
    bucket = (
        f"CASE WHEN {reference} < {low} THEN 'low' WHEN {reference} < {high} THEN 'middle' ELSE 'high' END"
    )
    query = Query(
        [f"{bucket} AS bucket", "COUNT(*) AS n"], quoted(table.name), group=["bucket"],
        where=[f"{reference} IS NOT NULL"] if column.nullable else [],
    )  # fmt: skip
    name = wording.column(column.name)
    return (
        f"Count the {wording.plural(table.name)} by {name}: low below {low}, middle below {high}, high from there on"
    ), write(query, draw.style)


@template("case/share")
def _share(draw: Drawing) -> tuple[str, str]:
    table = draw.table("flag")
    column = draw.column(table, "flag")
    condition = draw.flag(quoted(column.name), table, column, True)
    share = f"ROUND(100.0 * SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) / COUNT(*), 1)"
    query = Query([f"{share} AS percent"], quoted(table.name))
    question = f"What percentage of the {wording.plural(table.name)} has {wording.column(column.name)} set?"
    choices = draw.columns(table, "choice")
    if choices and draw.chance.random() < 0.6:
        chosen = draw.chance.choice(choices)
        query.select.insert(0, quoted(chosen.name))
        query.group = names([chosen])
        question = f"{question[:-1]}, for each {wording.column(chosen.name)}?"
    return question, write(query, draw.style)
