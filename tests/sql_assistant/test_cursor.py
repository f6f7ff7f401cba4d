"""Which statement the cursor is in, and where nothing is suggested. "|" marks the cursor."""

from __future__ import annotations

import pytest

from sql_assistant.cursor import Cursor, locate, second_statement


def _at(marked: str, dialect: str = "sqlite") -> Cursor:
    prefix, suffix = marked.split("|")
    return locate(prefix, suffix, dialect)


@pytest.mark.parametrize(
    ("marked", "statement"),
    [
        ("SELECT a FROM t; SELECT b| FROM u; x", "SELECT b| FROM u"),
        ("SELECT 1 |;", "SELECT 1 |"),
        ("  SELECT |  \n ", "SELECT |"),
        ("broken ( here; SELECT |", "SELECT |"),
        ("SELECT ';', |; x", "SELECT ';', |"),
        ("-- the wish\nSELECT |", "-- the wish\nSELECT |"),
        ("SELECT 1;\n-- the wish\n|", "-- the wish\n|"),
        # No semicolon between two statements: a verb at the start of a line begins the second.
        ("SELECT 1\nSELECT 2|", "SELECT 2|"),
        ("SELECT |\nSELECT 2", "SELECT |"),
        ("DELETE FROM t\n-- two\n-- lines\nSELECT |", "-- two\n-- lines\nSELECT |"),
        ("SELECT 1\n\n-- the wish\n|", "-- the wish\n|"),
        ("SELECT a FROM t|\n\n-- the wish\nSELECT b FROM u", "SELECT a FROM t|"),
        ("UPDATE t SET a = 1\n\n|WHERE b", "UPDATE t SET a = 1\n\n|WHERE b"),
        ("SELECT a FROM t\n\nWHERE |", "SELECT a FROM t\n\nWHERE |"),
        # A verb that belongs to what stands before it.
        ("SELECT 1\nUNION ALL\nSELECT |", "SELECT 1\nUNION ALL\nSELECT |"),
        ("INSERT INTO t\nSELECT |", "INSERT INTO t\nSELECT |"),
        ("WITH a AS (\nSELECT 1)\nSELECT |", "WITH a AS (\nSELECT 1)\nSELECT |"),
        ("SELECT a FROM (\nSELECT |", "SELECT a FROM (\nSELECT |"),
        ("SELECT x,\nREPLACE(|", "SELECT x,\nREPLACE(|"),
        ("CREATE VIEW v AS\nSELECT |", "CREATE VIEW v AS\nSELECT |"),
    ],
)
def test_the_statement_at_the_cursor(marked: str, statement: str) -> None:
    cursor = _at(marked)
    assert f"{cursor.before}|{cursor.after}" == statement
    assert cursor.nothing is None


@pytest.mark.parametrize(
    ("marked", "why"),
    [
        ("SELECT 'a|b'", "inside a string"),
        ("SELECT 'a|", "inside a string"),
        ("SELECT a -- what|ever\nFROM t", "inside a comment"),
        ("SELECT a -- what|\nFROM t", None),  # its end: what was asked for may be written below
        ("-- all names|", None),
        ("/* a | b */ SELECT 1", "inside a comment"),
        ("/* a | */ SELECT 1", "inside a comment"),
        ("/* all names |", None),
        ("/* a */ SELECT |", None),
        ('SELECT "na|', None),
        ("|", "empty statement"),
        (" \n|", "empty statement"),
        ("SELECT 1;|", "statement finished"),
        ("SELECT 1; |", "statement finished"),
        ("SELECT 1;  \n|", "empty statement"),
        ("SELECT 1\n\n|", "empty statement"),
        ("SELECT 1\n\n|\nSELECT 2", "empty statement"),
    ],
)
def test_where_nothing_is_suggested(marked: str, why: str | None) -> None:
    assert _at(marked).nothing == why


@pytest.mark.parametrize(
    ("marked", "dialect", "place"),
    [
        ("SELECT |", "sqlite", "code"),
        ("SELECT 'it''s' |", "sqlite", "code"),
        ('SELECT "na|', "postgres", "name"),
        ('SELECT "na|', "mysql", "string"),
        ("SELECT `na|", "mysql", "name"),
        ("SELECT [na|", "tsql", "name"),
        ("SELECT [na|", "postgres", "code"),
        ("SELECT $$na|", "postgres", "string"),
        ("SELECT 1 # na|", "mysql", "line_comment"),
        ("SELECT 1 # na|", "postgres", "code"),
        ("SELECT 1 --na|", "sqlite", "line_comment"),
        ("SELECT 1 --2|", "mysql", "code"),
        ("/* a /* b */ c|", "postgres", "block_comment"),
        ("/* a /* b */ c|", "mysql", "code"),
    ],
)
def test_the_place_follows_the_dialect(marked: str, dialect: str, place: str) -> None:
    assert _at(marked, dialect).place == place


@pytest.mark.parametrize(
    ("marked", "inside"),
    [("SELECT na|me", True), ("SELECT name|", False), ("SELECT |name", False), ("SELECT a|.b", False)],
)
def test_mid_word(marked: str, inside: bool) -> None:
    assert _at(marked).mid_word is inside


@pytest.mark.parametrize(
    ("before", "text", "rest"),
    [
        ("SELECT a ", "FROM t\nSELECT b", "SELECT b"),
        ("SELECT a ", "FROM t\n-- next\nSELECT b", "-- next\nSELECT b"),
        ("SELECT a ", "FROM t\nUNION\nSELECT b", None),
        ("SELECT a ", "FROM (\nSELECT b)", None),
        ("SELECT a\nSELECT b ", "FROM t", None),
    ],
)
def test_where_a_second_statement_begins(before: str, text: str, rest: str | None) -> None:
    edge = second_statement(before, text, "sqlite")
    assert (None if edge is None else text[edge:]) == rest
