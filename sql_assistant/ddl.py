"""Pasted DDL to a schema, and a schema to plain DDL.

Whole dumps are taken: what does not describe tables (rows, indexes, triggers, PRAGMA, SET) is
stepped over, statement by statement; a broken CREATE TABLE is an error with its line.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from serve.errors import TooLarge, Unprocessable
from sql_assistant import dialects, names, parsing, resolver, statements
from sql_assistant.ddl_reader import Change, DdlError, Definition, Reader
from sql_assistant.ddl_words import CREATE_MODIFIERS, OTHER_OBJECTS, RESERVED
from sql_assistant.dialects import Dialect
from sql_assistant.schema import Column, Schema, Table

MAX_DDL_CHARS = 2 * 1024 * 1024
MAX_TABLES = 5_000
_HEADS = frozenset(
    "INSERT REPLACE UPDATE DELETE SELECT WITH SET PRAGMA BEGIN COMMIT END START ROLLBACK SAVEPOINT RELEASE "
    "DROP USE GO LOCK UNLOCK GRANT REVOKE ANALYZE VACUUM REINDEX ATTACH DETACH COPY MERGE TRUNCATE CALL "
    "EXEC EXECUTE DO PRINT IF DECLARE REFRESH SHOW EXPLAIN DELIMITER NOTIFY LISTEN RESET DISCARD LOAD "
    "INSTALL SECURITY VALUES RENAME "
    "DESCRIBE DESC CHECKPOINT IMPORT EXPORT REASSIGN DENY RETURN OPTIMIZE FLUSH CLUSTER".split()
)


def parse_ddl(text: str, dialect: str) -> Schema:
    """The tables and views that `text` creates, in its order; cached by text.

    TooLarge over MAX_DDL_CHARS; Unprocessable (param "ddl") with the line where a CREATE TABLE is
    broken, where no table is created, or where the text is no DDL at all.
    """
    if len(text) > MAX_DDL_CHARS:
        raise TooLarge(f"the DDL has {len(text):,} characters; the limit is {MAX_DDL_CHARS:,}", param="ddl")
    return _parse_cached(text, dialects.get(dialect).name)


@lru_cache(maxsize=32)
def _parse_cached(text: str, dialect: str) -> Schema:
    nul = text.find("\0")
    if nul >= 0:
        raise _error(text, nul, "a NUL character is not part of SQL")
    known = dialects.get(dialect)
    code = _without_client_commands(text, known)
    found: list[Definition] = []
    changes: list[Change] = []
    for span in statements.split(code, dialect):
        reader = Reader(code, span, known)
        if not reader.pieces:
            continue
        try:
            read = _statement(reader)
        except DdlError as error:
            raise _error(text, error.at, error.message) from None
        if isinstance(read, Definition):
            found.append(read)
        elif read is not None:
            changes.append(read)
        if len(found) > MAX_TABLES:
            raise TooLarge(f"the DDL creates more than {MAX_TABLES:,} tables", param="ddl")
    if not found:
        raise Unprocessable("the DDL creates no table; paste CREATE TABLE statements", param="ddl")
    return _assemble(found, changes, code, known)


def _statement(reader: Reader) -> Definition | Change | None:
    """What one statement defines or changes; None where it says nothing of tables."""
    head = reader.word()
    if reader.accept("CREATE"):
        reader.skip_words(CREATE_MODIFIERS)
        if reader.accept("TABLE"):
            return reader.create_table()
        if reader.accept("VIRTUAL", "TABLE"):
            return reader.create_virtual_table()
        if reader.accept("VIEW"):
            return reader.create_view()
        if reader.dialect.name == "mysql" and reader.word() in ("ALGORITHM", "DEFINER", "SQL"):
            return _mysql_view(reader)
        if reader.word() in OTHER_OBJECTS:
            return None
        raise reader.fail("CREATE what? expected TABLE or VIEW")
    if reader.accept("ALTER", "TABLE"):
        return _alter(reader)
    if reader.accept("COMMENT", "ON"):
        return _comment(reader)
    if head == "ALTER" or head in _HEADS:
        return None
    raise reader.fail("this is not a SQL statement:")


def _mysql_view(reader: Reader) -> Definition | None:
    while reader.at < len(reader.pieces):
        if reader.accept("VIEW"):
            return reader.create_view()
        reader.at += 1
    return None


def _alter(reader: Reader) -> Change:
    """ALTER TABLE t ADD [COLUMN] ... and ADD CONSTRAINT ... keys; other actions are stepped over."""
    reader.skip_words(frozenset({"ONLY"}))
    reader.accept("IF", "EXISTS")
    at = reader.offset()
    schema, name = reader.qualified_name("the table's name")
    change = Change(name, schema, at)
    while reader.at < len(reader.pieces):
        reader.accept("WITH", "CHECK")
        reader.accept("WITH", "NOCHECK")
        if reader.accept("ADD"):
            is_column = reader.accept("COLUMN")
            reader.accept("IF", "NOT", "EXISTS")
            if reader.word() == "(":
                reader.skip_brackets()
            elif not is_column and reader.is_constraint():
                primary, foreign = reader.table_constraint()
                change.primary_key = primary or change.primary_key
                change.foreign_keys += tuple(foreign)
            elif is_column or reader.word() not in ("PARTITION", "SEARCH", "ROW"):
                column, is_key, references = reader.column()
                change.columns += (column,)
                change.primary_key = (column.name,) if is_key else change.primary_key
                change.foreign_keys += tuple(references)
        reader.skip_item()
        if not reader.accept(","):
            break
    return change


def _comment(reader: Reader) -> Change | None:
    """COMMENT ON TABLE | VIEW | COLUMN x IS '...'."""
    if reader.word() not in ("TABLE", "VIEW", "COLUMN"):
        return None
    kind = reader.word()
    reader.at += 1
    at = reader.offset()
    parts = [reader.name("a name")]
    while reader.accept("."):
        parts.append(reader.name("a name"))
    if not reader.accept("IS"):
        raise reader.fail("IS is missing")
    text = reader.string() or ""
    column = parts.pop() if kind == "COLUMN" and len(parts) > 1 else ""
    space = parts[-2] if len(parts) > 1 else ""
    space = "" if space.lower() in reader.dialect.default_schemas else space
    change = Change(parts[-1], space, at)
    if kind == "COLUMN":
        change.column_comment = (column, text)
    else:
        change.comment = text
    return change


def _assemble(found: list[Definition], changes: list[Change], code: str, dialect: Dialect) -> Schema:
    """Parents' columns, ALTER and COMMENT statements, then views in an order that resolves them."""
    tables: dict[tuple[str, str], Definition] = {}
    for definition in found:
        tables[_key(definition.table, dialect)] = definition
    by_name = {name: definition for (_, name), definition in tables.items()}
    for definition in tables.values():
        for parent in reversed(definition.parents):
            source = by_name.get(names.key(parent, dialect.table_case))
            if source is not None and source is not definition:
                columns = (*source.table.columns, *definition.table.columns)
                definition.table = replace(definition.table, columns=columns)
    for change in changes:
        target = tables.get(
            (names.key(change.schema, dialect.table_case), names.key(change.name, dialect.table_case))
        )
        if target is not None:
            target.table = _changed(target.table, change, dialect)
    _resolve_queries(list(tables.values()), code, dialect)
    return Schema(tuple(_with_keys(d.table, by_name, dialect) for d in tables.values()), dialect.name)


def _key(table: Table, dialect: Dialect) -> tuple[str, str]:
    return names.key(table.schema, dialect.table_case), names.key(table.name, dialect.table_case)


def _changed(table: Table, change: Change, dialect: Dialect) -> Table:
    columns = (*table.columns, *change.columns)
    if change.column_comment is not None:
        wanted, text = change.column_comment
        columns = tuple(replace(c, comment=text) if _same(c.name, wanted, dialect) else c for c in columns)
    return replace(
        table,
        columns=columns,
        primary_key=change.primary_key or table.primary_key,
        foreign_keys=(*table.foreign_keys, *change.foreign_keys),
        comment=table.comment if change.comment is None else change.comment,
    )


def _same(one: str, other: str, dialect: Dialect) -> bool:
    return names.key(one, dialect.column_case) == names.key(other, dialect.column_case)


def _resolve_queries(definitions: list[Definition], code: str, dialect: Dialect) -> None:
    """Columns of views and of CREATE TABLE AS; a view may stand before what it reads."""
    waiting = [d for d in definitions if d.query is not None]
    for _ in range(len(waiting)):
        ready = [d for d in definitions if d not in waiting]
        progress = False
        for definition in list(waiting):
            index = names.NameIndex(Schema(tuple(d.table for d in ready), dialect.name), dialect)
            columns = _query_columns(definition, code, index)
            if columns.complete:
                definition.table = _filled(definition.table, columns.names)
                waiting.remove(definition)
                ready.append(definition)
                progress = True
        if not progress:
            break
    for definition in waiting:
        # Columns that were listed are known even where the query is not.
        definition.table = replace(
            definition.table, is_view=definition.table.is_view or not definition.table.columns
        )


def _query_columns(definition: Definition, code: str, index: names.NameIndex) -> names.Columns:
    if definition.table.columns:
        return names.Columns(tuple(c.name for c in definition.table.columns), complete=True)
    start, end = definition.query or (0, 0)
    if end - start > parsing.MAX_STATEMENT_CHARS:
        return names.UNKNOWN
    tree = parsing.parse(code[start:end], index.dialect.name).tree
    try:
        return resolver.output_columns(tree, index) if tree is not None else names.UNKNOWN
    except RecursionError:
        return names.UNKNOWN


def _filled(table: Table, columns: tuple[str, ...]) -> Table:
    return table if table.columns else replace(table, columns=tuple(Column(name) for name in columns))


def _with_keys(table: Table, by_name: dict[str, Definition], dialect: Dialect) -> Table:
    """Key columns are not null and spelled as defined; REFERENCES t alone means t's primary key."""
    keys = []
    for foreign in table.foreign_keys:
        target = by_name.get(names.key(foreign.ref_table, dialect.table_case))
        if not foreign.ref_columns and target is not None:
            foreign = replace(foreign, ref_columns=target.table.primary_key)
        keys.append(foreign)
    primary = tuple(_spelled(table, name, dialect) for name in table.primary_key)
    columns = tuple(replace(c, nullable=c.nullable and c.name not in primary) for c in table.columns)
    return replace(table, columns=columns, foreign_keys=tuple(keys), primary_key=primary)


def _spelled(table: Table, name: str, dialect: Dialect) -> str:
    return next((c.name for c in table.columns if _same(c.name, name, dialect)), name)


def _without_client_commands(text: str, dialect: Dialect) -> str:
    """Blank out what clients, not servers, read; offsets stay."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    if dialect.name == "postgres":
        text = re.sub(r"^COPY\s[^;]*FROM stdin;\n(?:.*\n)*?\\\.$", blank, text, flags=re.M | re.I)
        text = re.sub(r"^\\.*$", blank, text, flags=re.M)
    elif dialect.name == "mysql":
        text = re.sub(
            r"^DELIMITER\s+(?!;\s*$)\S+[\s\S]*?(?:^DELIMITER\s*;[ \t]*$|\Z)", blank, text, flags=re.M | re.I
        )
        text = re.sub(
            r"/\*!\d*((?:[^*]|\*(?!/))*)\*/", lambda m: m.group(1).rjust(len(m.group()) - 2) + "  ", text
        )
    elif dialect.name == "tsql":
        text = re.sub(r"^GO[ \t]*\d*[ \t\r]*$", lambda m: ";".ljust(len(m.group())), text, flags=re.M | re.I)
    return text


def _error(text: str, at: int, message: str) -> Unprocessable:
    line = text.count("\n", 0, at) + 1
    return Unprocessable(f"line {line} of the DDL: {message}", param="ddl")


def render_ddl(schema: Schema) -> str:
    """Plain CREATE TABLE text: stable, and `parse_ddl` reads it back to an equal schema.

    A view becomes CREATE VIEW with its columns and types in brackets and no query.
    """
    dialect = dialects.get(schema.dialect)
    return "\n".join(_render_table(table, dialect) for table in schema.tables)


def _render_table(table: Table, dialect: Dialect) -> str:
    def name(text: str) -> str:
        return _quote(text, dialect)

    full = f"{name(table.schema)}.{name(table.name)}" if table.schema else name(table.name)
    head = f"-- {_one_line(table.comment)}\n" if table.comment else ""
    if not table.columns:
        return f"{head}CREATE VIEW {full};\n"
    items: list[tuple[str, str]] = []
    for column in table.columns:
        null = "" if column.nullable or column.name in table.primary_key else " NOT NULL"
        items.append((f"{name(column.name)} {column.type}".rstrip() + null, _one_line(column.comment)))
    if table.primary_key:
        items.append((f"PRIMARY KEY ({', '.join(map(name, table.primary_key))})", ""))
    for foreign in table.foreign_keys:
        columns, referred = (", ".join(map(name, part)) for part in (foreign.columns, foreign.ref_columns))
        target = name(foreign.ref_table) + (f" ({referred})" if referred else "")
        items.append((f"FOREIGN KEY ({columns}) REFERENCES {target}", ""))
    lines = [
        f"  {item}{',' if i < len(items) - 1 else ''}{f' -- {comment}' if comment else ''}"
        for i, (item, comment) in enumerate(items)
    ]
    kind = "VIEW" if table.is_view else "TABLE"
    return f"{head}CREATE {kind} {full} (\n" + "\n".join(lines) + "\n);\n"


def _one_line(comment: str) -> str:
    return re.sub(r"\s+", " ", comment).strip()


def _quote(name: str, dialect: Dialect) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.upper() not in RESERVED
    if plain and names.true_name(name, False, dialect.table_case) == name:
        return name
    opening, closing = dialect.identifier_quotes[0]
    return f"{opening}{name.replace(closing, closing * 2)}{closing}"
