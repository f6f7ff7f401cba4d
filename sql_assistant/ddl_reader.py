"""Reads one CREATE TABLE, CREATE VIEW, ALTER TABLE or COMMENT ON statement into plain data.

Our own reader rather than sqlglot's: it keeps types as they were written and the comments behind
columns, takes every dialect's table options, and is fast enough for dumps of megabytes. It checks
what a schema needs (names, brackets, column definitions), not every option.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sql_assistant import statements
from sql_assistant.dialects import Dialect
from sql_assistant.names import true_name
from sql_assistant.schema import Column, ForeignKey, Table
from sql_assistant.statements import Piece

_TYPE_ENDS = frozenset(
    "NOT NULL PRIMARY UNIQUE DEFAULT CHECK REFERENCES COLLATE GENERATED AS CONSTRAINT COMMENT "
    "AUTO_INCREMENT AUTOINCREMENT IDENTITY ON ENCODE OPTIONS KEY VIRTUAL STORED INVISIBLE VISIBLE MASKING "
    "TAG FOREIGN SPARSE "
    "ROWGUIDCOL STORAGE COMPRESSION DEFERRABLE INITIALLY WITHOUT_DEFAULT SRID ENABLE DISABLE VALIDATE".split()
)
_ITEM_CONSTRAINTS = frozenset(
    "CONSTRAINT PRIMARY FOREIGN UNIQUE CHECK EXCLUDE KEY INDEX FULLTEXT SPATIAL PERIOD LIKE".split()
)
_AFTER = {
    "PRIMARY": ("KEY",),
    "FOREIGN": ("KEY",),
    "NOT": ("NULL", "DEFERRABLE", "ENFORCED", "FOR", "VALID", "VISIBLE"),
}


class DdlError(Exception):
    """What is wrong at the character `at` of the text."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(slots=True)
class Definition:
    """A table or view as read; `query` is the span of the SELECT behind AS, where there is one."""

    table: Table
    query: statements.Span | None = None
    parents: tuple[str, ...] = ()
    """Tables whose columns come first (INHERITS, LIKE, PARTITION OF)."""


@dataclass(slots=True)
class Change:
    """What ALTER TABLE or COMMENT ON does to the table `name`."""

    name: str
    schema: str
    at: int
    columns: tuple[Column, ...] = ()
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    comment: str | None = None
    column_comment: tuple[str, str] | None = None


@dataclass(slots=True)
class Reader:
    """A cursor over the code pieces of the statement in text[span]."""

    text: str
    span: statements.Span
    dialect: Dialect
    at: int = 0
    pieces: list[Piece] = field(default_factory=list)
    comments: list[Piece] = field(default_factory=list)

    def __post_init__(self) -> None:
        start, end = self.span
        for p in statements.pieces(self.text[start:end], self.dialect.name):
            moved = Piece(p.kind, p.start + start, p.end + start, p.closed)
            (self.comments if p.is_comment else self.pieces).append(moved)

    # -- the cursor ---------------------------------------------------------------------------

    def word(self, ahead: int = 0) -> str:
        """The bare word or symbol here in capitals, "" at the end or where it is quoted."""
        if self.at + ahead >= len(self.pieces):
            return ""
        piece = self.pieces[self.at + ahead]
        return self.text[piece.start : piece.end].upper() if piece.kind in ("word", "symbol") else ""

    def accept(self, *words: str) -> bool:
        """Step over `words` where they stand here one after the other."""
        if all(self.word(i) == word for i, word in enumerate(words)):
            self.at += len(words)
            return True
        return False

    def skip_words(self, words: frozenset[str]) -> None:
        """Step over any number of these words."""
        while self.word() in words:
            self.at += 1

    def offset(self) -> int:
        """Where the piece here starts; the statement's end behind the last one."""
        return self.pieces[self.at].start if self.at < len(self.pieces) else self.span[1]

    def fail(self, message: str) -> DdlError:
        """An error at the piece here."""
        near = ""
        if self.at < len(self.pieces):
            piece = self.pieces[self.at]
            near = f" near {self.text[piece.start : min(piece.end, piece.start + 40)]!r}"
        return DdlError(message + near, self.offset())

    def name(self, what: str) -> str:
        """Step over one name; as the engine stores it."""
        if self.at < len(self.pieces):
            piece = self.pieces[self.at]
            raw = self.text[piece.start : piece.end]
            if piece.kind == "word":
                self.at += 1
                return true_name(raw, False, self.dialect.table_case)
            # MySQL and SQLite dumps have "name" and 'name' too.
            if piece.kind in ("name", "string") and piece.closed and len(raw) > 2:
                self.at += 1
                return raw[1:-1].replace(raw[-1] * 2, raw[-1])
        raise self.fail(f"{what} is missing")

    def qualified_name(self, what: str) -> tuple[str, str]:
        """(namespace, name) of `a.b.name`; the namespace is the part before the name."""
        parts = [self.name(what)]
        while self.accept("."):
            parts.append(self.name(what))
        if len(parts) == 1 and self.dialect.name == "bigquery" and "." in parts[0]:
            parts = parts[0].split(".")
        space = parts[-2] if len(parts) > 1 else ""
        return ("" if space.lower() in self.dialect.default_schemas else space), parts[-1]

    def skip_brackets(self) -> statements.Span:
        """Step over a bracketed group; the span between its brackets."""
        opening = self.at
        depth = 0
        while self.at < len(self.pieces):
            word = self.word()
            depth += (word in ("(", "[", "{")) - (word in (")", "]", "}"))
            self.at += 1
            if depth == 0:
                return self.pieces[opening].end, self.pieces[self.at - 1].start
        self.at = opening
        raise self.fail("this bracket is never closed:")

    def name_list(self) -> tuple[str, ...]:
        """The names in a bracketed list, with any length or order behind each stepped over."""
        if not self.accept("("):
            raise self.fail("'(' is missing")
        found = []
        while not self.accept(")"):
            if self.word() == "(":
                self.skip_brackets()  # an expression in an index
            else:
                found.append(self.name("a column name"))
            while self.word() not in (",", ")"):
                if self.at >= len(self.pieces):
                    raise self.fail("')' is missing")
                if self.word() == "(":
                    self.skip_brackets()
                else:
                    self.at += 1
            self.accept(",")
        return tuple(found)

    def string(self) -> str | None:
        """Step over a string; its value."""
        if self.at < len(self.pieces) and self.pieces[self.at].kind == "string":
            piece = self.pieces[self.at]
            self.at += 1
            return _string_value(self.text[piece.start : piece.end])
        return None

    # -- CREATE TABLE -------------------------------------------------------------------------

    def create_table(self) -> Definition:
        """From the table's name on."""
        self.accept("IF", "NOT", "EXISTS")
        start = self.offset()
        schema, name = self.qualified_name("the table's name")
        table = Table(name, (), schema)
        definition = Definition(table)
        if self.accept("PARTITION", "OF"):
            definition.parents = (self.qualified_name("the parent table")[1],)
            return definition
        if self.accept("LIKE") or self.accept("CLONE"):
            definition.parents = (self.qualified_name("the table to copy")[1],)
            return definition
        if self.word() == "(" and self.word(1) not in ("SELECT", "WITH"):
            definition.table = self._items(table, definition)
        elif self.word() not in ("AS", "(", "SELECT", "WITH", "USING", "OPTIONS", "COMMENT", "OF", "CLUSTER"):
            if self.word() != "PARTITION":
                raise self.fail(f"expected '(' with the columns of {name}")
        self._options(definition)
        if not definition.table.comment:
            comment = self._comment_before(start)
            definition.table = replace(definition.table, comment=comment)
        return definition

    def create_view(self) -> Definition:
        """From the view's name on."""
        self.accept("IF", "NOT", "EXISTS")
        schema, name = self.qualified_name("the view's name")
        definition = Definition(Table(name, (), schema, is_view=True))
        if self.word() == "(":
            definition.table = self._items(definition.table, definition)
        self._options(definition)
        return definition

    def create_virtual_table(self) -> Definition:
        """SQLite's CREATE VIRTUAL TABLE: full-text tables list their columns, others do not tell."""
        self.accept("IF", "NOT", "EXISTS")
        schema, name = self.qualified_name("the table's name")
        if not self.accept("USING"):
            raise self.fail("USING is missing")
        module = self.name("the module's name").lower()
        columns: list[Column] = []
        if module.startswith("fts") and self.word() == "(":
            start, end = self.skip_brackets()
            for argument in self.text[start:end].split(","):
                words = argument.split()
                if words and "=" not in argument:
                    columns.append(Column(words[0].strip("\"'`[]")))
            columns += [Column("rank", "HIDDEN"), Column(name, "HIDDEN")]
        return Definition(Table(name, tuple(columns), schema, is_view=not columns))

    def _items(self, table: Table, definition: Definition) -> Table:
        """The bracketed column definitions and table constraints."""
        self.at += 1
        columns: list[tuple[Column, int, int]] = []
        primary: tuple[str, ...] = ()
        foreign: list[ForeignKey] = []
        closed = False
        while not closed:
            if self.at >= len(self.pieces):
                raise self.fail(f"the column list of {table.name} is never closed; ')' is missing")
            if self.word() in (",", ")") and not (
                self.word() == ")" and self.dialect.trailing_comma and columns
            ):
                if not (self.word() == ")" and self.dialect.name == "postgres" and not columns):
                    raise self.fail(f"a column definition is missing in {table.name}")
            if self.word() == ")":
                self.at += 1
                break
            if self.word() == "LIKE":
                self.at += 1
                definition.parents += (self.qualified_name("the table to copy")[1],)
                self.skip_item()
            elif self.is_constraint():
                keys, references = self.table_constraint()
                primary = keys or primary
                foreign += references
            else:
                start = self.offset()
                column, is_key, references = self.column()
                columns.append((column, start, self.pieces[self.at - 1].end))
                primary = (*primary, column.name) if is_key else primary
                foreign += references
            closed = self._end_item(table.name)
        commented = self._with_comments(columns)
        return replace(table, columns=commented, primary_key=primary, foreign_keys=tuple(foreign))

    def _end_item(self, table: str) -> bool:
        if self.accept(","):
            return False
        if self.accept(")"):
            return True
        raise self.fail(f"expected ',' or ')' in the columns of {table}")

    def is_constraint(self) -> bool:
        """A table constraint starts here, not a column that is called like one."""
        word = self.word()
        if word not in _ITEM_CONSTRAINTS:
            return False
        after = self.word(1)
        if word in ("KEY", "INDEX", "PERIOD", "CHECK", "LIKE", "EXCLUDE"):
            bracket = any(self.word(i) == "(" for i in (1, 2)) or after in ("FOR", "USING")
            return bracket and not (
                after not in ("(", "FOR", "USING", "") and self.word(2) == "(" and word == "PERIOD"
            )
        return True

    def column(self) -> tuple[Column, bool, list[ForeignKey]]:
        name = self.name("a column name")
        type_start, type_end = self.offset(), self.offset()
        angle = 0
        while self.at < len(self.pieces):
            word = self.word()
            if angle == 0 and (
                word in (",", ")") or word in _TYPE_ENDS or self.pieces[self.at].kind == "string"
            ):
                break
            if word == "(":
                self.skip_brackets()
            else:
                angle += (word == "<") - (word == ">")
                self.at += 1
            type_end = self.pieces[self.at - 1].end
        written = re.sub(r"\s+", " ", self.text[type_start:type_end]).strip()
        nullable, is_key, comment = True, False, ""
        foreign: list[ForeignKey] = []
        while self.at < len(self.pieces) and self.word() not in (",", ")"):
            word = self.word()
            self._expect_pair(word)
            if self.accept("NOT", "NULL"):
                nullable = False
            elif self.accept("PRIMARY", "KEY"):
                is_key = True
            elif self.accept("REFERENCES"):
                foreign.append(self._references((name,)))
            elif self.accept("COMMENT"):
                comment = self.string() or comment
            elif self.accept("OPTIONS"):
                start, end = self.skip_brackets()
                comment = _description(self.text[start:end]) or comment
            elif word == "(":
                self.skip_brackets()
            elif self.accept("DEFAULT"):
                self._skip_default()
            else:
                self.at += 1
        return Column(name, written, nullable and not is_key, comment), is_key, foreign

    def _expect_pair(self, word: str) -> None:
        wanted = _AFTER.get(word)
        if wanted is not None and self.word(1) not in wanted:
            self.at += 1
            raise self.fail(f"expected {' or '.join(wanted[:2])} after {word}")

    def _skip_default(self) -> None:
        """A default's first operand, so that DEFAULT NOT x or DEFAULT key is no constraint."""
        if self.word() in (",", ")") or self.at >= len(self.pieces):
            raise self.fail("a value is missing after DEFAULT")
        if self.word() == "(":
            self.skip_brackets()
        else:
            self.at += 1

    def _references(self, columns: tuple[str, ...]) -> ForeignKey:
        _, table = self.qualified_name("the table referred to")
        referred = self.name_list() if self.word() == "(" else ()
        return ForeignKey(columns, table, referred)

    def table_constraint(self) -> tuple[tuple[str, ...], list[ForeignKey]]:
        """(primary key columns, foreign keys) of a table constraint."""
        if self.accept("CONSTRAINT") and not (
            self.word() in _ITEM_CONSTRAINTS and self.word(1) in ("KEY", "(")
        ):
            self.name("the constraint's name")
        primary: tuple[str, ...] = ()
        foreign: list[ForeignKey] = []
        self._expect_pair(self.word())
        if self.accept("PRIMARY", "KEY"):
            self.skip_words(frozenset({"CLUSTERED", "NONCLUSTERED", "USING", "BTREE", "HASH"}))
            primary = self.name_list()
        elif self.accept("FOREIGN", "KEY"):
            if self.word() != "(":
                self.name("the key's name")
            columns = self.name_list()
            if not self.accept("REFERENCES"):
                raise self.fail("REFERENCES is missing")
            foreign.append(self._references(columns))
        self.skip_item()
        return primary, foreign

    def skip_item(self) -> None:
        while self.at < len(self.pieces) and self.word() not in (",", ")"):
            if self.word() == "(":
                self.skip_brackets()
            else:
                self.at += 1

    def _options(self, definition: Definition) -> None:
        """What follows the columns: comments, parents, AS SELECT; the rest is stepped over."""
        while self.at < len(self.pieces):
            word = self.word()
            if self.accept("COMMENT"):
                self.accept("=")
                comment = self.string()
                if comment is not None:
                    definition.table = replace(definition.table, comment=comment)
            elif self.accept("OPTIONS"):
                start, end = self.skip_brackets()
                comment = _description(self.text[start:end]) or definition.table.comment
                definition.table = replace(definition.table, comment=comment)
            elif self.accept("INHERITS"):
                definition.parents += self.name_list()
            elif word == "AS" or (word in ("SELECT", "WITH") and self._query_follows()):
                self.at += word == "AS"
                definition.query = (self.offset(), self.span[1])
                return
            elif word == "(":
                self.skip_brackets()
            elif word == ")":
                raise self.fail("this bracket closes nothing:")
            else:
                self.at += 1

    def _query_follows(self) -> bool:
        return self.word() == "SELECT" or self.word(2) in ("AS", "(")

    # -- comments -----------------------------------------------------------------------------

    def _with_comments(self, columns: Sequence[tuple[Column, int, int]]) -> tuple[Column, ...]:
        """A comment on a column's last line is that column's, one on lines of its own the next one's."""
        texts: dict[int, list[str]] = {}
        for comment in self.comments:
            before = [i for i, (_, start, _) in enumerate(columns) if start < comment.start]
            after = [i for i, (_, start, _) in enumerate(columns) if start > comment.start]
            if before and "\n" not in self.text[columns[before[-1]][2] : comment.start]:
                owner = before[-1]
            elif after and before:
                owner = after[0]
            else:
                continue
            texts.setdefault(owner, []).append(_comment_text(self.text[comment.start : comment.end]))
        return tuple(
            replace(column, comment=" ".join(filter(None, texts[i])))
            if i in texts and not column.comment
            else column
            for i, (column, _, _) in enumerate(columns)
        )

    def _comment_before(self, name_start: int) -> str:
        """The comment lines that end right above CREATE."""
        create = self.pieces[0].start
        found = [c for c in self.comments if c.end <= create and c.start < name_start]
        if not found or self.text[found[-1].end : create].count("\n") > 1:
            return ""
        return _comment_text(self.text[found[-1].start : found[-1].end])


def _comment_text(raw: str) -> str:
    body = raw[2:-2] if raw.startswith("/*") else raw.lstrip("-#/")
    return re.sub(r"\s+", " ", body).strip(" *")


def _string_value(raw: str) -> str:
    if raw.startswith("$"):
        tag = raw[: raw.index("$", 1) + 1]
        return raw[len(tag) : -len(tag)]
    raw = raw.lstrip("bBeEnNrRuU")
    return raw[1:-1].replace(raw[:1] * 2, raw[:1]).replace("\\'", "'").replace("\\n", " ")


def _description(options: str) -> str:
    """BigQuery's OPTIONS(description="...")."""
    found = re.search(r"""description\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""", options, re.I)
    return (found.group(1) or found.group(2) or "") if found else ""
