"""What is taken back from the text before the cursor, so that the model spells it anew."""

from __future__ import annotations

import pytest

from sql_assistant.healing import split


@pytest.mark.parametrize(
    ("kept", "fragment"),
    [
        ("SELECT", " custo"),
        ("SELECT a", ".na"),
        ("SELECT", "\tcusto"),
        ("SELECT a\n", "custo"),
        ("a", "_b"),
        ("", "é"),
        ("", "SEL"),
        ("SELECT", " "),
        ("SELECT", "   "),
        ("SELECT\n", "    "),
        ("SELECT a", "\n\n"),
        ("SELECT count", "("),
        ("WHERE a", " <>"),
        ("SELECT t1", ""),  # digits are tokens of their own: nothing depends on what follows
        ("", ""),
    ],
)
def test_the_last_unit_is_taken_back(kept: str, fragment: str) -> None:
    assert split(kept + fragment) == (kept, fragment)


def test_a_very_long_word_is_not_taken_back_whole() -> None:
    kept, fragment = split("x" * 500)
    assert kept + fragment == "x" * 500
    assert 0 < len(fragment) <= 64
