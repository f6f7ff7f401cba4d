"""Statements of a model run bounded, and rows are compared as multisets."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from distill.sqltrack import execution
from distill.sqltrack.database import Database, load
from distill.sqltrack.execution import Refused, Result, same_rows, translate

DDL = "CREATE TABLE t (id INTEGER PRIMARY KEY, amount REAL NOT NULL, name TEXT);"


@pytest.fixture(params=["sqlite", "duckdb"])
def database(request: pytest.FixtureRequest) -> Database:
    return load("t", DDL, request.param)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM t",
        "DROP TABLE t",
        "PRAGMA query_only = OFF",
        "SELECT 1; DELETE FROM t",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "ATTACH 'x.db' AS x",
        "COPY t TO 'x.csv'",
        "",
    ],
)
def test_only_one_query_runs(database: Database, sql: str) -> None:
    assert isinstance(database.sandbox.run(sql), Refused)
    assert len(_rows(database, "SELECT * FROM t")) == 40


def test_files_are_out_of_reach(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    found = load("t", DDL, "duckdb").sandbox.run(f"SELECT * FROM read_csv('{secret}')")
    assert isinstance(found, Refused) and "disabled" in found.reason


def test_endless_queries_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "TIME_LIMIT_S", 0.2)
    began = time.monotonic()
    endless = (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c WHERE x < 0"
    )
    assert database.sandbox.run(endless) == Refused("takes too long")
    assert time.monotonic() - began < 2
    assert len(_rows(database, "SELECT id FROM t")) == 40


def test_large_results_are_refused(database: Database) -> None:
    assert database.sandbox.run("SELECT a.id FROM t a, t b, t c") == Refused("too many rows")


def test_both_validation_and_execution_have_to_agree(database: Database) -> None:
    assert isinstance(database.judge("SELECT id FROM t"), Result)
    wrong = database.judge("SELECT nope FROM t")
    assert isinstance(wrong, Refused) and wrong.reason.startswith("invalid: unknown column 'nope'")
    failing = database.judge("SELECT no_such_function(id) FROM t")
    assert isinstance(failing, Refused) and failing.reason.startswith("fails: ")


def test_rows_are_compared_as_multisets_at_six_digits() -> None:
    assert same_rows(Result(((1, "a"), (2, "b"))), Result(((2, "b"), (1.0000000001, "a"))))
    assert not same_rows(Result(((1,), (1,))), Result(((1,), (2,))))
    assert not same_rows(Result(((1,),)), Result(((1,), (1,))))
    assert not same_rows(Result(((None,),)), Result((("",),)))


def test_nothing_but_null_and_zero_says_nothing() -> None:
    assert not Result(()).says_something
    assert not Result(((0, None),)).says_something
    assert Result(((0, "x"),)).says_something


def test_translation_is_idiomatic_on_demand() -> None:
    assert (
        translate("SELECT a FROM t ORDER BY a", "sqlite", "postgres")
        == "SELECT a FROM t ORDER BY a NULLS FIRST"
    )
    plain = translate("SELECT a / b FROM t ORDER BY a", "sqlite", "postgres", idiomatic=True)
    assert plain == "SELECT a / b FROM t ORDER BY a"
    assert translate("SELECT FROM WHERE", "sqlite", "postgres") is None


def _rows(database: Database, sql: str) -> tuple[tuple[object, ...], ...]:
    found = database.sandbox.run(sql)
    assert isinstance(found, Result)
    return found.rows
