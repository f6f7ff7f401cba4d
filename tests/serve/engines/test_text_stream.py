"""Text comes out in whole characters and never past a stop string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve.engines.base import Token
from serve.engines.text_stream import TextStream


def run(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[Token], bool]:
    stream = TextStream(stop)
    tokens: list[Token] = []
    for number, piece in enumerate(pieces):
        tokens += stream.push(Token(number, "", 0.0), piece)
        if stream.stopped:
            return tokens, True
    return tokens + stream.finish(), False


def text(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def test_a_character_split_over_tokens_appears_once_it_is_whole() -> None:
    stream = TextStream()
    first = stream.push(Token(0, "", 0.0), "é".encode()[:1])
    second = stream.push(Token(1, "", 0.0), "é".encode()[1:])
    assert [token.text for token in first + second] == ["", "é"]


def test_an_unfinished_character_at_the_end_is_marked_not_dropped() -> None:
    tokens, _ = run([b"a", "é".encode()[:1]], stop=("zz",))
    assert text(tokens) == "a�"


def test_a_stop_string_over_token_borders_ends_the_text_before_it() -> None:
    tokens, stopped = run([b"SELECT 1", b";", b"\n--", b" next"], stop=(";\n--",))
    assert stopped
    assert text(tokens) == "SELECT 1"


def test_text_that_only_looked_like_a_stop_is_released() -> None:
    tokens, stopped = run([b"a", b";", b" b"], stop=(";\n",))
    assert not stopped
    assert text(tokens) == "a; b"
    assert [token.id for token in tokens] == [0, 1, 2]


def test_held_text_comes_out_at_the_end() -> None:
    tokens, stopped = run([b"a", b";"], stop=(";\n",))
    assert not stopped
    assert text(tokens) == "a;"


@given(
    st.text(alphabet="ab;é\n", max_size=30),
    st.lists(st.text(alphabet="ab;\n", min_size=1, max_size=3)),
    st.data(),
)
def test_any_split_gives_the_text_before_the_stop_that_is_complete_first(
    whole: str, stops: list[str], data: st.DataObject
) -> None:
    raw = whole.encode()
    pieces, at = [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, 4))
        pieces.append(raw[at : at + size])
        at += size
    tokens, stopped = run(pieces, tuple(stops))
    complete = [(at + len(stop), at) for stop in stops if (at := whole.find(stop)) >= 0]
    assert text(tokens) == (whole[: min(complete)[1]] if complete else whole)
    assert stopped == bool(complete)
