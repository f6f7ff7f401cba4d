"""From what the model wrote to what is suggested. "|" marks the cursor, brackets the suggestion."""

from __future__ import annotations

import pytest
from bookshop import SCHEMA

from sql_assistant.cursor import locate
from sql_assistant.schema import Schema
from sql_assistant.trim import Draft, Kept, Trimmer


def _trim(marked: str, draft: Draft | str, schema: Schema | None = SCHEMA) -> Kept | None:
    prefix, suffix = marked.split("|")
    if isinstance(draft, str):
        draft = Draft(draft, ended=True)
    return Trimmer(locate(prefix, suffix, "sqlite"), schema, "sqlite").trim(draft)


def _inserted(marked: str, kept: Kept | None) -> str | None:
    return None if kept is None else marked.replace("|", f"[{kept.text}]")


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT |", " name FROM author", "SELECT [name FROM author]"),
        ("SELECT|", " name FROM author", "SELECT[ name FROM author]"),
        ("SELECT |FROM author", "name", "SELECT [name ]FROM author"),
        ("SELECT name |FROM author", ", id", "SELECT name [, id ]FROM author"),
        ("SELECT name FROM au|", "thor", "SELECT name FROM au[thor]"),
        ("SELECT name FROM |", "FROM author", "SELECT name FROM [author]"),
        ("-- names|", "\nSELECT name FROM author", "-- names[\nSELECT name FROM author]"),
        ('SELECT "na| FROM author', 'me"', 'SELECT "na[me"] FROM author'),
        ('SELECT "na|', 'me" FROM author', 'SELECT "na[me" FROM author]'),
        ("WITH x AS (|) SELECT * FROM x", "SELECT 1", "WITH x AS ([SELECT 1]) SELECT * FROM x"),
    ],
)
def test_all_of_it_fits(marked: str, text: str, result: str) -> None:
    kept = _trim(marked, text)
    assert _inserted(marked, kept) == result
    assert kept is not None and kept.valid


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT | FROM author", "name FROM author", "SELECT [name] FROM author"),
        ("SELECT | FROM author", "name, id FROM author WHERE id = 1", "SELECT [name, id] FROM author"),
        ("SELECT |, id FROM author", "name, id", "SELECT [name], id FROM author"),
        ("SELECT max(|) FROM book", "price)", "SELECT max([price]) FROM book"),
        (
            "SELECT name FROM author WHERE (|id = 2)",
            "name = 'x' AND id = 2)",
            "SELECT name FROM author WHERE ([name = 'x' AND ]id = 2)",
        ),
        # All of it stands there already.
        ("SELECT name FROM author WHERE (|id = 2)", "id = 2)", None),
        ("SELECT max(price|) FROM book", ") FROM book", None),
        # What looks like the suffix and then goes another way was meant.
        (
            "SELECT name FROM author WHERE id |IN (1) AND id > 1 AND id < 9",
            "IN (1) AND id > 3 OR id ",
            "SELECT name FROM author WHERE id [IN (1) AND id > 3 OR id ]IN (1) AND id > 1 AND id < 9",
        ),
    ],
)
def test_the_suffix_is_not_said_again(marked: str, text: str, result: str | None) -> None:
    assert _inserted(marked, kept if (kept := _trim(marked, text)) and kept.valid else None) == result


def test_a_text_that_ran_into_the_suffix() -> None:
    """The stopper cut it where the suffix began; only what was behind it tells that."""
    kept = _trim("SELECT id FROM author WHERE LOWER(|('x%')", Draft("name) LIKE LOWER", False, more="('x%')"))
    assert kept is not None
    assert (kept.text, kept.valid) == ("name) LIKE LOWER", True)


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT na|me FROM author", "me, na", "SELECT na[me, na]me FROM author"),
        ("SELECT |me FROM author", "na", "SELECT [na]me FROM author"),
        ("SELECT a|thor_id FROM book", "u", "SELECT a[u]thor_id FROM book"),
        ("SELECT na|OM author", "me FR", "SELECT na[me FR]OM author"),
        (
            "WITH x AS (|an FROM x",
            "SELECT 1 AS mean) SELECT me",
            "WITH x AS ([SELECT 1 AS mean) SELECT me]an FROM x",
        ),
        ("SELECT name FROM |thor", "author", "SELECT name FROM [au]thor"),
        ("SELECT 1 FROM |view WHERE 1", "review", "SELECT 1 FROM [re]view WHERE 1"),
        ("SELECT name FROM |er", "auth", None),  # no table "auther"
    ],
)
def test_a_word_with_its_end_right_of_the_cursor(marked: str, text: str, result: str | None) -> None:
    assert _inserted(marked, kept if (kept := _trim(marked, text)) and kept.valid else None) == result


@pytest.mark.parametrize("schema", [SCHEMA, None])
@pytest.mark.parametrize("text", ["me FROM", "me, id FROM", "me x"])
def test_two_words_never_become_one(text: str, schema: Schema | None) -> None:
    """Glued to what follows, "FROM" would make the alias "FROMme"."""
    kept = _trim("SELECT na|me FROM author", text, schema)
    assert (
        kept is None or not kept.valid or not {"FROMme", "xme"} & set(f"na{kept.text}me FROM author".split())
    )


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT name FROM author |", "author", None),  # it would be an alias
        ("SELECT name FROM author |", "author WHERE id = 1", "SELECT name FROM author [WHERE id = 1]"),
        ("SELECT |name FROM author", "name", None),
        ("SELECT |name FROM author", "id, name", "SELECT [id, ]name FROM author"),
    ],
)
def test_no_word_twice(marked: str, text: str, result: str | None) -> None:
    assert _inserted(marked, kept if (kept := _trim(marked, text)) and kept.valid else None) == result


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT |price FROM book", "title", None),
        ("SELECT | price FROM book WHERE price > 1", "title", None),
        ("SELECT |price FROM book", "title, ", "SELECT [title, ]price FROM book"),
        ("SELECT |total FROM book", "sum(price) AS", "SELECT [sum(price) AS ]total FROM book"),
        ("SELECT 1 FROM |uthor_id", "book", None),
        ("SELECT b.id FROM |b", "book", "SELECT b.id FROM [book ]b"),  # b is what the user calls it
    ],
)
def test_no_alias_by_chance(marked: str, text: str, result: str | None) -> None:
    assert _inserted(marked, kept if (kept := _trim(marked, text)) and kept.valid else None) == result


@pytest.mark.parametrize(
    ("marked", "draft", "result"),
    [
        # Names that do not exist: cut before the condition, never within it.
        (
            "SELECT name FROM author |",
            Draft("WHERE id = 2 AND nosuch = 1", ended=True),
            "SELECT name FROM author [WHERE id = 2]",
        ),
        # The token limit cut a word in half.
        (
            "SELECT name FROM author |",
            Draft("WHERE id = 2 ORDER BY na", ended=False, truncated=True),
            "SELECT name FROM author [WHERE id = 2]",
        ),
        (
            "SELECT id FROM author |",
            Draft("WHERE id = 2 ORDER BY name", ended=False, truncated=True),
            "SELECT id FROM author [WHERE id = 2]",
        ),
        # "name" alone is a condition in SQLite, and half of what was meant.
        (
            "SELECT id FROM author |",
            Draft("WHERE id = 2 AND name LIKE nosuch", ended=True),
            "SELECT id FROM author [WHERE id = 2]",
        ),
        (
            "SELECT id FROM author |",
            Draft("WHERE id = 2 AND name", ended=False, more=" = 'x'"),
            "SELECT id FROM author [WHERE id = 2]",
        ),
        (
            "SELECT 1 FROM author a |",
            Draft("CROSS JOIN book LEFT JOIN nosuch", ended=True),
            "SELECT 1 FROM author a [CROSS JOIN book]",
        ),
        # No table without its alias and its condition.
        (
            "SELECT 1 FROM author a |",
            Draft("JOIN book b ON b.author_id = a.id JOIN review r ON b.nosuch = 1", ended=True),
            "SELECT 1 FROM author a [JOIN book b ON b.author_id = a.id]",
        ),
    ],
)
def test_the_longest_valid_part_is_kept(marked: str, draft: Draft, result: str) -> None:
    kept = _trim(marked, draft)
    assert _inserted(marked, kept) == result
    assert kept is not None and kept.valid


def test_where_nothing_is_valid_the_beginning_of_a_statement_is_kept_with_its_issues() -> None:
    kept = _trim("SELECT |", "nosuch FROM author ) x")
    assert kept is not None
    assert (kept.text, kept.valid) == ("nosuch FROM author", False)
    assert [issue.kind for issue in kept.issues] == ["unknown_column"]


@pytest.mark.parametrize("text", ["", "  \n", ")", "'open", "FROM FROM"])
def test_nothing_of_use(text: str) -> None:
    kept = _trim("SELECT |", text)
    assert kept is None or not kept.valid


def test_without_a_schema_only_the_grammar_counts() -> None:
    kept = _trim("SELECT |", "nosuch FROM nowhere", schema=None)
    assert kept is not None and kept.valid
    assert kept.text == "nosuch FROM nowhere"


@pytest.mark.parametrize(("text", "used"), [(" name FROM author", 17), (" name FROM author ) x", 17)])
def test_how_much_of_the_draft_was_used(text: str, used: int) -> None:
    kept = _trim("SELECT |", text)
    assert kept is not None
    assert (kept.text, kept.used) == ("name FROM author", used)


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        # The suffix sorts by an output: it gets that name.
        (
            "SELECT name, |ORDER BY books",
            "COUNT(*) AS n FROM author GROUP BY name",
            "SELECT name, [COUNT(*) AS books FROM author GROUP BY name ]ORDER BY books",
        ),
        (
            "SELECT name, |ORDER BY books",
            "COUNT(*) FROM author GROUP BY name",
            "SELECT name, [COUNT(*) AS books FROM author GROUP BY name ]ORDER BY books",
        ),
        (
            "SELECT name, | FROM author ORDER BY n",
            "id * 2",
            "SELECT name, [id * 2 AS n] FROM author ORDER BY n",
        ),
        # It begins in the condition of a join.
        (
            "SELECT b.title FROM book b |author.id = b.author_id",
            "",
            None,
        ),
        (
            "SELECT b.title, author.name FROM | author.id = b.author_id",
            "book b",
            "SELECT b.title, author.name FROM [book b JOIN author ON] author.id = b.author_id",
        ),
        # The statement uses a table that neither side joins.
        (
            "SELECT a.name, AVG(r.rating) FROM author a JOIN book b ON |\nGROUP BY a.name",
            "b.author_id = a.id",
            "SELECT a.name, AVG(r.rating) FROM author a JOIN book b ON "
            "[b.author_id = a.id JOIN review r ON r.book_id = b.id]\nGROUP BY a.name",
        ),
        # The same name, gone on with otherwise.
        (
            "SELECT title, price AS p FROM book ORDER BY| p NULLS LAST",
            " title, p DESC",
            "SELECT title, price AS p FROM book ORDER BY[ title,] p NULLS LAST",
        ),
    ],
)
def test_what_the_suffix_waits_for_is_given_to_it(marked: str, text: str, result: str | None) -> None:
    kept = _trim(marked, text)
    assert _inserted(marked, kept) == result
    assert kept is None or kept.valid
