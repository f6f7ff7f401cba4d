"""Which tokens may come next: for a healed fragment, and for names that the schema decides."""

from __future__ import annotations

import pytest
from bookshop import SCHEMA

from serve.engines.fake import FakeEngine
from sql_assistant.cursor import locate
from sql_assistant.guide import guide
from sql_assistant.name_rules import NameRules
from sql_assistant.vocabulary import Vocabulary

PIECES = [b"", b"c", b"cu", b"cust", b"customer", b"customers", b"cat", b" cu", b".", b".name", b"_", b"na",
          b"name", b"names", b" ", b"er", b"me,", b"\xc3\xa9", b"*"]  # fmt: skip
VOCABULARY = Vocabulary(PIECES)


def _allowed(mask: object) -> set[bytes]:
    return {piece for piece, yes in zip(PIECES, mask, strict=True) if yes}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (b"cust", {b"c", b"cu", b"cust", b"customer", b"customers"}),
        (b" cu", {b" ", b" cu"}),
        (b"\xc3", {b"\xc3\xa9"}),
        (b"x", set()),
    ],
)
def test_tokens_that_spell_a_fragment(wanted: bytes, allowed: set[bytes]) -> None:
    assert _allowed(VOCABULARY.agreeing(wanted)) == allowed


@pytest.mark.parametrize(
    ("rests", "only_after", "allowed"),
    [
        # A name, its beginnings, and it with an end of word behind; never a longer word.
        ({"name"}, "", {b"na", b"name"}),
        ({"me"}, "", {b"me,"}),
        ({"customer", "cat"}, "", {b"c", b"cu", b"cust", b"customer", b"cat"}),
        ({"*"}, "", {b"*"}),
        # The word may end here.
        ({"", "er"}, "", {b"", b" cu", b".", b".name", b" ", b"er", b"*"}),
        # Bound only behind a dot.
        ({".name"}, ".", set(PIECES)),
        ({".id"}, ".", set(PIECES) - {b".name"}),
    ],
)
def test_tokens_that_go_on_with_a_name(rests: set[str], only_after: str, allowed: set[bytes]) -> None:
    assert _allowed(VOCABULARY.going_on(frozenset(rests), only_after)) == allowed


def test_the_end_is_allowed_where_the_name_stands_behind() -> None:
    assert _allowed(VOCABULARY.going_on(frozenset({"cat"}), "", True)) == {b"", b"c", b"cat"}


def test_the_bytes_of_tokens() -> None:
    assert VOCABULARY.spelled([3, 15, 0, 8]) == b"custer."


def test_a_mask_cannot_be_spoilt_for_the_next_request() -> None:
    with pytest.raises(ValueError, match="read-only"):
        VOCABULARY.agreeing(b"cust")[0] = True


def _guided(marked: str, fragment: str, *said: str, named: bool = True) -> set[str] | None:
    """The tokens allowed after `said`, None where all are."""
    engine = FakeEngine()
    names = NameRules(SCHEMA, locate(*marked.split("|"), "sqlite"), "sqlite") if named else None
    made = guide(engine, fragment, names)
    assert made is not None
    mask = made.mask([token for text in said for token in engine.tokenize(text)])
    if mask is None:
        return None
    return {
        piece.decode(errors="replace") for piece, yes in zip(engine.token_bytes(), mask, strict=True) if yes
    }


def test_first_the_fragment_is_spelled_then_the_name() -> None:
    assert _guided("SELECT a.na| FROM author a", ".na") == {"."}
    assert _guided("SELECT a.na| FROM author a", ".na", ".") == {"n", "name"}
    assert _guided("SELECT a.na| FROM author a", ".na", ".", "n", "a") == {"m"}


def test_a_fragment_that_no_name_begins_with_can_still_be_spelled() -> None:
    assert _guided("SELECT a.zz| FROM author a", ".zz", ".") == {"z"}


def test_without_a_schema_only_the_fragment_binds() -> None:
    assert _guided("SELECT a.na|", ".na", ".", named=False) == {"n", "name"}
    assert _guided("SELECT a.na|", ".na", ".", "name", named=False) is None


def test_nothing_to_bind() -> None:
    assert guide(FakeEngine(), "", None) is None
