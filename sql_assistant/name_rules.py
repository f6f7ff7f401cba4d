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
from sql_assistant.keys import Pairs, keys_between
from sql_assistant.schema import Schema, Table

_TAIL = 300
_NAME = r"[^\W\d]\w*"
_BEHIND_DOT = re.compile(rf"(?<![\w.\"`\]])({_NAME})\.(\w*)\Z")
_BEHIND_WORD = re.compile(rf"(?<![\w.\"`\]])({_NAME})\Z")
_BEHIND_FROM = re.compile(r"(?i)\b(?:FROM|JOIN)(?:(\s+)(\w*))?\Z")
_BEHIND_SOURCE = re.compile(rf"(?i)\b(?:FROM|JOIN)\s+({_NAME})((?:\s+AS)?\s+\w*|\s+AS)\Z")
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
_QUALIFIED = re.compile(rf"(?<![\w.])({_NAME})\.({_NAME}|\*)(?!\s*[.(])")
_BARE = re.compile(rf"(?i)(?<![\w.])(?<!\bAS\s)({_NAME})\b(?!\s*[.(])")
_SET_OPERATION = re.compile(r"(?i)\b(?:UNION|EXCEPT|INTERSECT)\b")
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
        around = f"{_code(cursor.before, dialect)}\n{_code(cursor.after, dialect)}"
        self._ctes = {match[1] for match in _CTE.finditer(around)}
        self._sources = _Sources(self._tables, self._ctes)
        self._sources.read(around)
        self._statement = _code(cursor.before, dialect)
        after = _code(cursor.after, dialect)
        self._select_after = _select_after(after)
        self._closed_after = _without_nested(after).count(")")
        self._columns_of: dict[str, list[Table]] = {}
        for table in schema.tables:
            for column in table.columns:
                self._columns_of.setdefault(column.name.lower(), []).append(table)
        self._declares_keys = any(table.foreign_keys for table in schema.tables)
        self._goes_on = bool(_OPERATOR.match(cursor.after))
        self._before = cursor.before[-_TAIL:]
        self._after = cursor.after.lstrip().lstrip("".join(_QUOTES)).casefold()
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
            whole = self._statement[: len(self._statement) - kept] + written
            return self._sources_at(source[1] or "", source[2] or "", whole[: source.start() - len(text)])
        named = _BEHIND_SOURCE.search(text)
        if named is not None:
            before_source = self._statement[: len(self._statement) - kept] + written
            found = self._alias(named, before_source[: named.start() - len(text)])
            if found is not None:
                return found
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
        scope = _LAST_FROM.sub("FROM", _select_before(before), count=1)
        new = self._tables.get(joined[2].lower(), [])
        name = joined[3] or joined[1]
        found = set()
        for match in _SOURCE.finditer(scope):
            other = match[3] or match[1]
            for here in new:
                for there in self._tables.get(match[2].lower(), []):
                    for pairs in self._keys(here, there):
                        found.add(" AND ".join(f"{other}.{b} = {name}.{a}" for a, b in pairs))
                        found.add(" AND ".join(f"{name}.{a} = {other}.{b}" for a, b in pairs))
        return found

    def _wanted_sources(self, before: str, ctes: set[str]) -> set[str]:
        """What FROM or JOIN brings in where the SELECT around it uses qualifiers that stand for nothing
        yet: a table of that name, or one with those columns under that alias; or else a table that
        leads there. Empty where that does not decide it."""
        here = _select_before(before)
        # A bracket opened in the hole is closed there: what stands behind it is another SELECT's.
        after = self._select_after if _opened(before) == self._closed_after else ""
        around = f"{here}\n{after}"
        sources = _Sources(self._tables, ctes)
        sources.read(around)
        wanted: dict[str, set[str]] = {}
        for match in _QUALIFIED.finditer(around):
            if not sources.knows(match[1]):
                wanted.setdefault(match[1], set()).add(match[2].lower())
        phrases: dict[str, list[Table]] = {}
        for name, columns in wanted.items():
            phrases |= self._phrases(name, columns, ctes)
        present = sources.present()
        if not wanted and not sources.opaque:
            phrases |= self._holding(around, present)
        if not phrases or not present:
            return set(phrases)
        direct = {
            phrase
            for phrase, tables in phrases.items()
            if not tables or any(self._keys(table, other) for table in tables for other in present)
        }
        if direct:
            return direct
        aims = [table for tables in phrases.values() for table in tables]
        between = {
            table.name
            for tables in self._tables.values()
            for table in tables
            if any(self._keys(table, other) for other in present)
            and any(self._keys(table, aim) for aim in aims)
        }
        return {*phrases, *between}

    def _holding(self, around: str, present: list[Table]) -> dict[str, list[Table]]:
        """The tables with a column that is named without a qualifier and that no source has yet."""
        here = {column.name.lower() for table in present for column in table.columns}
        used = {match[1].lower() for match in _BARE.finditer(around)} & self._columns_of.keys() - here
        tables = [table for name in used for table in self._columns_of[name]]
        return {table.name: [table] for table in tables if _PLAIN.match(table.name)}

    def _phrases(self, qualifier: str, columns: set[str], ctes: set[str]) -> dict[str, list[Table]]:
        """Sources that `qualifier` with those columns can stand for, as they are written behind FROM."""
        named = self._tables.get(qualifier.lower())
        if named:
            return {qualifier: named}
        if any(qualifier.lower() == name.lower() for name in ctes):
            return {qualifier: []}
        found: dict[str, list[Table]] = {}
        for tables in self._tables.values():
            for table in tables:
                has = {column.name.lower() for column in table.columns}
                if columns <= has | {"*"} and _PLAIN.match(table.name):
                    found[f"{table.name} AS {qualifier}"] = found[f"{table.name} {qualifier}"] = [table]
        for name in ctes:
            found[f"{name} AS {qualifier}"] = found[f"{name} {qualifier}"] = []
        return found

    def _keys(self, here: Table, there: Table) -> list[Pairs]:
        """How two tables are joined. Names alone say it only where no key is declared at all; none
        with a name that needs quotes."""
        found = keys_between(here, there) if here is not there else []
        if self._declares_keys and not any(_refers(a, b) for a, b in ((here, there), (there, here))):
            return []
        return [pairs for pairs in found if all(_PLAIN.match(name) for pair in pairs for name in pair)]

    def _alias(self, named: re.Match[str], before: str) -> Expected | None:
        """The rest of an alias that a table has to get; None where it may have another, or none."""
        wanted = self._wanted_sources(before, self._ctes | {match[1] for match in _CTE.finditer(before)})
        if any(name.lower() == named[1].lower() for name in wanted):
            return None
        return _going_on(wanted, named[1] + named[2])

    def _sources_at(self, blank: str, typed: str, before: str) -> Expected | None:
        if not self._table_names:
            return None
        ctes = self._ctes | {match[1] for match in _CTE.finditer(before)}
        wanted = self._wanted_sources(before, ctes)
        if wanted:
            wanted |= set(_QUOTES)
        if wanted and not blank:
            return Expected(frozenset(f"{gap}{one}" for gap in _GAPS for one in wanted))
        if wanted and (found := _going_on(wanted, typed)) is not None:
            return found
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
        self._bare: dict[str, list[Table]] = {}
        self._seen: set[str] = set()
        self.opaque = False
        """There is a source whose columns are not known."""

    def copy(self) -> _Sources:
        other = _Sources(self._tables, self._unknown)
        other._bare = dict(self._bare)
        other._seen, other.opaque = set(self._seen), self.opaque
        other._aliases = {alias: list(tables) for alias, tables in self._aliases.items()}
        return other

    def read(self, text: str) -> None:
        """Take down what `text` joins."""
        self._unknown |= {match[1].lower() for match in _CTE.finditer(text)}
        derived = {match[1].lower() for match in _DERIVED.finditer(text)}
        self._unknown |= derived
        self._seen |= derived
        self.opaque |= bool(derived)
        for match in _SOURCE.finditer(text):
            name, alias = match[2].lower(), match[3]
            tables = [] if name in self._unknown else self._tables.get(name, [])
            if match[0][0] == "," and not tables:
                continue  # hardly a source
            self.opaque |= not tables
            self._seen.add((alias or name).lower())
            if not tables:
                if alias is not None:
                    self._unknown.add(alias.lower())
            elif alias is not None:
                self._aliases.setdefault(alias.lower(), []).extend(tables)
            elif match[0][0] != ",":
                self._bare[name] = tables

    def knows(self, qualifier: str) -> bool:
        """Whether `qualifier` stands for something here."""
        return qualifier.lower() in self._seen

    def present(self) -> list[Table]:
        """The tables that are joined, each once."""
        tables = [table for group in (*self._aliases.values(), *self._bare.values()) for table in group]
        return list(dict.fromkeys(tables))

    def tables(self, qualifier: str) -> list[Table]:
        """The tables that `qualifier` can stand for; none where that is not certain."""
        key = qualifier.lower()
        if key in self._unknown:
            return []
        return self._aliases.get(key) or self._tables.get(key, [])


def _code(text: str, dialect: str) -> str:
    """`text` with blanks in place of its comments and strings."""
    parts = list(text)
    for piece in statements.pieces(text, dialect):
        if piece.is_comment or piece.kind == "string":
            parts[piece.start : piece.end] = " " * (piece.end - piece.start)
    return "".join(parts)


def _select_before(text: str) -> str:
    """The part of `text` that belongs to the SELECT open at its end, nested ones left out."""
    return _SET_OPERATION.split(_enclosing(text))[-1]


def _select_after(text: str) -> str:
    """The same for what stands right of the cursor."""
    return _SET_OPERATION.split(_without_nested(text).partition(")")[0])[0]


def _opened(text: str) -> int:
    """How many brackets are open at the end of `text`."""
    return _without_nested(text).count("(")


def _without_nested(text: str) -> str:
    """`text` without its bracketed parts."""
    while True:
        outer = _INNERMOST.sub(" ", text)
        if outer == text:
            return text
        text = outer


def _refers(one: Table, other: Table) -> bool:
    return any(key.ref_table.lower() == other.name.lower() for key in one.foreign_keys)


def _enclosing(text: str) -> str:
    """What stands in the innermost bracket that is open at the end of `text`, without closed ones."""
    outer = _without_nested(text)
    return outer[outer.rfind("(") + 1 :]


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
