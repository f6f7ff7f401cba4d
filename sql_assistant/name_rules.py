"""Which names may stand at a place of an unfinished statement, as far as the schema decides it.

Three places are certain enough: behind FROM and JOIN stands a table, behind "alias." one of its
columns, behind "JOIN table ON" the columns of a foreign key, where one is declared. Read off the
text by patterns, because the text is unfinished on both sides of the cursor; where a pattern could
be wrong (derived tables, unknown aliases) there is no rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sql_assistant import statements
from sql_assistant.cursor import Cursor, is_word
from sql_assistant.schema import Schema, Table

_TAIL = 300
_NAME = r"[^\W\d]\w*"
_BEHIND_DOT = re.compile(rf"(?<![\w.\"`\]])({_NAME})\.(\w*)\Z")
_BEHIND_WORD = re.compile(rf"(?<![\w.\"`\]])({_NAME})\Z")
_BEHIND_FROM = re.compile(r"(?i)\b(?:FROM|JOIN)(?:(\s+)(\w*))?\Z")
_NO_TABLE = re.compile(r"(?i)(?:\bDISTINCT\s+FROM|\b(?:EXTRACT|SUBSTRING|TRIM|OVERLAY)\s*\([^()]*)\s*\w*\Z")
_KEYWORDS = (
    "FROM ON WHERE GROUP ORDER HAVING LIMIT JOIN LEFT RIGHT INNER CROSS FULL OUTER NATURAL USING UNION "
    "EXCEPT INTERSECT AS SET VALUES SELECT WINDOW FETCH OFFSET FOR AND OR"
)
_ALIAS = rf"(?!(?:{'|'.join(_KEYWORDS.split())})\b)({_NAME})"
_ALIASED = rf"((?:{_NAME}\.)?({_NAME}))(?:\s+(?:AS\s+)?{_ALIAS})?"
_SOURCE = re.compile(rf"(?i)(?:\b(?:FROM|JOIN|UPDATE|INTO)\s+|,\s*){_ALIASED}")
_DERIVED = re.compile(rf"(?i)\)\s*(?:AS\s+)?({_NAME})")
_CTE = re.compile(
    rf"(?i)(?:\bWITH(?:\s+RECURSIVE)?\s+|,\s*)({_NAME})\s*(?:\([^()]*\)\s*)?"
    r"AS\s*(?:NOT\s+)?(?:MATERIALIZED\s*)?\("
)
_BEHIND_ON = re.compile(rf"(?i)\bJOIN\s+{_ALIASED}\s+ON(?:(\s+)([\w.]*(?:\s*=\s*[\w.]*)?))?\Z")
_INNERMOST = re.compile(r"\([^()]*\)")
_LAST_FROM = re.compile(r"(?is)\A.*\bFROM\b")
_OPERATOR = re.compile(r"\s*(?:[.=<>!+*/|-]|(?i:LIKE|IN|IS|BETWEEN)\b)")
_PLAIN = re.compile(rf"{_NAME}\Z")
_QUOTES = ('"', "`", "[")
_OTHER_SOURCES = ("(", *"LATERAL UNNEST json_each generate_series VALUES ONLY TABLE".split(), *_QUOTES)
_GAPS = (" ", "\n", "\n  ", "\n    ")


@dataclass(frozen=True, slots=True)
class Expected:
    """What the text must go on with: one of `rest`, each ending a word. "" is among them where the
    word may end here."""

    rest: frozenset[str]
    only_after: str = ""
    """The rule holds for a continuation that begins with this mark; any other is free."""
    may_end: bool = False
    """One of `rest` stands right of the cursor: the text may end here."""


class NameRules:
    """The rules for one cursor. Safe to share between threads."""

    def __init__(self, schema: Schema, cursor: Cursor, dialect: str) -> None:
        self._dialect = dialect
        self._tables: dict[str, list[Table]] = {}
        for table in schema.tables:
            self._tables.setdefault(table.name.lower(), []).append(table)
        names = {table.name for table in schema.tables}
        names |= {f"{table.schema}.{table.name}" for table in schema.tables if table.schema}
        self._table_names = {name for name in names if _PLAIN.match(name) or "." in name}
        around = f"{cursor.before}\n{cursor.after}"
        self._ctes = {match[1] for match in _CTE.finditer(around)}
        self._sources = _Sources(self._tables, self._ctes)
        self._sources.read(around)
        self._statement = cursor.before
        self._goes_on = bool(_OPERATOR.match(cursor.after))
        self._before = cursor.before[-_TAIL:]
        self._after = cursor.after.lstrip().casefold()
        self._open = _open_text(cursor.before, dialect)

    def expected(self, kept: int, written: str) -> Expected | None:
        """What may follow: the text before the cursor without its last `kept` characters counts, then
        `written`. None where there is no rule."""
        found = self._names(kept, written)
        if found is None or not self._after:
            return found
        stands_there = any(self._stands_behind(rest.strip()) for rest in found.rest)
        return replace(found, may_end=True) if stands_there else found

    def _stands_behind(self, rest: str) -> bool:
        length = len(rest)
        return (
            bool(rest) and self._after[:length] == rest.casefold() and not is_word(self._after[length:][:1])
        )

    def _names(self, kept: int, written: str) -> Expected | None:
        before = self._before[: len(self._before) - kept]
        if self._in_text(kept, written):
            return None
        text = (before + written)[-_TAIL:]
        joined = _BEHIND_ON.search(text)
        if joined is not None and not self._goes_on:
            before_join = self._statement[: len(self._statement) - kept] + written
            conditions = self._foreign_keys(before_join[: joined.start() - len(text)], joined)
            if conditions and not joined[4]:
                return Expected(frozenset(f"{gap}{one}" for gap in _GAPS for one in conditions))
            if conditions and (found := _going_on(conditions, joined[5])) is not None:
                return found
        dotted = _BEHIND_DOT.search(text)
        if dotted is not None:
            names = self._columns(dotted[1], written)
            return _going_on({*names, *([] if dotted[2] else ["*"])}, dotted[2]) if names else None
        source = _BEHIND_FROM.search(text)
        if source is not None and not _NO_TABLE.search(text):
            return self._sources_at(source[1] or "", source[2] or "", written)
        word = _BEHIND_WORD.search(text)
        names = self._columns(word[1], written) if word is not None else set()
        # The tokenizer has ".name" as one token, so the name is decided before the dot stands.
        return Expected(frozenset(f".{name}" for name in (*names, "*")), ".") if names else None

    def _in_text(self, kept: int, written: str) -> bool:
        """Whether the end lies in a string or a comment."""
        if kept and not written:
            return False
        last = statements.last_piece(self._open + written, self._dialect)
        return last is not None and (last.kind == "line_comment" or not last.closed)

    def _columns(self, qualifier: str, written: str) -> set[str]:
        """The columns behind a qualifier; none where that is not certain."""
        sources = self._sources
        if " " in written:
            sources = sources.copy()
            sources.read(written)
        tables = sources.tables(qualifier)
        if any(not table.columns for table in tables):
            return set()
        names = {column.name for table in tables for column in table.columns}
        return names | set(_QUOTES) if any(not _PLAIN.match(name) for name in names) else names

    def _foreign_keys(self, before: str, joined: re.Match[str]) -> set[str]:
        """Conditions that a declared foreign key gives the join, either side first."""
        scope = _LAST_FROM.sub("FROM", _enclosing(before), count=1)
        new = self._tables.get(joined[2].lower(), [])
        name = joined[3] or joined[1]
        found = set()
        for match in _SOURCE.finditer(scope):
            other = match[3] or match[1]
            for here in new:
                for there in self._tables.get(match[2].lower(), []):
                    for pairs in _key_pairs(here, there):
                        found.add(" AND ".join(f"{other}.{b} = {name}.{a}" for a, b in pairs))
                        found.add(" AND ".join(f"{name}.{a} = {other}.{b}" for a, b in pairs))
        return found

    def _sources_at(self, blank: str, typed: str, written: str) -> Expected | None:
        if not self._table_names:
            return None
        ctes = self._ctes | {match[1] for match in _CTE.finditer(written)}
        names = {*self._table_names, *ctes, *_OTHER_SOURCES}
        if not blank:
            return Expected(frozenset(f"{gap}{name}" for gap in _GAPS for name in names))
        return _going_on(names, typed)


class _Sources:
    """Aliases and table names of a statement, and the tables they stand for."""

    def __init__(self, tables: dict[str, list[Table]], ctes: Iterable[str]) -> None:
        self._tables = tables
        self._unknown = {name.lower() for name in ctes}
        self._aliases: dict[str, list[Table]] = {}

    def copy(self) -> _Sources:
        other = _Sources(self._tables, self._unknown)
        other._aliases = {alias: list(tables) for alias, tables in self._aliases.items()}
        return other

    def read(self, text: str) -> None:
        """Take down what `text` joins."""
        self._unknown |= {match[1].lower() for match in _CTE.finditer(text)}
        self._unknown |= {match[1].lower() for match in _DERIVED.finditer(text)}
        for match in _SOURCE.finditer(text):
            alias = match[3]
            if alias is None:
                continue
            tables = [] if match[2].lower() in self._unknown else self._tables.get(match[2].lower(), [])
            if tables:
                self._aliases.setdefault(alias.lower(), []).extend(tables)
            elif match[0][0] != ",":
                self._unknown.add(alias.lower())

    def tables(self, qualifier: str) -> list[Table]:
        """The tables that `qualifier` can stand for; none where that is not certain."""
        key = qualifier.lower()
        if key in self._unknown:
            return []
        return self._aliases.get(key) or self._tables.get(key, [])


def _enclosing(text: str) -> str:
    """What stands in the innermost bracket that is open at the end of `text`, without closed ones."""
    while True:
        outer = _INNERMOST.sub(" ", text)
        if outer == text:
            return text[text.rfind("(") + 1 :]
        text = outer


def _key_pairs(here: Table, there: Table) -> list[list[tuple[str, str]]]:
    """The foreign keys between two tables, each as (column here, column there) pairs; none with a
    name that needs quotes."""
    found = []
    for owner, target in ((here, there), (there, here)):
        for key in owner.foreign_keys:
            if key.ref_table.lower() != target.name.lower():
                continue
            referred = key.ref_columns or target.primary_key
            if len(referred) != len(key.columns):
                continue
            pairs = list(zip(key.columns, referred, strict=True))
            if all(_PLAIN.match(name) for pair in pairs for name in pair):
                found.append(pairs if owner is here else [(b, a) for a, b in pairs])
    return found


def _going_on(names: Iterable[str], typed: str) -> Expected | None:
    """The rest of every name that begins with `typed`; letter case is minded where any name agrees."""
    exact = {name[len(typed) :] for name in names if name.startswith(typed)}
    if exact:
        return Expected(frozenset(exact))
    folded = {name[len(typed) :] for name in names if name.lower().startswith(typed.lower())}
    return Expected(frozenset(folded)) if folded else None


def _open_text(before: str, dialect: str) -> str:
    last = statements.last_piece(before, dialect)
    if last is None or (last.closed and last.kind != "line_comment"):
        return ""
    return before[last.start :]
