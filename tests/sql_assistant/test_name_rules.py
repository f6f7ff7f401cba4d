"""Which names may stand at a place, and where there is no rule. "|" marks the cursor."""

from __future__ import annotations

import pytest
from bookshop import SCHEMA

from sql_assistant import ddl
from sql_assistant.cursor import locate
from sql_assistant.name_rules import Expected, NameRules
from sql_assistant.schema import Column, Schema, Table

AUTHOR = {"id", "name", "country"}
BOOK = {"id", "title", "price", "author_id"}
TABLES = {"author", "book", "review"}


def _expected(
    marked: str, written: str = "", kept: int = 0, schema: Schema = SCHEMA, dialect: str = "sqlite"
) -> Expected | None:
    prefix, suffix = marked.split("|")
    return NameRules(schema, locate(prefix, suffix, dialect), dialect).expected(kept, written)


@pytest.mark.parametrize(
    ("marked", "columns"),
    [
        ("SELECT a.| FROM author a", AUTHOR),
        ("SELECT A.| FROM author AS a", AUTHOR),
        ("SELECT author.| FROM author", AUTHOR),
        ("SELECT b.| FROM author a JOIN book b", BOOK),
        ("SELECT b.| FROM author a, book b", BOOK),
        ("SELECT b.| FROM author a LEFT JOIN main.book b ON 1", BOOK),
        ("UPDATE book SET price = book.|", BOOK),
        # What stands before FROM is not named FROM.
        ("SELECT a.id, b.title FROM author a JOIN book b USING (id) WHERE a.|", AUTHOR),
        # The same alias for two tables in two parts of the statement: both are possible.
        ("SELECT x.| FROM author x UNION SELECT x.id FROM book x", AUTHOR | BOOK),
    ],
)
def test_behind_a_qualifier_stands_one_of_its_columns(marked: str, columns: set[str]) -> None:
    assert _expected(marked) == Expected(frozenset({*columns, "*"}))


def test_a_table_that_the_model_itself_has_joined_counts() -> None:
    assert _expected("SELECT |", "b.title FROM book b WHERE b.") == Expected(frozenset({*BOOK, "*"}))


@pytest.mark.parametrize(
    ("marked", "rest"),
    [
        ("SELECT a.na| FROM author a", {"me"}),
        ("SELECT a.NA| FROM author a", {"me"}),
        ("SELECT a.name| FROM author a", {""}),
        ("SELECT 1 FROM au|", {"thor"}),
        ("SELECT 1 FROM author|", {""}),
        ("SELECT b.| FROM book b", {*BOOK, "*"}),
    ],
)
def test_what_is_typed_already_is_gone_on_with(marked: str, rest: set[str]) -> None:
    assert _expected(marked) == Expected(frozenset(rest))


def test_before_the_dot_only_what_follows_a_dot_is_bound() -> None:
    dotted = frozenset(f".{name}" for name in (*AUTHOR, "*"))
    assert _expected("SELECT a| FROM author a") == Expected(dotted, only_after=".")


@pytest.mark.parametrize("marked", ["SELECT 1 FROM |", "SELECT 1 FROM author JOIN |", "DELETE FROM |"])
def test_behind_from_and_join_stands_a_table_or_another_source(marked: str) -> None:
    found = _expected(marked)
    assert found is not None
    assert found.rest >= TABLES | {"(", '"'}
    assert not found.rest & (AUTHOR | BOOK)


def test_a_cte_is_a_table_too() -> None:
    found = _expected("WITH recent AS (SELECT 1) SELECT 1 FROM |")
    assert found is not None and found.rest >= TABLES | {"recent"}


def test_the_blank_behind_from_is_the_models_to_write() -> None:
    found = _expected("SELECT 1 FROM|")
    assert found is not None
    assert {" author", "\nauthor"} <= found.rest
    assert not any(name[0].isalpha() for name in found.rest)


def test_a_healed_fragment_counts_only_once() -> None:
    """Of "FROM au" the last three characters were taken back, and are spelled anew."""
    found = _expected("SELECT 1 FROM au|", kept=3)
    assert found is not None and " author" in found.rest
    assert _expected("SELECT 1 FROM au|", " aut", kept=3) == Expected(frozenset({"hor"}))


@pytest.mark.parametrize(
    ("marked", "dialect"),
    [
        ("SELECT x.| FROM author a", "sqlite"),  # an unknown alias
        ("SELECT a.zz| FROM author a", "sqlite"),  # nothing begins so
        ("SELECT 1 FROM zz|", "sqlite"),
        ("WITH author AS (SELECT 1 AS q) SELECT author.| FROM author", "sqlite"),
        ("SELECT d.| FROM (SELECT 1 AS q) d", "sqlite"),
        ("SELECT 1 FROM author WHERE id IS DISTINCT FROM |", "sqlite"),
        ("SELECT extract(year FROM |", "postgres"),
        ("SELECT trim(both FROM |", "postgres"),
        ("SELECT 'FROM |", "sqlite"),
        ("SELECT 1 -- FROM |", "sqlite"),
        ('SELECT "author.|', "sqlite"),
        ("SELECT s.author.| FROM author", "sqlite"),
        ("SELECT 3.|", "sqlite"),
        ("SELECT 1 FROM author WHERE 1 |", "sqlite"),
    ],
)
def test_where_it_is_not_certain_there_is_no_rule(marked: str, dialect: str) -> None:
    assert _expected(marked, dialect=dialect) is None


@pytest.mark.parametrize(
    ("marked", "written", "may_end"),
    [
        ("SELECT |author", "name FROM", True),  # the name stands right of the cursor
        ("SELECT | Author WHERE 1", "name FROM", True),
        ("SELECT a.|name FROM author a", "", True),
        ("SELECT a.na|me FROM author a", "", True),
        ("SELECT | authors", "name FROM", False),
        ("SELECT 1 FROM | WHERE 1", "", False),
        ("SELECT 1 FROM |", "", False),
    ],
)
def test_the_text_may_end_before_a_name_that_stands_there(marked: str, written: str, may_end: bool) -> None:
    found = _expected(marked, written)
    assert found is not None
    assert found.may_end is may_end


def test_a_string_that_the_model_began_is_free() -> None:
    assert _expected("SELECT |", "' FROM ") is None
    assert _expected("SELECT |", "'' FROM ") is not None


def test_columns_that_are_not_known_bind_nothing() -> None:
    schema = Schema((Table("author", ()), *SCHEMA.tables[1:]))
    assert _expected("SELECT a.| FROM author a", schema=schema) is None


def test_a_name_that_must_be_quoted_allows_the_quotes() -> None:
    schema = Schema((Table("t", (Column("plain"), Column("two words"))),))
    found = _expected("SELECT t.| FROM t", schema=schema)
    assert found is not None and {"plain", '"', "`", "["} <= found.rest


def test_a_table_is_found_with_and_without_its_namespace() -> None:
    schema = ddl.parse_ddl("CREATE TABLE shop.item (sku TEXT)", "postgres")
    for marked in ("SELECT i.| FROM shop.item i", "SELECT i.| FROM item i"):
        assert _expected(marked, schema=schema, dialect="postgres") == Expected(frozenset({"sku", "*"}))
    found = _expected("SELECT 1 FROM |", schema=schema, dialect="postgres")
    assert found is not None and {"shop.item", "item"} <= found.rest


QUOTES = {'"', "`", "["}


@pytest.mark.parametrize(
    ("marked", "sources"),
    [
        # A table that is used by its own name, or under an alias that only it can have.
        ("SELECT book.title FROM author JOIN |", {"book"}),
        ("SELECT b.title FROM author a JOIN |", {"book AS b", "book b"}),
        ("SELECT | FROM author a JOIN book b ON a.id = b.author_id", None),
        ("SELECT a.name FROM | JOIN book b ON a.id = b.author_id", {"author AS a", "author a"}),
        # It is not one join away: the table between is possible too.
        ("SELECT a.name, r.rating FROM author a JOIN |", {"review AS r", "review r", "book"}),
        # Names without a qualifier: a table that has one of them.
        ("SELECT title, price FROM |", {"book"}),
        ("SELECT rating FROM book JOIN |", {"review"}),
        ("WITH x AS (SELECT 1 AS n) SELECT x.n FROM |", {"x"}),
        # The one outside is none of a subquery's business.
        ("SELECT a.name FROM author a WHERE a.id IN (SELECT author_id FROM |)", {"book"}),
        ("SELECT title FROM book UNION SELECT country FROM |", {"author"}),
        # What a comment says names nothing.
        ("-- b.title and r.rating\nSELECT country FROM |", {"author"}),
    ],
)
def test_what_is_used_has_to_be_joined(marked: str, sources: set[str] | None) -> None:
    found = _expected(marked)
    assert (found and found.rest) == (frozenset(sources | QUOTES) if sources else None)


@pytest.mark.parametrize(
    ("written", "rest"),
    [
        ("author", {" AS au", " au"}),
        ("author ", {"AS au", "au"}),
        ("author a", {"u"}),
        ("author AS", {" au"}),
        ("author AS ", {"au"}),
        ("author as a", {"u"}),
        ("author au", {""}),
        ("review ", None),
    ],
)
def test_a_table_gets_the_alias_that_the_suffix_uses(written: str, rest: set[str] | None) -> None:
    found = _expected("SELECT b.title FROM book b JOIN | WHERE au.country = 'FR'", written)
    assert (found and found.rest) == (rest and frozenset(rest))


def test_an_alias_is_free_where_the_table_may_have_none() -> None:
    assert _expected("SELECT author.name FROM |", "author a") is None


KEY = {"a.id = b.author_id", "b.author_id = a.id"}


@pytest.mark.parametrize(
    ("marked", "conditions"),
    [
        ("SELECT b.title FROM author a JOIN book b ON |", KEY),
        ("SELECT 1 FROM book AS b LEFT JOIN author AS a ON |", KEY),
        ("SELECT 1 FROM author JOIN book ON |", {"author.id = book.author_id", "book.author_id = author.id"}),
        ("SELECT (SELECT 1 FROM review) FROM author a JOIN book b ON | WHERE b.price > 1", KEY),
        ("SELECT * FROM review r WHERE r.id IN (SELECT 1 FROM author a JOIN book b ON |", KEY),
        ("SELECT 1 FROM author a JOIN book b ON b.|", {"author_id = a.id"}),
        ("SELECT 1 FROM author a JOIN book b ON b.author_id = |", {"a.id"}),
    ],
)
def test_a_join_goes_over_the_foreign_key(marked: str, conditions: set[str]) -> None:
    assert _expected(marked) == Expected(frozenset(conditions))


def test_the_blank_behind_on_is_the_models_to_write() -> None:
    found = _expected("SELECT 1 FROM author a JOIN book b |", "ON")
    assert found is not None
    assert {rest.strip() for rest in found.rest} == KEY


@pytest.mark.parametrize(
    "marked",
    [
        "SELECT 1 FROM author a JOIN book b ON b.price = |",  # somebody joins otherwise
        "SELECT 1 FROM author a JOIN book b ON | = b.author_id",  # half of the condition stands there
        "SELECT 1 FROM author a JOIN review r ON |",  # nothing refers from one to the other
        "SELECT 1 FROM (SELECT id FROM author a) t JOIN book b ON |",  # the author is not in scope
    ],
)
def test_other_joins_are_free(marked: str) -> None:
    assert _expected(marked) is None
