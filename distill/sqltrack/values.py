"""One synthetic value for one column. Knows nothing of other rows or tables."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta

from distill.sqltrack import pools
from distill.sqltrack.columns import Trait, words

Value = str | int | float | None
FIRST_DAY = date(2021, 1, 4)
LAST_DAY = date(2024, 12, 20)
_DAYS = (LAST_DAY - FIRST_DAY).days
_NULL_SHARE = 0.12
_RANGES: dict[str, tuple[float, float]] = {
    "rating": (1, 5),
    "stars": (1, 5),
    "score": (0, 100),
    "percent": (0, 100),
    "discount": (0, 0.5),
    "share": (0, 1),
    "age": (18, 80),
    "quantity": (1, 12),
    "qty": (1, 120),
    "beds": (1, 5),
    "goals": (0, 5),
    "residents": (1, 6),
    "floor": (0, 9),
    "minute": (1, 90),
    "minutes": (15, 180),
    "seconds": (90, 420),
    "hours": (1, 12),
    "days": (1, 21),
    "weight": (1, 60),
    "capacity": (200, 60000),
    "population": (900, 250000),
    "attendance": (150, 40000),
    "salary": (2200, 9800),
    "budget": (5, 400),
    "rate": (20, 260),
    "premium": (120, 2400),
    "value": (500, 90000),
    "points": (0, 4000),
    "kwh": (60, 900),
    "fee": (5, 220),
    "price": (3, 250),
    "dose": (5, 500),
    "seats": (40, 320),
    "stock": (0, 300),
    "temperature": (-10, 38),
}
"""By a word of the column's name, the last one first."""
_WHOLE = (1.0, 100.0)
_AMOUNT = (10.0, 1500.0)


def key_value(type_name: str, name: str, number: int) -> Value:
    """The `number`-th (from 1) value of a primary key: ascending, or a code where the type is text."""
    if "INT" in type_name.upper() or not type_name:
        return number
    if any(part in type_name.upper() for part in ("CHAR", "TEXT", "STRING")):
        return f"{words(name)[0][:3].upper()}-{number:03d}"
    return number


def value(trait: Trait, name: str, chance: random.Random) -> Value:
    """A value for a column that is neither key nor foreign key; None now and then where it may be."""
    if trait.nullable and chance.random() < _NULL_SHARE:
        return None
    if trait.kind == "flag":
        return int(chance.random() < 0.4)
    if trait.kind == "choice":
        # Squared, so that some values are frequent and some rare, as real ones are.
        return trait.choices[int(chance.random() ** 2 * len(trait.choices))]
    if trait.kind in ("date", "moment"):
        return _date(trait, words(name), chance)
    if trait.kind in ("year", "count", "amount"):
        return _number(trait, words(name), chance)
    return _text(words(name), chance)


def later(trait: Trait, before: str, chance: random.Random) -> str:
    """A date or moment up to a month behind `before`, for columns such as `closed_at`."""
    day = date.fromisoformat(before[:10]) + timedelta(days=chance.randrange(1, 30))
    return _moment(day, chance) if trait.kind == "moment" else day.isoformat()


def _date(trait: Trait, own: list[str], chance: random.Random) -> str:
    if "birth" in own or "born" in own or "dob" in own:
        day = date(1950, 1, 1) + timedelta(days=chance.randrange(365 * 54))
    else:
        day = FIRST_DAY + timedelta(days=chance.randrange(_DAYS))
    return _moment(day, chance) if trait.kind == "moment" else day.isoformat()


def _moment(day: date, chance: random.Random) -> str:
    moment = datetime(day.year, day.month, day.day, chance.randrange(7, 21), chance.randrange(60))
    return moment.isoformat(sep=" ")


def _number(trait: Trait, own: list[str], chance: random.Random) -> int | float:
    if trait.kind == "year":
        return chance.randrange(1950, 2024)
    measured = own[: own.index("per")] if "per" in own[1:] else own
    usual = next((_RANGES[word] for word in reversed(measured) if word in _RANGES), None)
    low, high = usual or (_WHOLE if trait.kind == "count" else _AMOUNT)
    low = low if trait.low is None else trait.low
    high = max(low, high if trait.high is None else trait.high) if trait.high is None else trait.high
    if trait.kind == "count":
        return chance.randint(int(low), int(high))
    return round(chance.uniform(low, high), 2)


def _text(own: list[str], chance: random.Random) -> str:
    first, last = chance.choice(pools.FIRST_NAMES), chance.choice(pools.LAST_NAMES)
    joined = " ".join(own)
    if "email" in own or "mail" in own:
        return f"{first}.{last}@example.com".lower()
    if "first" in own or "given" in own:
        return first
    if "last" in own or "surname" in own or "family" in own:
        return last
    if "username" in own or "login" in own or "nickname" in own:
        return f"{first.lower()}{chance.randrange(10, 99)}"
    if "company" in own or "supplier" in own or "vendor" in own:
        return f"{chance.choice(pools.NOUNS)} {chance.choice(('GmbH', 'Ltd', 'Inc', 'SARL'))}"
    if own[-1] in ("comment", "body", "description", "notes", "note", "text", "reason"):
        return chance.choice(pools.SENTENCES)
    if "phone" in joined or "mobile" in own:
        return f"+49 30 {chance.randrange(100000, 999999)}"
    if own[-1] in ("street", "address"):
        return f"{chance.choice(pools.NOUNS)} Street {chance.randrange(1, 90)}"
    if own[-1] in ("code", "number", "no", "sku", "serial", "postcode", "zip", "seat", "isbn"):
        code = chance.randrange(10, 99) if own[-1] in ("code", "seat") else chance.randrange(1000, 99999)
        return f"{own[0][0].upper()}{code}"
    if own in (["name"], ["full", "name"], ["fullname"]):
        return f"{first} {last}"
    return f"{chance.choice(pools.ADJECTIVES)} {chance.choice(pools.NOUNS)}"
