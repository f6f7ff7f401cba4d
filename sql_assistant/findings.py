"""Turns what the resolver finds into issues: offsets, wording, and the nearest name that exists."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from sql_assistant import names
from sql_assistant.names import NameIndex
from sql_assistant.scopes import Scope, Source
from sql_assistant.types import Issue, IssueKind


class Findings:
    """Collects the issues of one statement, each place once."""

    def __init__(self, index: NameIndex, text: str) -> None:
        self.index = index
        self.text = text
        self.issues: list[Issue] = []
        self._seen: set[tuple[IssueKind, int, int]] = set()

    def unknown_table(self, name: exp.Identifier, common_tables: Iterable[str]) -> None:
        """FROM names something that is neither a table nor a CTE."""
        hint = _hint(names.near(name.name, [*common_tables, *self.index.table_names()]))
        self._add("unknown_table", f"unknown table {name.name!r}{hint}", name)

    def unknown_qualifier(self, name: exp.Identifier, scope: Scope) -> None:
        """`x.column` where nothing in scope is called x."""
        known = [source.alias for s in scope.chain() for source in s.sources if source.alias]
        aliased = [
            s.alias for outer in scope.chain() for s in outer.sources if s.name == name.name and s.alias
        ]
        hint = f"; it is called {aliased[0]!r} here" if aliased else _hint(names.near(name.name, known))
        self._add("unknown_table", f"no table or alias {name.name!r} is in scope here{hint}", name)

    def unknown_column_of(self, name: exp.Identifier, source: Source) -> None:
        """`source.name`, or a column list of `source`."""
        hint = _hint(names.near(name.name, source.columns.names))
        self._add("unknown_column", f"unknown column {name.name!r} in {source.name}{hint}", name)

    def unknown_column(self, name: exp.Identifier, scope: Scope) -> None:
        """A bare name that no source in scope has."""
        visible = dict(reversed(list(scope.visible_columns())))
        found = names.near(name.name, visible)
        hint = f"; did you mean {found!r} of {visible[found]}?" if found else ""
        tables = ", ".join(dict.fromkeys(source.name for source in scope.sources)) or "no table in scope"
        self._add("unknown_column", f"unknown column {name.name!r} ({tables}){hint}", name)

    def ambiguous(self, name: exp.Identifier, holders: Iterable[Source]) -> None:
        """A bare name that two sources have."""
        where = " and ".join(f"{source.alias or source.name}" for source in holders)
        self._add("ambiguous_column", f"column {name.name!r} is ambiguous: {where} have it", name)

    def quoted_string(self, name: exp.Identifier, scope: Scope) -> None:
        """SQLite takes an unknown "x" for a string; worth a warning where a column is nearly so called."""
        visible = dict(reversed(list(scope.visible_columns())))
        found = names.near(name.name, visible)
        if found is not None:
            message = f'"{name.name}" names no column, so SQLite takes it for a string{_hint(found)}'
            self._add("unknown_column", message, name, warning=True)

    def quote_of(self, name: exp.Identifier) -> str:
        """The character that opens a quoted name."""
        start = name.meta.get("start")
        return self.text[start] if start is not None and start < len(self.text) else '"'

    def _add(self, kind: IssueKind, message: str, name: exp.Identifier, *, warning: bool = False) -> None:
        start, end = name.meta.get("start", 0), name.meta.get("end", len(self.text) - 1) + 1
        if (kind, start, end) in self._seen:
            return
        self._seen.add((kind, start, end))
        issue = Issue(
            kind=kind, message=message, start=start, end=end, severity="warning" if warning else "error"
        )
        self.issues.append(issue)


def _hint(found: str | None) -> str:
    return f"; did you mean {found!r}?" if found else ""
