"""The SQL dialects we know, as data: how names compare, what quotes mean, where comments start.

Knows nothing of parsing; `sqlglot` is the name under which sqlglot knows the dialect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from serve.errors import Unprocessable

NameCase = Literal["insensitive", "lower", "upper", "sensitive"]
"""How two spellings of one name compare: letter case never matters; unquoted names fold to lower
or to upper case and quoted ones count as written; or every letter counts."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the rest of the package asks of a dialect. All flags state a fact of the engine itself."""

    name: str
    sqlglot: str
    label: str
    column_case: NameCase = "insensitive"
    table_case: NameCase = "insensitive"
    identifier_quotes: tuple[tuple[str, str], ...] = (('"', '"'),)
    """Pairs that quote a name."""
    string_quotes: tuple[str, ...] = ("'",)
    """Characters that open (and, doubled, stand within) a string."""
    backslash_escapes: bool = False
    """A backslash escapes the next character in every string."""
    triple_quotes: bool = False
    dollar_quotes: bool = False
    """`$tag$ ... $tag$` is a string."""
    escape_strings: bool = False
    """E'...' strings have backslash escapes."""
    hash_comments: bool = False
    dash_comment_needs_space: bool = False
    """`--` starts a comment only before a space or the end of the line (MySQL)."""
    slash_comments: bool = False
    """`//` starts a comment (Snowflake)."""
    nested_comments: bool = False
    quoted_name_may_be_string: bool = False
    """A double-quoted word that names nothing in scope is a string (SQLite)."""
    alias_in_select: bool = False
    """A select item may use the alias of another one."""
    alias_in_where: bool = False
    """WHERE and ON may use a select item's alias."""
    alias_in_group_by: bool = True
    alias_in_having: bool = True
    struct_columns: bool = False
    """`column.field` reads a field of a column."""
    row_values: bool = False
    """A table's name or alias alone is a whole row."""
    insert_without_into: bool = False
    delete_without_from: bool = False
    from_first: bool = False
    """A statement may start with FROM."""
    double_equals: bool = False
    """`==` is an operator."""
    join_needs_condition: bool = False
    """A JOIN that is neither CROSS nor NATURAL needs ON or USING."""
    empty_in_list: bool = False
    """`x IN ()` is right."""
    trailing_comma: bool = False
    """The select list may end in a comma."""
    empty_select: bool = False
    """SELECT without any item is right."""
    default_schemas: tuple[str, ...] = ()
    """Namespaces that mean the same as none."""
    pseudo_columns: frozenset[str] = frozenset()
    """Columns every table has without listing them, lower case."""
    system_schemas: frozenset[str] = frozenset()
    """Namespaces whose tables are the engine's own, lower case."""
    system_prefixes: tuple[str, ...] = ()
    """Tables that start so are the engine's own, lower case."""


_INFORMATION_SCHEMA = frozenset({"information_schema"})

SQLITE = Dialect(
    name="sqlite",
    sqlglot="sqlite",
    label="SQLite",
    double_equals=True,
    empty_in_list=True,
    identifier_quotes=(('"', '"'), ("`", "`"), ("[", "]")),
    quoted_name_may_be_string=True,
    alias_in_where=True,
    default_schemas=("main", "temp"),
    pseudo_columns=frozenset({"rowid", "oid", "_rowid_"}),
    system_prefixes=("sqlite_", "pragma_", "dbstat", "fts5vocab"),
)
POSTGRES = Dialect(
    name="postgres",
    sqlglot="postgres",
    label="PostgreSQL",
    join_needs_condition=True,
    alias_in_having=False,
    row_values=True,
    column_case="lower",
    table_case="lower",
    dollar_quotes=True,
    escape_strings=True,
    nested_comments=True,
    empty_select=True,
    default_schemas=("public",),
    pseudo_columns=frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}),
    system_schemas=frozenset({"information_schema", "pg_catalog", "pg_toast"}),
    system_prefixes=("pg_",),
)
MYSQL = Dialect(
    name="mysql",
    sqlglot="mysql",
    label="MySQL",
    insert_without_into=True,
    identifier_quotes=(("`", "`"),),
    string_quotes=("'", '"'),
    backslash_escapes=True,
    hash_comments=True,
    dash_comment_needs_space=True,
    system_schemas=frozenset({"information_schema", "mysql", "performance_schema", "sys"}),
)
DUCKDB = Dialect(
    name="duckdb",
    sqlglot="duckdb",
    label="DuckDB",
    join_needs_condition=True,
    alias_in_select=True,
    struct_columns=True,
    row_values=True,
    from_first=True,
    double_equals=True,
    dollar_quotes=True,
    escape_strings=True,
    nested_comments=True,
    alias_in_where=True,
    trailing_comma=True,
    default_schemas=("main", "memory", "temp"),
    pseudo_columns=frozenset({"rowid"}),
    system_schemas=frozenset({"information_schema", "pg_catalog", "system"}),
    system_prefixes=("sqlite_", "pg_", "duckdb_", "pragma_"),
)
BIGQUERY = Dialect(
    name="bigquery",
    sqlglot="bigquery",
    label="BigQuery",
    struct_columns=True,
    row_values=True,
    insert_without_into=True,
    delete_without_from=True,
    from_first=True,
    table_case="sensitive",
    identifier_quotes=(("`", "`"),),
    string_quotes=("'", '"'),
    backslash_escapes=True,
    triple_quotes=True,
    hash_comments=True,
    trailing_comma=True,
    pseudo_columns=frozenset(
        {
            "_partitiontime",
            "_partitiondate",
            "_table_suffix",
            "_file_name",
            "_change_type",
            "_change_timestamp",
        }
    ),
    system_schemas=_INFORMATION_SCHEMA,
)
SNOWFLAKE = Dialect(
    name="snowflake",
    sqlglot="snowflake",
    label="Snowflake",
    alias_in_select=True,
    struct_columns=True,
    column_case="upper",
    table_case="upper",
    backslash_escapes=True,
    dollar_quotes=True,
    slash_comments=True,
    alias_in_where=True,
    trailing_comma=True,
    default_schemas=("public",),
    pseudo_columns=frozenset(
        {"metadata$action", "metadata$isupdate", "metadata$row_id", "metadata$filename"}
    ),
    system_schemas=frozenset({"information_schema", "account_usage"}),
)
TSQL = Dialect(
    name="tsql",
    sqlglot="tsql",
    label="SQL Server",
    join_needs_condition=True,
    alias_in_having=False,
    insert_without_into=True,
    delete_without_from=True,
    identifier_quotes=(('"', '"'), ("[", "]")),
    nested_comments=True,
    alias_in_group_by=False,
    default_schemas=("dbo",),
    pseudo_columns=frozenset({"$action", "$identity", "$rowguid", "$partition"}),
    system_schemas=frozenset({"information_schema", "sys"}),
)

DIALECTS = {d.name: d for d in (SQLITE, POSTGRES, MYSQL, DUCKDB, BIGQUERY, SNOWFLAKE, TSQL)}
_ALIASES = {
    "sqlite3": "sqlite",
    "postgresql": "postgres",
    "pg": "postgres",
    "psql": "postgres",
    "mariadb": "mysql",
    "duck": "duckdb",
    "bq": "bigquery",
    "mssql": "tsql",
    "sqlserver": "tsql",
    "sql server": "tsql",
    "t-sql": "tsql",
    "transact-sql": "tsql",
}


def names() -> tuple[str, ...]:
    """The canonical names, in a fixed order."""
    return tuple(DIALECTS)


def get(name: str) -> Dialect:
    """The dialect called `name` (letter case and usual aliases accepted).

    Unprocessable when there is none; the message lists the known ones.
    """
    key = name.strip().lower()
    found = DIALECTS.get(_ALIASES.get(key, key))
    if found is None:
        raise Unprocessable(
            f"unknown SQL dialect {name[:40]!r}; known are {', '.join(names())}", param="dialect"
        )
    return found
