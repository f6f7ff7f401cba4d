"""Texts cut into statements and pieces, edits, and texts that may begin a statement."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sql_assistant import dialects, edits, prefixes, statements

sql_like = st.text(alphabet="aS \n;'\"`-/*()$#.\\e1[]", max_size=60)


@pytest.mark.parametrize(
    ("text", "dialect", "count"),
    [
        ("SELECT 1; SELECT 2", "sqlite", 2),
        ("SELECT ';'; SELECT 2", "sqlite", 2),
        ("SELECT 1 -- ; no\n; SELECT 2", "sqlite", 2),
        ("SELECT 1 /* ; */; SELECT 2", "sqlite", 2),
        ("SELECT $$;$$; SELECT 2", "postgres", 2),
        ("SELECT $a$ ; $b$ ; $a$; SELECT 2", "postgres", 2),
        ("SELECT 'it\\'s;'; SELECT 2", "mysql", 2),
        ("SELECT 1 # ;\n; SELECT 2", "mysql", 2),
        ("SELECT [a;b] FROM t; SELECT 2", "tsql", 2),
        ("CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM b; DELETE FROM c; END; SELECT 2", "sqlite", 2),
    ],
)  # fmt: skip
def test_semicolons_that_end_a_statement(text: str, dialect: str, count: int) -> None:
    spans = [span for span in statements.split(text, dialect) if text[slice(*span)].strip()]
    assert len(spans) == count


@given(sql_like, st.sampled_from(dialects.names()))
def test_pieces_are_in_order_and_statements_cover_the_text(text: str, dialect: str) -> None:
    at = 0
    for piece in statements.pieces(text, dialect):
        assert at <= piece.start < piece.end <= len(text)
        assert not text[at : piece.start].strip()
        at = piece.end
    assert not text[at:].strip()
    at = 0
    for start, end in statements.split(text, dialect):
        assert at <= start <= end <= len(text)
        assert text[at:start] in ("", ";")
        at = end
    assert text[at:] in ("", ";")


@given(sql_like, sql_like)
@example("a b", "")
def test_edits_lead_from_one_text_to_the_other(before: str, after: str) -> None:
    found = edits.diff(before, after)
    assert edits.apply(before, found) == after
    assert all(one.start <= one.end <= len(before) for one in found)
    assert bool(found) == (before != after)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT",
        "SELECT a FROM t WHERE",
        "SELECT a FROM t WHERE x IN (1, 2",
        "SELECT a FROM t JOIN u ON",
        "SELECT COUNT(",
        "WITH x AS (SELECT 1",
        "SELECT CASE WHEN a",
        "SELECT 'open",
        "INSERT INTO t (a, b) VALUES (1,",
    ],
)
def test_texts_that_can_begin_a_statement(text: str) -> None:
    assert prefixes.is_prefix(text, "sqlite")


@pytest.mark.parametrize(
    "text", ["SELECT FROM WHERE", "SELECT a b c FROM", "SELECT )", "FROM t SELECT a a a"]
)
def test_texts_that_no_statement_begins_with(text: str) -> None:
    assert not prefixes.is_prefix(text, "sqlite")
