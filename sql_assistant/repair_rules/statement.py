"""What a repair rule sees of a broken statement, and what it gives back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from sql_assistant import statements
from sql_assistant.dialects import Dialect
from sql_assistant.edits import apply
from sql_assistant.schema import Schema
from sql_assistant.types import Edit, Issue

CLAUSES = ("SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH")
SET_OPERATIONS = frozenset({"UNION", "INTERSECT", "EXCEPT"})
KEYWORDS = frozenset(
    "SELECT FROM WHERE GROUP ORDER BY HAVING LIMIT OFFSET FETCH JOIN INNER LEFT RIGHT FULL OUTER CROSS "
    "NATURAL ON USING AND OR NOT IN IS NULL LIKE BETWEEN EXISTS DISTINCT AS CASE WHEN THEN ELSE END UNION "
    "ALL INTERSECT EXCEPT INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE VIEW INDEX DROP ALTER WITH "
    "RECURSIVE ASC DESC PRIMARY FOREIGN REFERENCES DEFAULT UNIQUE OVER PARTITION RETURNING TRUE FALSE".split()
)
_PLAIN = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Token:
    """A lexical unit; `upper` is "" for strings, numbers and quoted names."""

    kind: statements.PieceKind
    text: str
    upper: str
    start: int
    end: int
    depth: int
    """Round brackets open around it; a bracket has the depth of what is outside of it."""
    closed: bool

    @property
    def is_name(self) -> bool:
        """Could be an identifier."""
        return self.kind == "name" or (self.kind == "word" and self.upper not in KEYWORDS)


@dataclass(frozen=True, slots=True)
class Fix:
    """One small change. `cost` orders guesses: about 0.5 for a sure one, 2 for a bold one."""

    cost: float
    edits: tuple[Edit, ...]
    explanation: str

    def on(self, text: str) -> str:
        """The text with the change made."""
        return apply(text, self.edits)


@dataclass(frozen=True, eq=False)
class Broken:
    """A statement and the one issue that is being looked at; compared and hashed by identity."""

    text: str
    dialect: Dialect
    schema: Schema | None
    issue: Issue
    error: str = ""
    """What the database said about it, "" where it said nothing."""

    @cached_property
    def tokens(self) -> list[Token]:
        """Everything but comments and blanks."""
        found = []
        depth = 0
        for piece in statements.pieces(self.text, self.dialect.name):
            if piece.is_comment:
                continue
            text = self.text[piece.start : piece.end]
            if text == ")":
                depth = max(0, depth - 1)
            plain = piece.kind in ("word", "symbol")
            found.append(
                Token(
                    piece.kind,
                    text,
                    text.upper() if plain else "",
                    piece.start,
                    piece.end,
                    depth,
                    piece.closed,
                )
            )
            if text == "(":
                depth += 1
        return found

    @cached_property
    def at(self) -> int:
        """The index of the token that the issue starts at; len(tokens) when it is at the end."""
        for index, token in enumerate(self.tokens):
            if token.end > self.issue.start:
                return index
        return len(self.tokens)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every table and column of the schema, lower case."""
        tables = self.schema.tables if self.schema else ()
        return frozenset(n.lower() for t in tables for n in (t.name, *(c.name for c in t.columns)))

    @cached_property
    def table_names(self) -> frozenset[str]:
        """The schema's tables, lower case."""
        return frozenset(table.name.lower() for table in (self.schema.tables if self.schema else ()))

    @cached_property
    def lower_keywords(self) -> bool:
        """Whether this author writes keywords in small letters."""
        words = [t.text for t in self.tokens if t.upper in KEYWORDS]
        return sum(word.islower() for word in words) * 2 > len(words)

    def keyword(self, word: str) -> str:
        """`word` in the author's letter case."""
        return word.lower() if self.lower_keywords else word.upper()

    def written(self, name: str, *, like: str = "", table: bool = False) -> str:
        """A stored name as this dialect reads it: quoted where it has to be, in small letters where
        capitals mean nothing and `like`, which it replaces, has none."""
        case = self.dialect.table_case if table else self.dialect.column_case
        folded = {"lower": name.lower(), "upper": name.upper()}.get(case, name)
        if _PLAIN.fullmatch(name) and folded == name and name.upper() not in KEYWORDS:
            return name.lower() if case == "upper" and (like.islower() or not like) else name
        opening, closing = self.dialect.identifier_quotes[0]
        return f"{opening}{name.replace(closing, closing * 2)}{closing}"

    def token(self, index: int) -> Token | None:
        """The token at `index`, None outside."""
        return self.tokens[index] if 0 <= index < len(self.tokens) else None

    def upper(self, index: int) -> str:
        """`upper` of the token at `index`, "" outside."""
        return self.tokens[index].upper if 0 <= index < len(self.tokens) else ""

    def level(self, index: int) -> list[int]:
        """The tokens of the SELECT that `index` stands in: same bracket depth, not beyond a set
        operation or the bracket around it."""
        first, last = self.span(index)
        depth = self.tokens[index].depth
        return [i for i in range(first, last + 1) if self.tokens[i].depth == depth]

    def span(self, index: int) -> tuple[int, int]:
        """The first and last token of that SELECT, what is nested in it included."""
        depth = self.tokens[index].depth
        first = last = index
        while first > 0 and not self._ends_level(first - 1, depth):
            first -= 1
        while last + 1 < len(self.tokens) and not self._ends_level(last + 1, depth):
            last += 1
        return first, last

    def closing(self, index: int) -> int:
        """The token that closes the bracket at `index`; the last one where none does."""
        depth = self.tokens[index].depth
        for i in range(index + 1, len(self.tokens)):
            if self.tokens[i].text == ")" and self.tokens[i].depth == depth:
                return i
        return len(self.tokens) - 1

    def opening(self, index: int) -> int:
        """The token that opens the bracket closed at `index`; the first one where none does."""
        depth = self.tokens[index].depth
        for i in range(index - 1, -1, -1):
            if self.tokens[i].text == "(" and self.tokens[i].depth == depth:
                return i
        return 0

    def _ends_level(self, index: int, depth: int) -> bool:
        token = self.tokens[index]
        if token.depth < depth:
            return True
        return token.depth == depth and (token.upper in SET_OPERATIONS or token.text == ";")

    def clause(self, index: int) -> str:
        """The nearest keyword before `index` at its level that opens a clause ("" where none does)."""
        token = self.token(min(index, len(self.tokens) - 1))
        depth = token.depth if token else 0
        for i in range(min(index, len(self.tokens)) - 1, -1, -1):
            if self.tokens[i].depth < depth:
                return ""
            if self.tokens[i].depth == depth:
                if self.tokens[i].upper in (*CLAUSES, "ON", "SET", "VALUES", "INTO", "JOIN"):
                    return self.tokens[i].upper
        return ""


Rule = Callable[[Broken], Iterator[Fix]]


def bare(name: str) -> str:
    """A name without its quotes."""
    return name.strip('"`[]')


def insert(at: int, text: str) -> Edit:
    """Put `text` at an offset."""
    return Edit(start=at, end=at, text=text)


def replace(token: Token, text: str) -> Edit:
    """`text` for a token."""
    return Edit(start=token.start, end=token.end, text=text)


def delete(broken: Broken, first: int, last: int | None = None) -> Edit:
    """Take out tokens, with the blank that would stay behind."""
    start = broken.tokens[first].start
    end = broken.tokens[first if last is None else last].end
    text = broken.text
    if start and text[start - 1] == " " and (end == len(text) or text[end] in " \n;),"):
        start -= 1
    elif end < len(text) and text[end] == " " and (start == 0 or text[start - 1] in " \n("):
        end += 1
    return Edit(start=start, end=end, text="")


def insert_word(broken: Broken, index: int, word: str) -> Edit:
    """A word of its own before the token at `index` (behind the last one where there is none)."""
    token = broken.token(index)
    if token is None:
        end = broken.tokens[-1].end if broken.tokens else len(broken.text)
        return insert(end, f" {word}")
    before = "" if token.start == 0 or broken.text[token.start - 1] in " \n\t(" else " "
    return insert(token.start, f"{before}{word} ")
