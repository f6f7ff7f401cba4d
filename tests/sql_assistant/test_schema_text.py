"""What a prompt shows of a schema: everything that fits, else what the statement needs."""

from __future__ import annotations

import re

import pytest
from bookshop import SCHEMA

from sql_assistant import ddl, schema_text
from sql_assistant.schema import Column, ForeignKey, Schema, Table


def _words(text: str) -> int:
    return len(text.split())


def _tables(text: str) -> list[str]:
    return re.findall(r"CREATE TABLE (\w+)", text)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            SCHEMA.tables[1],
            "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, price REAL, "
            "author_id INTEGER REFERENCES author(id));",
        ),
        (Table("t", (Column("a"), Column("b", "DECIMAL(10, 2)"))), "CREATE TABLE t (a, b DECIMAL);"),
        (
            Table("t", (Column("a", comment="in  euros"),), comment="sales\nof a day"),
            "CREATE TABLE t (a /* in euros */); /* sales of a day */",
        ),
        (Table("t", (Column("a", comment="x */ DROP"),)), "CREATE TABLE t (a /* x DROP */);"),
        (Table("order", (Column('two "w'),)), 'CREATE TABLE order ("two ""w");'),
        (Table("v", (Column("a"),), schema="shop", is_view=True), "CREATE VIEW shop.v (a);"),
        (
            Table(
                "t",
                (Column("a"), Column("b")),
                primary_key=("a", "b"),
                foreign_keys=(ForeignKey(("a", "b"), "u", ("c", "d")),),
            ),
            "CREATE TABLE t (a, b, PRIMARY KEY (a, b), FOREIGN KEY (a, b) REFERENCES u(c, d));",
        ),
    ],
)
def test_a_table_on_one_line(table: Table, text: str) -> None:
    assert schema_text.render_table(table) == f"{text}\n"


def test_a_very_long_comment_is_cut() -> None:
    text = schema_text.render_table(Table("t", (Column("a", comment="word " * 500),)))
    assert len(text) < 250


def test_what_fits_is_shown_whole_whatever_the_statement() -> None:
    shown = {schema_text.render(SCHEMA, 1000, _words, prefix) for prefix in ("", "SELECT 1 FROM review")}
    assert [_tables(text) for text in shown] == [["author", "book", "review"]]


def test_what_is_shown_can_be_read_as_the_schema_again() -> None:
    again = ddl.parse_ddl(schema_text.render(SCHEMA, 1000, _words), "sqlite")
    assert [(t.name, [c.name for c in t.columns], t.foreign_keys) for t in again.tables] == [
        (t.name, [c.name for c in t.columns], t.foreign_keys) for t in SCHEMA.tables
    ]


def _shop(count: int = 40) -> Schema:
    """`hub` is what many refer to; `island_7` and the like stand alone; `leaf` refers to `twig`."""
    islands = "".join(f"CREATE TABLE island_{n} (id INTEGER, colour_{n} TEXT);" for n in range(count))
    spokes = "".join(f"CREATE TABLE spoke{n} (id INTEGER REFERENCES hub (id));" for n in range(3))
    return ddl.parse_ddl(
        f"{islands}CREATE TABLE hub (id INTEGER PRIMARY KEY);{spokes}"
        "CREATE TABLE twig (id INTEGER PRIMARY KEY);"
        "CREATE TABLE leaf (id INTEGER, twig_id INTEGER REFERENCES twig (id));"
        "CREATE TABLE customer_invoices (id INTEGER, settlement TEXT);",
        "sqlite",
    )


BUDGET = 70


def test_a_large_schema_keeps_the_budget() -> None:
    for prefix in ("", "SELECT 1 FROM island_7", "SELECT " + ", ".join(f"colour_{n}" for n in range(40))):
        assert _words(schema_text.render(_shop(), BUDGET, _words, prefix)) <= BUDGET


def test_the_base_is_the_same_for_every_statement() -> None:
    chosen = [schema_text.select(_shop(), BUDGET, _words, p) for p in ("", "SELECT 1 FROM island_7")]
    assert chosen[0].base == chosen[1].base
    assert chosen[0].extra == ""
    assert "hub" in _tables(chosen[0].base)
    assert chosen[0].text.startswith(chosen[0].base)


@pytest.mark.parametrize(
    ("prefix", "suffix", "needed"),
    [
        ("SELECT * FROM island_7 WHERE ", "", "island_7"),  # named
        ("SELECT ", " FROM island_7", "island_7"),  # named right of the cursor
        ("SELECT * FROM Island_31 WHERE ", "", "island_31"),
        ('SELECT * FROM "island_8" WHERE ', "", "island_8"),
        ("SELECT * FROM leaf JOIN ", "", "twig"),  # what a named table refers to
        ("SELECT * FROM twig JOIN ", "", "leaf"),  # and what refers to it
        ("-- every invoice of a customer\nSELECT ", "", "customer_invoices"),  # like a word of a wish
        ("SELECT settlement", "", "customer_invoices"),  # like a column
    ],
)
def test_the_tables_that_a_statement_needs_are_shown(prefix: str, suffix: str, needed: str) -> None:
    chosen = schema_text.select(_shop(), BUDGET, _words, prefix, suffix)
    assert needed in _tables(chosen.text)
    assert len(set(_tables(chosen.text))) == len(_tables(chosen.text)) < 30


def test_the_schemas_order_is_kept() -> None:
    chosen = schema_text.select(_shop(), BUDGET, _words, "SELECT 1 FROM leaf, island_9, island_3")
    asked = [name for name in _tables(chosen.extra) if name in ("leaf", "island_9", "island_3")]
    assert asked == ["island_3", "island_9", "leaf"]


def test_a_table_larger_than_the_budget_is_left_out() -> None:
    huge = Table("huge", tuple(Column(f"c{n}") for n in range(500)))
    schema = Schema((huge, *SCHEMA.tables))
    text = schema_text.render(schema, 60, _words, "SELECT * FROM huge, review")
    assert _tables(text) == ["author", "book", "review"]


def test_no_tables() -> None:
    assert schema_text.render(Schema(()), 100, _words) == ""
