"""Mistakes that people make in a right statement, one function each. Knows nothing of what a mistake leads to.

A mistake that a statement has no place for raises `NoPlace`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from distill.sqltrack.database import Database
from sql_assistant import statements
from sql_assistant.statements import Piece

_KEYWORDS = frozenset(
    "SELECT DISTINCT FROM JOIN LEFT INNER WHERE GROUP ORDER HAVING LIMIT BETWEEN EXISTS UNION EXCEPT INTERSECT".split()
)
_DROPPED = frozenset("BY ON AND AS THEN END FROM".split())
_MIN_TYPO = 4
_FOREIGN_CALLS: dict[str, tuple[str, ...]] = {
    "COALESCE": ("NVL", "ISNULL"),
    "SUBSTR": ("MID", "LEFT"),
    "LENGTH": ("LEN", "CHAR_LENGTH"),
    "AVG": ("AVERAGE", "MEAN"),
    "COUNT": ("COUNTS",),
    "STRFTIME": ("DATE_FORMAT", "TO_CHAR"),
    "ROUND": ("ROUNDED",),
}
"""What other engines call it, or nobody does."""


class NoPlace(Exception):
    """The statement has nothing that this mistake could be made in."""


@dataclass(frozen=True, slots=True)
class Text:
    """A statement in pieces."""

    sql: str
    pieces: tuple[Piece, ...]
    database: Database

    @classmethod
    def of(cls, sql: str, database: Database) -> Text:
        """Comments left out."""
        found = (p for p in statements.pieces(sql, database.dialect) if not p.is_comment)
        return cls(sql, tuple(found), database)

    def word(self, at: int) -> str:
        """A piece's text."""
        return self.sql[self.pieces[at].start : self.pieces[at].end]

    def places(self, wanted: Callable[[str], bool], *kinds: str) -> list[int]:
        """Pieces of these kinds whose text is wanted."""
        return [
            at
            for at, piece in enumerate(self.pieces)
            if (not kinds or piece.kind in kinds) and wanted(self.word(at))
        ]

    def replaced(self, at: int, text: str) -> str:
        """The statement with another text for one piece."""
        return self.sql[: self.pieces[at].start] + text + self.sql[self.pieces[at].end :]

    def without(self, at: int) -> str:
        """The statement without one piece and the blank behind it."""
        rest = self.sql[self.pieces[at].end :]
        return self.sql[: self.pieces[at].start] + (rest[1:] if rest[:1].isspace() else rest)

    def names(self) -> list[str]:
        """Of tables and columns, lower case."""
        tables = self.database.schema.tables
        return [t.name.lower() for t in tables] + [c.name.lower() for t in tables for c in t.columns]


Mistake = Callable[[Text, random.Random], str]


def _one(found: Sequence[int], chance: random.Random) -> int:
    if not found:
        raise NoPlace
    return chance.choice(found)


def _mistyped(word: str, chance: random.Random) -> str:
    """Two letters swapped, one left out or one twice."""
    at = chance.randrange(1, len(word) - 1)
    kind = chance.randrange(3)
    if kind == 0 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + (word[at + 1 :] if kind == 1 else word[at] + word[at:])


def keyword_typo(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word.upper() in _KEYWORDS, "word"), chance)
    return text.replaced(at, _mistyped(text.word(at), chance))


def name_typo(text: Text, chance: random.Random) -> str:
    known = set(text.names())
    at = _one(text.places(lambda word: word.lower() in known and len(word) >= _MIN_TYPO, "word"), chance)
    return text.replaced(at, _mistyped(text.word(at), chance))


def name_form(text: Text, chance: random.Random) -> str:
    """Singular for plural, or words joined that are not."""
    known = set(text.names())
    at = _one(text.places(lambda word: word.lower() in known and len(word) >= _MIN_TYPO, "word"), chance)
    word = text.word(at)
    if "_" in word and chance.random() < 0.5:
        return text.replaced(at, word.replace("_", ""))
    return text.replaced(at, word[:-1] if word.endswith("s") else f"{word}s")


def missing_comma(text: Text, chance: random.Random) -> str:
    return text.without(_one(text.places(lambda word: word == ","), chance))


def extra_comma(text: Text, chance: random.Random) -> str:
    """Behind the last item of a list."""
    at = _one(
        [at for at in text.places(lambda word: word.upper() in ("FROM", "WHERE", "ORDER"), "word") if at],
        chance,
    )
    return text.replaced(at - 1, f"{text.word(at - 1)},")


def missing_bracket(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word in "()"), chance)
    return text.replaced(at, "")


def missing_quote(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word.endswith("'"), "string"), chance)
    word = text.word(at)
    return text.replaced(at, word[:-1] if chance.random() < 0.6 else word[1:])


def no_quotes(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word.endswith("'") and word[1:-1].isidentifier(), "string"), chance)
    return text.replaced(at, text.word(at)[1:-1])


def missing_word(text: Text, chance: random.Random) -> str:
    return text.without(_one(text.places(lambda word: word.upper() in _DROPPED, "word"), chance))


def doubled_word(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word.upper() in _KEYWORDS | _DROPPED, "word"), chance)
    return text.replaced(at, f"{text.word(at)} {text.word(at)}")


def wrong_alias(text: Text, chance: random.Random) -> str:
    """Another qualifier in front of a column: one of another table, or the table's name where it is aliased."""
    dots = [at for at in text.places(lambda word: word == ".") if 0 < at < len(text.pieces) - 1]
    at = _one(dots, chance) - 1
    used = sorted({text.word(dot - 1) for dot in dots} - {text.word(at)})
    tables = [table.name for table in text.database.schema.tables if table.name != text.word(at)]
    return text.replaced(
        at, chance.choice(used or tables) if chance.random() < 0.6 else chance.choice(tables)
    )


def guessed_key(text: Text, chance: random.Random) -> str:
    """`id` for `customer_id` and the other way round."""
    found = [at for at in text.places(lambda word: word == ".") if at < len(text.pieces) - 1]
    keys = [at + 1 for at in found if text.word(at + 1).lower().endswith("id")]
    at = _one(keys, chance)
    word = text.word(at)
    if word.lower() != "id":
        return text.replaced(at, "id" if word.islower() else "Id")
    table = chance.choice(text.database.schema.tables).name.rstrip("s")
    return text.replaced(at, f"{table}_id")


def missing_group_column(text: Text, chance: random.Random) -> str:
    """One of several GROUP BY columns left out, or the clause altogether."""
    groups = text.places(lambda word: word.upper() == "GROUP", "word")
    start = _one(groups, chance)
    end, depth = start, 0
    while end + 1 < len(text.pieces):
        word = text.word(end + 1).upper()
        if depth == 0 and word in ("HAVING", "ORDER", "LIMIT", ")", "UNION", "EXCEPT", "INTERSECT"):
            break
        depth += (word == "(") - (word == ")")
        end += 1
    return text.sql[: text.pieces[start].start].rstrip() + text.sql[text.pieces[end].end :]


def foreign_call(text: Text, chance: random.Random) -> str:
    """A function by the name that another engine has for it."""
    at = _one(text.places(lambda word: word.upper() in _FOREIGN_CALLS, "word"), chance)
    return text.replaced(at, chance.choice(_FOREIGN_CALLS[text.word(at).upper()]))


def top_for_limit(text: Text, chance: random.Random) -> str:
    """SQL Server's TOP in a dialect that has LIMIT, for the outermost query."""
    limits = text.places(lambda word: word.upper() == "LIMIT", "word")
    if not limits or limits[-1] != len(text.pieces) - 2 or text.word(0).upper() != "SELECT":
        raise NoPlace
    at = limits[-1]
    head, number = text.pieces[0].end, text.word(at + 1)
    return f"{text.sql[:head]} TOP {number}{text.sql[head : text.pieces[at].start]}".rstrip()


def foreign_operator(text: Text, chance: random.Random) -> str:
    """ILIKE, && and the like where they do not exist."""
    at = _one(text.places(lambda word: word.upper() in ("LIKE", "AND", "OR"), "word"), chance)
    return text.replaced(at, {"LIKE": "ILIKE", "AND": "&&", "OR": "||"}[text.word(at).upper()])


def equals_null(text: Text, chance: random.Random) -> str:
    at = _one(text.places(lambda word: word.upper() == "IS", "word"), chance)
    negated = at + 1 < len(text.pieces) and text.word(at + 1).upper() == "NOT"
    if negated:
        return text.sql[: text.pieces[at].start] + "<>" + text.sql[text.pieces[at + 1].end :]
    return text.replaced(at, "=")


def aggregate_in_where(text: Text, chance: random.Random) -> str:
    """WHERE for HAVING."""
    at = _one(text.places(lambda word: word.upper() == "HAVING", "word"), chance)
    return text.replaced(at, "where" if text.word(at).islower() else "WHERE")


MISTAKES: dict[str, Mistake] = {
    "keyword-typo": keyword_typo,
    "name-typo": name_typo,
    "name-form": name_form,
    "missing-comma": missing_comma,
    "extra-comma": extra_comma,
    "missing-bracket": missing_bracket,
    "missing-quote": missing_quote,
    "no-quotes": no_quotes,
    "missing-word": missing_word,
    "doubled-word": doubled_word,
    "wrong-alias": wrong_alias,
    "guessed-key": guessed_key,
    "missing-group-column": missing_group_column,
    "foreign-call": foreign_call,
    "top-for-limit": top_for_limit,
    "foreign-operator": foreign_operator,
    "equals-null": equals_null,
    "aggregate-in-where": aggregate_in_where,
}
