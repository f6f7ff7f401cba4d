"""How a text meets what stands left and right of it."""

from __future__ import annotations

import pytest

from sql_assistant import seams
from sql_assistant.cursor import Place


@pytest.mark.parametrize(
    ("before", "text", "place", "kept"),
    [
        ("SELECT ", " a", "code", "a"),
        ("SELECT ", "\n  a", "code", "a"),
        ("SELECT", " a", "code", " a"),
        ("SELECT\n", "  a", "code", "  a"),  # indentation
        ("SELECT\n", "\n\n  a", "code", "  a"),
        ("SELECT\n    ", "  a", "code", "a"),
        ("-- a wish ", "\nSELECT", "line_comment", "\nSELECT"),  # the line's end must stay
        ("-- a wish ", " \nSELECT", "line_comment", "\nSELECT"),
        ("", " a", "code", " a"),
    ],
)
def test_blanks_are_not_doubled_on_the_left(before: str, text: str, place: Place, kept: str) -> None:
    assert text[seams.lead(before, text, place) :] == kept


@pytest.mark.parametrize(
    ("before", "text", "kept"),
    [
        ("SELECT a FROM", "FROM t", "t"),
        ("SELECT a from ", "FROM t", "t"),
        ("SELECT a FROM ", "SELECT a FROM t", "t"),
        ("SELECT a = b AND ", "b AND c", "c"),
        ("SELECT a -- FROM\n", "FROM t", "FROM t"),  # a comment says nothing
        ("SELECT n", "name", "name"),
        ("SELECT (", "(a)", "(a)"),  # a mark alone may well stand twice
        ("WHERE a = b AND c = b AND ", "= b AND x", "x"),
        ("", "SELECT", "SELECT"),
    ],
)
def test_a_repeated_beginning_is_found(before: str, text: str, kept: str) -> None:
    assert text[seams.repeated_lead(before, text, "sqlite") :] == kept


@pytest.mark.parametrize(
    ("before", "text", "glued"),
    [
        ("SELECT", "a", " a"),
        ("SELECT ", "a", "a"),
        ("max(", "a", "a"),
        ("a", "(b)", "(b)"),
        ("t1", "2", " 2"),
        ("", "a", "a"),
    ],
)
def test_the_missing_blank_in_front(before: str, text: str, glued: str) -> None:
    assert seams.glue(before, text) == glued


@pytest.mark.parametrize(
    ("text", "after", "blank", "closed"),
    [
        ("a", "FROM t", False, "a "),  # or two words became one
        ("'x'", "AND b", False, "'x' "),
        ("f(x)", "AND b", False, "f(x) "),
        ("a ", " FROM t", True, "a"),
        ("a ", "\nFROM t", True, "a"),
        ("a\n", "", True, "a"),
        ("a ", ", b", True, "a"),
        ("a ", ")", True, "a"),
        ("IN ", "(1)", True, "IN "),
        ("max", "(a)", False, "max"),
        ("count( ", "x)", True, "count("),
        ("a = ", "1", True, "a = "),
        ("a =", "1", False, "a ="),
        ("  ", "x", True, ""),
    ],
)
def test_the_blank_at_the_end(text: str, after: str, blank: bool, closed: str) -> None:
    assert seams.close(text, after, blank=blank) == closed


def test_a_word_that_the_suffix_goes_on_with_is_not_cut_in_two() -> None:
    assert seams.close("na", "me FROM t", blank=False, in_word=True) == "na"


@pytest.mark.parametrize(
    ("left", "right", "twice"),
    [
        ("SELECT a FROM ", "from t", True),
        ("SELECT a FROM t\n", "t", True),
        ("SELECT a, name", "name FROM t", True),
        ("SELECT a, ", "a FROM t", False),
        ("-- all names\n", "names", False),
        ("SELECT 'a ", "a'", False),
        ('SELECT "a ', 'a"', False),
        ("SELECT 1 ", "1", False),
        ("CASE WHEN a THEN CASE WHEN b THEN 1 END ", "END", False),
        ("CREATE TABLE t (date ", "DATE", False),
    ],
)
def test_a_word_twice_in_a_row(left: str, right: str, twice: bool) -> None:
    assert seams.repeats(seams.last_word(left, "sqlite"), seams.first_word(right, "sqlite")) is twice


@pytest.mark.parametrize(
    ("left", "right", "apart"), [("a ", "b", True), ("a", "\nb", True), ("a", "b", False), ("", "b", False)]
)
def test_whether_a_blank_stands_between(left: str, right: str, apart: bool) -> None:
    assert seams.apart(left, right) is apart
