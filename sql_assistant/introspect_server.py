"""Schemas from PostgreSQL and MySQL servers by URL, where the operator allows that server.

Catalogue reads in a read-only transaction, with timeouts; the password never reaches an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serve.errors import InvalidRequest, TooLarge, Unprocessable
from sql_assistant import ddl
from sql_assistant.schema import Column, ForeignKey, Schema, Table

if TYPE_CHECKING:
    from sqlalchemy import Inspector
    from sqlalchemy.engine import URL

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
_FAMILIES = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_DRIVERS = {"postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_PORTS = {"postgres": 5432, "mysql": 3306}
_OPTIONS = {"postgres": {"sslmode"}, "mysql": {"charset"}}
"""Others are refused: in PostgreSQL's URLs an option can name another host or a local file."""
_SYSTEM_SCHEMAS = {"information_schema", "pg_catalog", "pg_toast", "mysql", "performance_schema", "sys"}


def from_url(url: str, allowed_prefixes: Sequence[str]) -> Schema:
    """The schema of the database at `url`: tables, views, keys, comments.

    `allowed_prefixes` are URLs; one allows `url` where scheme and host are the same, the port too
    (each scheme's usual one where none is written), and database and user where the prefix names them.

    InvalidRequest (param "url") where it is no such URL or is not allowed; Unprocessable where the
    server does not answer, refuses, or has no table there.
    """
    parsed = _parse(url)
    family = _family(parsed)
    if not any(_allows(prefix, parsed) for prefix in allowed_prefixes):
        shown = f"{family}://{parsed.host}:{parsed.port or _PORTS[family]}/{parsed.database or ''}"
        raise InvalidRequest(
            f"reading the schema of {shown} is not allowed; the operator lists allowed servers in "
            "the setting schema_database_urls (DISTILSQL_SCHEMA_DATABASE_URLS)",
            param="url",
        )
    return _read(parsed, family)


def _parse(url: str) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
        family = _family(parsed)
    except (ArgumentError, ValueError):
        raise InvalidRequest(
            "this is not a database URL; write postgresql://user:password@host:port/database", param="url"
        ) from None
    if not parsed.host or not parsed.database:
        raise InvalidRequest("the database URL has to name a host and a database", param="url")
    refused = sorted(set(parsed.query) - _OPTIONS[family])
    if refused:
        raise InvalidRequest(f"options not taken in a database URL: {', '.join(refused)}", param="url")
    return parsed


def _family(url: URL) -> str:
    family = _FAMILIES.get(url.drivername.split("+")[0].lower())
    if family is None:
        raise InvalidRequest("only postgresql:// and mysql:// URLs can be read", param="url")
    return family


def _allows(prefix: str, url: URL) -> bool:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        allowed = make_url(prefix)
    except (ArgumentError, ValueError):
        return False
    family = _FAMILIES.get(allowed.drivername.split("+")[0].lower())
    port = _PORTS.get(family or "")
    return (
        family == _family(url)
        and bool(allowed.host)
        and (allowed.host or "").lower() == (url.host or "").lower()
        and (allowed.port or port) == (url.port or port)
        and allowed.database in (None, "", url.database)
        and allowed.username in (None, url.username)
    )


def _read(url: URL, family: str) -> Schema:
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        url.set(drivername=_DRIVERS[family]), poolclass=NullPool, connect_args=_connect_args(family)
    )
    try:
        with warnings.catch_warnings(), engine.connect() as connection:
            # A column type that SQLAlchemy does not know comes as "" instead.
            warnings.simplefilter("ignore")
            tables = _tables(inspect(connection), family)
            connection.rollback()
    except SQLAlchemyError as error:
        reason = _reason(error, url.password)
        raise Unprocessable(f"the database could not be read: {reason}", param="url") from None
    finally:
        engine.dispose()
    if not tables:
        raise Unprocessable("this database has no table that the user may see", param="url")
    return Schema(tuple(tables), family)


def _connect_args(family: str) -> dict[str, Any]:
    if family == "postgres":
        options = f"-c default_transaction_read_only=on -c statement_timeout={READ_TIMEOUT_S * 1000}"
        return {"connect_timeout": CONNECT_TIMEOUT_S, "options": options}
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "init_command": "SET SESSION TRANSACTION READ ONLY",
    }


def _reason(error: Exception, password: object) -> str:
    """What the driver said, without the password and without SQLAlchemy's wrapping."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    for secret in {str(password), *([repr(str(password))] if password else [])} if password else ():
        text = text.replace(secret, "***")
    return text[:300]


def _tables(inspector: Inspector, family: str) -> list[Table]:
    default = inspector.default_schema_name or ""
    namespaces = [default]
    if family == "postgres":
        others = set(inspector.get_schema_names()) - _SYSTEM_SCHEMAS - {default}
        namespaces += sorted(name for name in others if not name.startswith("pg_"))
    found: list[Table] = []
    for namespace in namespaces:
        found += _namespace(inspector, namespace, "" if namespace == default else namespace)
        if len(found) > ddl.MAX_TABLES:
            raise TooLarge(f"the database holds more than {ddl.MAX_TABLES:,} tables", param="url")
    return found


def _namespace(inspector: Inspector, namespace: str, shown: str) -> list[Table]:
    from sqlalchemy.engine.reflection import ObjectKind, ObjectScope

    every: dict[str, Any] = {"schema": namespace, "kind": ObjectKind.ANY, "scope": ObjectScope.DEFAULT}
    columns = inspector.get_multi_columns(**every)
    primary = inspector.get_multi_pk_constraint(**every)
    foreign = inspector.get_multi_foreign_keys(**every)
    comments = inspector.get_multi_table_comment(**every)
    views = {*inspector.get_view_names(namespace)}
    if inspector.dialect.name == "postgresql":
        views |= {*inspector.get_materialized_view_names(namespace)}
    return [
        Table(
            key[1],
            tuple(_column(column, inspector) for column in found),
            schema=shown,
            primary_key=tuple(primary[key]["constrained_columns"] if primary.get(key) else ()),
            foreign_keys=tuple(
                ForeignKey(
                    tuple(one["constrained_columns"]), one["referred_table"], tuple(one["referred_columns"])
                )
                for one in foreign.get(key, ())
            ),
            comment=(comments[key]["text"] or "") if key in comments else "",
            is_view=key[1] in views,
        )
        for key, found in sorted(columns.items(), key=lambda item: str(item[0][1]))
    ]


def _column(column: Any, inspector: Inspector) -> Column:
    from sqlalchemy.types import NullType

    kind = column["type"]
    written = "" if isinstance(kind, NullType) else kind.compile(dialect=inspector.dialect)
    return Column(column["name"], written, bool(column["nullable"]), column.get("comment") or "")
