"""What is right is accepted and what is wrong is found, in every dialect.

The fixtures are statements over the schema in `schema_DIALECT.sql`; above each invalid one stands the
kind of issue and the text that it is about.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from bookshop import SCHEMA

from serve.errors import TooLarge, Unprocessable
from sql_assistant import ddl, dialects, statements, validation
from sql_assistant.schema import Schema

FIXTURES = Path(__file__).parent / "fixtures"


@lru_cache
def _schema(dialect: str) -> Schema:
    return ddl.parse_ddl((FIXTURES / f"schema_{dialect}.sql").read_text(encoding="utf-8"), dialect)


def _valid() -> Iterator[tuple[str, str]]:
    for dialect in dialects.names():
        text = (FIXTURES / f"valid_{dialect}.sql").read_text(encoding="utf-8")
        for start, end in statements.split(text, dialect):
            if statement := text[start:end].strip():
                yield dialect, statement


def _invalid() -> Iterator[tuple[str, str, str, str]]:
    for dialect in dialects.names():
        lines = (FIXTURES / f"invalid_{dialect}.sql").read_text(encoding="utf-8").splitlines()
        for told, statement in zip(lines[::2], lines[1::2], strict=True):
            kind, _, about = told.removeprefix("-- ").partition(" ")
            yield dialect, kind, about, statement


@pytest.mark.parametrize(("dialect", "statement"), list(_valid()))
def test_right_statements_are_accepted(dialect: str, statement: str) -> None:
    issues = validation.validate(statement, _schema(dialect), dialect)
    assert validation.is_valid(issues), issues


@pytest.mark.parametrize(("dialect", "kind", "about", "statement"), list(_invalid()))
def test_wrong_statements_are_found_and_pointed_at(
    dialect: str, kind: str, about: str, statement: str
) -> None:
    errors = [i for i in validation.validate(statement, _schema(dialect), dialect) if i.severity == "error"]
    assert errors
    assert errors[0].kind == kind
    if about:
        found = statement[errors[0].start : errors[0].end].strip('"`[]')
        assert found.lower() == about.split(".")[-1].lower()


@pytest.mark.parametrize("dialect", dialects.names())
def test_one_renamed_column_is_always_found(dialect: str) -> None:
    """Of the right statements that name `title`, none is right with a column that does not exist."""
    renamed = 0
    for known, statement in _valid():
        reads = statement.upper().startswith(("SELECT", "WITH")) and not any(m in statement for m in "*#")
        if known == dialect and reads and "title" in statement and "AS title" not in statement:
            wrong = statement.replace("title", "titel_x")
            renamed += 1
            assert not validation.is_valid(validation.validate(wrong, _schema(dialect), dialect)), wrong
    assert renamed > 0


def test_offsets_are_those_of_the_whole_text() -> None:
    text = "SELECT name FROM author;\n-- ä 😀\nSELECT nme FROM author"
    (issue,) = validation.validate(text, SCHEMA, "sqlite")
    assert text[issue.start : issue.end] == "nme"


def test_what_a_text_creates_is_known_further_on() -> None:
    text = "CREATE TEMP TABLE t AS SELECT id AS n FROM author; SELECT n FROM t;"
    assert validation.validate(text, SCHEMA, "sqlite") == []
    assert validation.validate("SELECT n FROM t;" + text, SCHEMA, "sqlite")


@pytest.mark.parametrize("dialect", dialects.names())
def test_a_thousand_brackets_are_refused_quickly(dialect: str) -> None:
    began = time.perf_counter()
    nested = "SELECT " + "(" * 1000 + "1" + ")" * 1000
    assert not validation.is_valid(validation.validate(nested, None, dialect))
    assert time.perf_counter() - began < 5


def test_a_text_over_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(TooLarge, match=r"\d"):
        validation.validate_statement("SELECT " + "a, " * 200_000 + "1", None, "sqlite")


def test_without_a_schema_only_syntax_counts() -> None:
    assert validation.validate("SELECT anything FROM anywhere", None, "postgres") == []
    assert validation.validate("SELECT anything FROM WHERE", None, "postgres")


def test_an_unknown_dialect_lists_the_known_ones() -> None:
    with pytest.raises(Unprocessable, match="postgres"):
        validation.validate("SELECT 1", None, "klingon")
