"""Whatever is cut out of a valid statement and whatever the model writes: a suggestion that is called
valid makes the statement valid, and words are neither glued together nor said twice."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from bookshop import SCHEMA
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve.engines.fake import FakeEngine
from serve.settings import Settings
from sql_assistant import completion, healing, parsing, statements, validation, words
from sql_assistant.cursor import locate
from sql_assistant.types import CompleteRequest, CompleteResponse

STATEMENTS = (
    "SELECT name FROM author",
    "SELECT DISTINCT a.name, b.title AS label FROM author a JOIN book b ON b.author_id = a.id "
    "WHERE b.price > 10 ORDER BY b.price DESC LIMIT 5",
    "SELECT country, count(*) AS n FROM author GROUP BY country HAVING count(*) > 1",
    "SELECT title FROM book WHERE title LIKE '%it''s%' AND price BETWEEN 1 AND 9.5",
    "SELECT name FROM author WHERE id IN (SELECT author_id FROM book WHERE price IS NOT NULL)",
    "WITH rated AS (SELECT book_id, avg(rating) AS mean FROM review GROUP BY book_id)\n"
    "SELECT b.title, r.mean FROM book b JOIN rated r ON r.book_id = b.id",
    "SELECT CASE WHEN price > 20 THEN 'dear' ELSE 'cheap' END AS class FROM book",
    "SELECT title, row_number() OVER (PARTITION BY author_id ORDER BY price) FROM book",
    'SELECT "name" FROM "author" WHERE "country" = \'FR\'',
    "SELECT name FROM author UNION ALL SELECT title FROM book",
    "INSERT INTO author (id, name) VALUES (1, 'Ann'), (2, 'Bob')",
    "UPDATE book SET price = price * 1.1, title = upper(title) WHERE author_id = 3",
    "DELETE FROM review WHERE rating < 2 OR body IS NULL",
    "-- the dearest book of each author\nSELECT author_id, max(price) FROM book /* all */ GROUP BY author_id",
    "SELECT a.name\nFROM author AS a\nLEFT JOIN book AS b\n  ON b.author_id = a.id\nWHERE b.id IS NULL",
)
_NOISE = (
    "SELECT FROM WHERE JOIN ON AND OR AS GROUP BY ORDER LIMIT name author book title price id a b x 1 "
    "'x' ( ) , ; . * = -- /* \" ' é \0"
).split(" ")
_MEANT_TWICE = {"end", "date", "text"}


@pytest.fixture(scope="module", autouse=True)
def _recursion_limit() -> None:
    """The parser raises the interpreter's limit once, which must not happen within hypothesis."""
    parsing.parse("SELECT 1", "postgres")


@st.composite
def cuts(draw: st.DrawFn) -> tuple[str, str, str]:
    """A statement as what stands before the cursor, what is missing and what stands behind it."""
    statement = draw(st.sampled_from(STATEMENTS))
    start = draw(st.integers(0, len(statement)))
    end = draw(st.integers(start, len(statement)))
    return statement[:start], statement[start:end], statement[end:]


noise = st.lists(st.tuples(st.sampled_from(_NOISE), st.sampled_from(("", " ", "\n"))), max_size=12).map(
    lambda parts: "".join(word + blank for word, blank in parts)
)


def _complete(prefix: str, suffix: str, said: str) -> CompleteResponse:
    """What is suggested where the model would say `said` behind the cursor."""
    fragment = healing.split(locate(prefix, suffix, "sqlite").before)[1]
    engine = FakeEngine(lambda prompt: fragment + said)
    request = CompleteRequest(prefix=prefix, suffix=suffix, max_tokens=256)
    home = Settings(home=Path("unused"))
    return asyncio.run(completion.complete(request, SCHEMA, engine, settings=home))


def _words_of(text: str) -> list[str]:
    """Bare words of the code, folded."""
    return [
        text[piece.start : piece.end].casefold()
        for piece in statements.pieces(text, "sqlite")
        if piece.kind == "word"
    ]


def _check(prefix: str, suffix: str, answer: CompleteResponse) -> str | None:
    """The statement with the suggestion in it, found valid and its seams whole; None without one."""
    for one in answer.suggestions:
        whole = prefix + one.text + suffix
        assert one.valid
        assert validation.is_valid(validation.validate(whole, SCHEMA, "sqlite")), whole
        for left, right in ((prefix, one.text), (one.text, suffix)):
            if left and right:
                assert not (left[-1] == right[0] == " "), whole
                assert not _says_twice(whole, left, right), whole
        return whole
    return None


def _says_twice(whole: str, left: str, right: str) -> bool:
    """Whether the bare word at the end of one side is the one that the other begins with."""
    last, first = re.search(r"(\w+)\s*\Z", left), re.match(r"\s*(\w+)", right)
    if not last or not first or not (left[-1].isspace() or right[0].isspace()):
        return False
    word = last[1].casefold()
    pair = [word, first[1].casefold()]
    code = _words_of(whole)
    in_code = any(code[at : at + 2] == pair for at in range(len(code)))
    return pair == [word, word] and not word.isdigit() and word not in _MEANT_TWICE and in_code


@settings(max_examples=120, deadline=None)
@given(cuts(), st.sampled_from(("", ";\nSELECT 1", " -- that is all", "\n```")), st.booleans())
@example(("SELECT na", "me FR", "OM author"), "", False)
@example(("SELECT name, ", "id, name", " FROM author"), "", True)
def test_the_missing_text(cut: tuple[str, str, str], behind: str, runs_on: bool) -> None:
    """The model writes what was cut out, and goes on with the suffix or with something else."""
    prefix, missing, suffix = cut
    if missing[-1:].isalnum() and missing[-1:] == suffix[:1]:
        return  # "clas" before "s" can be read as "class" and as "clas"
    answer = _complete(prefix, suffix, missing + (suffix if runs_on else "") + behind)
    whole = _check(prefix, suffix, answer)
    if whole is not None:
        # No word that was not there: none glued, none cut in two.
        assert set(_words_of(whole)) <= set(_words_of(prefix + missing + suffix)), whole


@settings(max_examples=120, deadline=None)
@given(cuts(), noise)
@example(("SELECT na", "", "me FROM author"), "me FROM")
@example(("SELECT ", "", "name FROM author"), "name")
@example(("SELECT name FROM author", "", ""), " author")
def test_noise(cut: tuple[str, str, str], said: str) -> None:
    prefix, _, suffix = cut
    whole = _check(prefix, suffix, _complete(prefix, suffix, said))
    if whole is None:
        return
    # What the model wrote may go on with the word before the cursor; with the one behind only where
    # both are halves of a word that exists.
    own = set(_words_of(f"{prefix}{said}")) | set(_words_of(said)) | words.of_language("sqlite")
    known = own | words.of_schema(SCHEMA) | words.in_text(f"{prefix} {suffix} {said}")
    if not locate(prefix, suffix, "sqlite").mid_word:
        assert set(_words_of(whole)) <= known, whole


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(STATEMENTS), st.data())
def test_between_whole_words_the_missing_text_comes_back(statement: str, data: st.DataObject) -> None:
    """A run of whole units in the middle of a statement without another query in it."""
    units = [p for p in statements.pieces(statement, "sqlite") if not p.is_comment]
    first = data.draw(st.integers(1, len(units) - 1))
    last = data.draw(st.integers(first, len(units) - 1))
    start, end = units[first].start, units[last].end
    prefix, missing, suffix = statement[:start], statement[start:end], statement[end:]
    if "UNION" in missing or "/*" in missing or suffix.lstrip().startswith("/*"):
        return
    if validation.is_valid(validation.validate(prefix + suffix, SCHEMA, "sqlite")):
        return
    answer = _complete(prefix, suffix, missing)
    whole = _check(prefix, suffix, answer)
    assert whole is not None, (prefix, missing, suffix)
    assert "".join(whole.split()) == "".join(statement.split())


def test_the_statements_are_valid() -> None:
    for statement in STATEMENTS:
        assert validation.is_valid(validation.validate(statement, SCHEMA, "sqlite")), statement
