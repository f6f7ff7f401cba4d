"""The database schema as plain data. Where it comes from and how a prompt shows it are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `type` is as the source wrote it ("" when it gave none)."""

    name: str
    type: str = ""
    nullable: bool = True
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of this table refer to `ref_columns` of `ref_table`, pairwise."""

    columns: tuple[str, ...]
    ref_table: str
    ref_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view. `schema` is the namespace it lives in ("" for the default one)."""

    name: str
    columns: tuple[Column, ...]
    schema: str = ""
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    comment: str = ""
    is_view: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables in the order of their source; `dialect` is the one their DDL was read in."""

    tables: tuple[Table, ...]
    dialect: str = "sqlite"
