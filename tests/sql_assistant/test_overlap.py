"""Where a generated text begins to repeat what stands right of the cursor."""

from __future__ import annotations

import pytest

from sql_assistant.overlap import Suffix


@pytest.mark.parametrize(
    ("after", "text", "repeated"),
    [
        (" FROM t", "a FROM t", "FROM t"),
        (" FROM t", "a,\n  b\nfrom  T", "from  T"),  # laid out and spelled in another way
        (" FROM t WHERE a = 1", "a, b FROM t WHERE a", "FROM t WHERE a"),
        (" FROM t /* note */ WHERE a", "b FROM t WHERE a", "FROM t WHERE a"),
        (")", "count(*)", ")"),
        ("me FROM t", "name FROM t", "me FROM t"),  # the cursor was in a word
        ("er.id", "custom er.id", "er.id"),
        ("\n  ON b.x = 'A b'", "book b ON b.x = 'a  b'", "ON b.x = 'a  b'"),
    ],
)
def test_the_repetition_is_found(after: str, text: str, repeated: str) -> None:
    starts = [overlap.start for overlap in Suffix(after, "sqlite").overlaps(text)]
    assert text.index(repeated) in starts


@pytest.mark.parametrize(
    ("after", "text"),
    [("", "a FROM t"), ("   ", "a FROM t"), (" FROM t", "a, b"), (" AND b", "a BAND"), (" x = 1", "max")],
)
def test_nothing_is_found_where_nothing_is_repeated(after: str, text: str) -> None:
    assert Suffix(after, "sqlite").overlaps(text) == []


def test_how_much_is_repeated() -> None:
    part, whole = Suffix(" AND t.x = 1", "sqlite").overlaps("b AND t.x = 2 AND t.x = 1")
    assert (part.units, part.whole, part.to_end) == (5, False, False)
    assert (whole.units, whole.whole, whole.to_end) == (6, True, True)


def test_a_long_suffix_is_never_said_to_be_repeated_whole() -> None:
    suffix = " FROM t WHERE " + " AND ".join(f"column_{number} = {number}" for number in range(50))
    (overlap,) = Suffix(suffix, "sqlite").overlaps(f"a{suffix}")
    assert overlap.start == 2
    assert not overlap.whole


@pytest.mark.parametrize(
    ("after", "text", "kept"),
    [
        # A whole suffix of three units, or six units of a longer one, are no coincidence.
        (" ORDER BY a", "WHERE b ORDER BY a", "WHERE b "),
        (" FROM t WHERE a = 1 AND b", "x FROM t WHERE a = 1", "x "),
        (" FROM t WHERE a = 1 AND b", "x FROM t WHERE a", None),
        (" FROM t", "x FROM t", None),  # two units: another FROM t may follow
        (" AND t.x = 1 OR y", "b AND t.x = 2", None),
    ],
)
def test_when_a_repetition_is_beyond_doubt(after: str, text: str, kept: str | None) -> None:
    at = Suffix(after, "sqlite").repeated_at(text)
    assert (None if at is None else text[:at]) == kept


@pytest.mark.parametrize(
    ("after", "text", "sure"),
    [
        (" WHERE a", "b, c W", "b, c "),  # may become WHERE
        (" WHERE a", "b, c", "b, c"),
        (" FROM t", "a FROM t WHERE", "a "),
        (")", "max(a", "max(a"),
        (")", "max(a)", "max(a"),
    ],
)
def test_what_may_become_a_repetition_is_held_back(after: str, text: str, sure: str) -> None:
    assert text[: Suffix(after, "sqlite").may_begin_at(text)] == sure
