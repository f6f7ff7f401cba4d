"""Questions with statements that list rows of one table, and the register of all templates.

A template says one thing in words and in SQL; what it is about is drawn. Statements are written in
SQLite's dialect. Those that count and group are in `templates_groups`, those over several tables in
`templates_joins`, nested ones in `templates_nested`.
"""

from __future__ import annotations

from collections.abc import Callable

from distill.sqltrack import wording
from distill.sqltrack.drawing import NUMBERS, Drawing, NothingToDraw, Template, called, literal, quoted
from distill.sqltrack.query import Query, write
from sql_assistant.schema import Column, Table

TEMPLATES: dict[str, Template] = {}
"""By name, which says what the statement is made of."""


def template(name: str) -> Callable[[Template], Template]:
    """Register a template."""

    def register(function: Template) -> Template:
        TEMPLATES[name] = function
        return function

    return register


def shown_columns(draw: Drawing, table: Table) -> list[Column]:
    """What a list of the table's rows shows: what they are called by, and now and then something more."""
    found = draw.labels(table)
    more = [c for c in draw.columns(table, "amount", "count", "choice", "date", "year") if c not in found]
    return found + (draw.chance.sample(more, 1) if more and draw.chance.random() < 0.5 else [])


def names(columns: list[Column]) -> list[str]:
    return [quoted(column.name) for column in columns]


def columns_in_words(columns: list[Column]) -> str:
    return wording.listed([wording.column(column.name) for column in columns])


@template("filter/choice")
def _filter_choice(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    value, shown = draw.value(table, column), shown_columns(draw, table)
    query = Query(names(shown), quoted(table.name), where=[f"{quoted(column.name)} = {literal(value)}"])
    what, name = called(shown, table), wording.column(column.name)
    question = draw.pick(
        f"Show {what} whose {name} is {value}.",
        f"Give {what} with {name} '{value}'",
        f"List {what} where the {name} equals {value}.",
        f"Which {wording.plural(table.name)} have the {name} {value}? Show {columns_in_words(shown)}.",
    )
    return question, write(query, draw.style)


@template("filter/number")
def _filter_number(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    column = draw.column(table, *NUMBERS)
    limit, shown = draw.threshold(table, column), draw.labels(table)
    sign, text = draw.chance.choice(
        ((">", "more than"), (">=", "at least"), ("<", "less than"), ("<=", "at most"))
    )
    ordered = draw.chance.random() < 0.5
    shown += [column] if column not in shown else []
    query = Query(
        names(shown), quoted(table.name), where=[f"{quoted(column.name)} {sign} {limit}"],
        order=[f"{quoted(column.name)} DESC"] if ordered else [],
    )  # fmt: skip
    question = draw.pick(
        f"Show {called(shown, table)} with {wording.some(wording.column(column.name))} of {text} {limit}",
        f"Which {wording.plural(table.name)} have {text} {limit} as {wording.column(column.name)}? "
        f"Give {columns_in_words(shown)}",
    )
    return question + (", highest first" if ordered else ""), write(query, draw.style)


@template("filter/two")
def _filter_two(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    others = [c for c in draw.columns(table, *NUMBERS, "flag") if c is not column]
    if not others:
        raise NothingToDraw
    other, value = draw.chance.choice(others), draw.value(table, column)
    shown = draw.labels(table)
    first = f"{quoted(column.name)} = {literal(value)}"
    if draw.trait(table, other).kind == "flag":
        wanted = draw.chance.random() < 0.6
        second = draw.flag(quoted(other.name), table, other, wanted)
        words = f"{wording.column(other.name)} is {'true' if wanted else 'false'}"
    else:
        limit = draw.threshold(table, other, low=0.2, high=0.6)
        second, words = f"{quoted(other.name)} > {limit}", f"{wording.column(other.name)} is over {limit}"
    either = draw.chance.random() < 0.3
    where = [f"{first} OR {second}"] if either else [first, second]
    query = Query(names(shown), quoted(table.name), where=where)
    return (
        f"{draw.pick('List', 'Find', 'Get')} {called(shown, table)} whose {wording.column(column.name)} is {value} "
        f"{'or' if either else 'and'} whose {words}"
    ), write(query, draw.style)


@template("filter/in")
def _filter_in(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    found = sorted({str(value) for value in draw.values(table, column)})
    if len(found) < 3:
        raise NothingToDraw
    chosen = draw.chance.sample(found, 2)
    negated = draw.chance.random() < 0.4
    shown = shown_columns(draw, table)
    condition = f"{quoted(column.name)} {'NOT IN' if negated else 'IN'} ({', '.join(map(literal, chosen))})"
    query = Query(names(shown), quoted(table.name), where=[condition])
    words = f"neither {chosen[0]} nor {chosen[1]}" if negated else f"{chosen[0]} or {chosen[1]}"
    return f"Show {called(shown, table)} whose {wording.column(column.name)} is {words}.", write(
        query, draw.style
    )


@template("filter/between")
def _filter_between(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS, "year")
    column = draw.column(table, *NUMBERS, "year")
    if draw.trait(table, column).kind == "year":
        low: int | float = draw.chance.randrange(1950, 1990)
        high: int | float = low + 30
    else:
        low = draw.threshold(table, column, low=0.1, high=0.3)
        high = draw.threshold(table, column, low=0.6, high=0.95)
    shown = draw.labels(table)
    query = Query(
        names(shown), quoted(table.name), where=[f"{quoted(column.name)} BETWEEN {low} AND {high}"],
        order=[quoted(column.name)] if draw.chance.random() < 0.4 else [],
    )  # fmt: skip
    tail = f", ordered by {wording.column(column.name)}" if query.order else ""
    return (
        f"Find {called(shown, table)} with {wording.some(wording.column(column.name))} between {low} and {high}{tail}"
    ), write(query, draw.style)


@template("filter/like")
def _filter_like(draw: Drawing) -> tuple[str, str]:
    table = draw.table("label")
    column = draw.column(table, "label")
    value = str(draw.value(table, column))
    kind = draw.chance.choice(("starts with", "contains", "ends with"))
    part = {"starts with": value[:1], "contains": value.split()[-1][:4], "ends with": value[-2:]}[kind]
    pattern = {"starts with": f"{part}%", "contains": f"%{part}%", "ends with": f"%{part}"}[kind]
    query = Query(
        names([column]), quoted(table.name), where=[f"{quoted(column.name)} LIKE {literal(pattern)}"]
    )
    plural, name = wording.plural(table.name), wording.column(column.name)
    question = draw.pick(
        f"Which {plural} have {wording.some(name)} that {kind} '{part}'?",
        f"{name} of all {plural} whose {name} {kind} {part}",
    )
    return question, write(query, draw.style)


@template("filter/null")
def _filter_null(draw: Drawing) -> tuple[str, str]:
    tables = [t for t in draw.database.schema.tables if any(c.nullable for c in t.columns)]
    if not tables:
        raise NothingToDraw
    table = draw.chance.choice(tables)
    column, shown = draw.nullable(table), draw.labels(table)
    missing = draw.chance.random() < 0.6
    query = Query(
        names(shown), quoted(table.name), where=[f"{quoted(column.name)} IS {'' if missing else 'NOT '}NULL"]
    )
    name = wording.column(column.name)
    text = draw.pick(f"without a known {name}", f"that have no {name}", f"where the {name} is missing")
    if not missing:
        text = draw.pick(f"that have a {name}", f"whose {name} is known")
    return f"{draw.pick('List', 'Show')} {called(shown, table)} {text}", write(query, draw.style)


@template("filter/date")
def _filter_date(draw: Drawing) -> tuple[str, str]:
    table = draw.table("date", "moment")
    column = draw.column(table, "date", "moment")
    shown = draw.labels(table)
    day = str(draw.value(table, column))[:10]
    name, reference = wording.column(column.name), quoted(column.name)
    kind = draw.chance.choice(("after", "before", "year", "between"))
    if kind == "year":
        conditions, words = [f"STRFTIME('%Y', {reference}) = '{day[:4]}'"], f"is in {day[:4]}"
    elif kind == "between":
        until = f"{int(day[:4]) + 1}{day[4:]}"
        until = until.replace("-02-29", "-02-28")
        conditions = [f"{reference} >= '{day}'", f"{reference} < '{until}'"]
        words = f"is on or after {day} and before {until}"
    else:
        conditions, words = [f"{reference} {'>' if kind == 'after' else '<'} '{day}'"], f"is {kind} {day}"
    query = Query(names([*shown, column]), quoted(table.name), where=conditions)
    return f"Show {called([*shown, column], table)} whose {name} {words}", write(query, draw.style)


@template("order/top")
def _top(draw: Drawing) -> tuple[str, str]:
    table = draw.table(*NUMBERS)
    column = draw.column(table, *NUMBERS)
    shown, count = [*draw.labels(table), column], draw.chance.choice((1, 3, 5, 10))
    highest = draw.chance.random() < 0.7
    condition = [f"{quoted(column.name)} IS NOT NULL"] if column.nullable else []
    query = Query(
        names(shown), quoted(table.name), where=condition,
        order=[f"{quoted(column.name)}{' DESC' if highest else ''}"], limit=count,
    )  # fmt: skip
    which, name = ("highest" if highest else "lowest"), wording.column(column.name)
    plural = wording.plural(table.name) if count > 1 else wording.singular(table.name)
    number = f"{count} " if count > 1 else ""
    question = draw.pick(
        f"The {number}{plural} with the {which} {name}, with {columns_in_words(shown)}",
        f"Show {columns_in_words(shown)} of the {number}{plural} with the {which} {name}.",
    )
    return question, write(query, draw.style)


@template("distinct")
def _distinct(draw: Drawing) -> tuple[str, str]:
    table = draw.table("choice")
    column = draw.column(table, "choice")
    query = Query(names([column]), quoted(table.name), distinct=True)
    if draw.chance.random() < 0.6:
        query.order = names([column])
    plural = wording.plural(wording.column(column.name))
    question = draw.pick(
        f"Which {plural} do the {wording.plural(table.name)} have?",
        f"List the different {plural} of {wording.plural(table.name)}",
    )
    return question + (" Sort them." if query.order else ""), write(query, draw.style)
