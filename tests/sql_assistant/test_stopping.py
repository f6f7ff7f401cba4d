"""When a generation is stopped, and what of it is shown while it runs."""

from __future__ import annotations

import pytest

from sql_assistant.cursor import locate
from sql_assistant.stopping import Stopper


def _stopper(marked: str, dialect: str = "sqlite") -> Stopper:
    prefix, suffix = marked.split("|")
    return Stopper(locate(prefix, suffix, dialect), dialect)


def _run(marked: str, text: str, dialect: str = "sqlite") -> tuple[str | None, str, int]:
    """Feed `text` a character at a time: why it was stopped, what was kept, characters not generated."""
    stopper = _stopper(marked, dialect)
    for end in range(1, len(text) + 1):
        reason = stopper.check(text[:end])
        if reason is not None:
            return reason, text[: stopper.limit], len(text) - end
    return None, text, 0


@pytest.mark.parametrize(
    ("marked", "text", "reason", "kept"),
    [
        ("SELECT |", "a FROM t; SELECT b", "statement end", "a FROM t"),
        ("SELECT |", "a FROM t\n\nSELECT b", "statement end", "a FROM t"),
        ("-- names|", "\nSELECT a FROM t\n\n-- more", "statement end", "\nSELECT a FROM t"),
        ('SELECT "na|', 'me; x" FROM t; y', "statement end", 'me; x" FROM t'),
        ("SELECT |", "a FROM t\nSELECT b FROM u", "second statement", "a FROM t\n"),
        ("SELECT |", "a FROM t\n-- more\nSELECT b", "comment", "a FROM t"),
        ("SELECT |", "a FROM t -- a note", "comment", "a FROM t"),
        ("SELECT |", "a FROM t\n```\nThis", "fence", "a FROM t\n"),
        ("SELECT |", "alpha, alpha, alpha, alpha, alpha", "repetition", "alpha, alpha, alpha, "),
        # What stands right of the cursor is not said again, nor what can only stand behind it.
        ("SELECT max(|a, b, c) + 1", "a, b, c) + 1 FROM", "suffix", ""),
        ("SELECT a FROM t WHERE | AND b > 1", "c < 2 AND b > 1 AND d", "suffix", "c < 2 "),
        ("SELECT | FROM t WHERE x = 1", "a, b FROM t WHERE x", "clause", "a, b "),
        ("SELECT a FROM t | ORDER BY a", "WHERE x ORDER BY b", "clause", "WHERE x "),
        ("SELECT a FROM | JOIN u", "t WHERE b", "clause", "t "),
        (
            "SELECT a FROM t | GROUP BY a",
            "JOIN u ON u.order_id = t.group ORDER BY",
            "clause",
            "JOIN u ON u.order_id = t.group ",
        ),
    ],
)
def test_it_stops(marked: str, text: str, reason: str, kept: str) -> None:
    found, limited, saved = _run(marked, text)
    assert (found, limited) == (reason, kept)
    assert saved > 0


@pytest.mark.parametrize(
    ("marked", "text", "finished"),
    [
        ("SELECT |", "a FROM t;", True),
        ("SELECT |", "a FROM t -- note", True),
        ("SELECT |", "a FROM t\nSELECT b", True),
        ("SELECT max(|a, b, c) + 1", "x, a, b, c) + 1", False),
        ("SELECT a FROM t | ORDER BY a", "ORDER", False),
    ],
)
def test_whether_the_model_was_done_itself(marked: str, text: str, finished: bool) -> None:
    stopper = _stopper(marked)
    stopper.check(text)
    assert stopper.finished is finished


@pytest.mark.parametrize(
    ("marked", "text", "dialect"),
    [
        ("SELECT a FROM t |", "WHERE a IN (SELECT\n\n b FROM u)", "sqlite"),
        ("SELECT a FROM t |", "UNION ALL\nSELECT b FROM u", "sqlite"),
        ("SELECT (|) FROM t", "SELECT x FROM u WHERE y", "sqlite"),  # a query of its own
        # The clause stands behind a bracket that the text itself opens, or in one it closes.
        ("SELECT a FROM |k WHERE b)", "t WHERE c IN (SELECT d FROM boo", "sqlite"),
        ("WITH x AS (SELECT max(| FROM u", "a) FROM t) SELECT b", "sqlite"),
        ("SELECT | ORDER BY a", "a FROM t UNION SELECT a FROM u WHERE b", "sqlite"),
        ("SELECT a FROM | JOIN u", "t JOIN v LEFT JOIN w", "sqlite"),
        ("SELECT |", "';' || '--' || '\n\n'", "sqlite"),
        ("SELECT |", "a # b", "postgres"),
        ("-- names|", "\n\nSELECT a", "sqlite"),
        ("SELECT a FROM t WHERE |", "a = 1 AND b = 2 AND c = 3 AND d = 4", "sqlite"),
    ],
)
def test_it_goes_on(marked: str, text: str, dialect: str) -> None:
    assert _run(marked, text, dialect)[0] is None


@pytest.mark.parametrize(
    ("marked", "text", "shown"),
    [
        ("SELECT |", "a FROM t ", "a FROM t"),
        ("SELECT | WHERE x", "a W", "a"),
        ("SELECT | WHERE x", "a WI", "a WI"),
        ("SELECT |", "a; b", "a"),
    ],
)
def test_only_what_is_certain_is_shown(marked: str, text: str, shown: str) -> None:
    stopper = _stopper(marked)
    stopper.check(text)
    assert stopper.certain(text) == shown
