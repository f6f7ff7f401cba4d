"""Synthetic rows keep to their schema, and are the same for the same schema."""

from __future__ import annotations

import sqlite3

import pytest

from distill.recipe import SqlTrack
from distill.sqltrack import columns, database, rows, schemas
from sql_assistant import ddl

SELF = """
CREATE TABLE node (id INTEGER PRIMARY KEY, up INTEGER REFERENCES node (id), name TEXT NOT NULL);
CREATE TABLE leaf (node_id INTEGER NOT NULL REFERENCES node (id), n INTEGER NOT NULL, PRIMARY KEY (node_id, n));
"""


@pytest.mark.parametrize("name", schemas.BUILTIN)
def test_the_rows_keep_to_every_constraint_of_the_shipped_ddl(name: str) -> None:
    text = schemas.builtin(name)
    schema = ddl.parse_ddl(text, "sqlite")
    made = rows.make(schema, text)
    db = sqlite3.connect(":memory:")
    db.executescript(text)
    for table in schema.tables:
        marks = ", ".join("?" * len(table.columns))
        db.executemany(f"INSERT INTO {table.name} VALUES ({marks})", made[table.name])
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    assert all(len(found) >= 5 for found in made.values())
    db.close()


@pytest.mark.parametrize("name", schemas.BUILTIN)
def test_every_foreign_key_joins_and_leaves_some_parents_alone(name: str) -> None:
    found = database.load(name, schemas.builtin(name), "sqlite")
    for table in found.schema.tables:
        for foreign in table.foreign_keys:
            children = found.values(table.name, foreign.columns[0])
            parents = found.values(foreign.ref_table, foreign.ref_columns[0])
            assert children and set(children) < set(parents), (table.name, foreign)


def test_the_same_schema_has_the_same_rows_in_every_dialect() -> None:
    kept = {}
    for dialect in ("sqlite", "postgres", "tsql", "snowflake"):
        subject = schemas.subject(
            "helpdesk", schemas.builtin("helpdesk"), SqlTrack(schemas=2, dialect=dialect)
        )
        kept[dialect] = list(subject.target.rows.values())
    assert kept["postgres"] == kept["sqlite"] == kept["tsql"] == kept["snowflake"]


def test_a_table_may_refer_to_itself_and_a_key_may_have_two_columns() -> None:
    made = rows.make(ddl.parse_ddl(SELF, "sqlite"), SELF)
    ids = {row[0] for row in made["node"]}
    assert {row[1] for row in made["node"]} - {None} <= ids
    assert any(row[1] is not None for row in made["node"])
    assert len({row[:2] for row in made["leaf"]}) == len(made["leaf"])


def test_tables_that_refer_to_each_other_are_filled() -> None:
    text = """CREATE TABLE a (id INTEGER PRIMARY KEY, b_id INTEGER NOT NULL REFERENCES b (id));
    CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INTEGER NOT NULL REFERENCES a (id));"""
    made = rows.make(ddl.parse_ddl(text, "sqlite"), text)
    assert {row[1] for row in made["a"]} <= {row[0] for row in made["b"]}
    assert {row[1] for row in made["b"]} <= {row[0] for row in made["a"]}


def test_values_come_from_check_comment_name_and_type() -> None:
    found = database.load("helpdesk", schemas.builtin("helpdesk"), "sqlite")
    assert set(found.values("tickets", "priority")) <= {"low", "normal", "high", "urgent"}
    assert set(found.values("teams", "region")) <= {"EMEA", "AMER", "APAC"}
    assert all(str(value).endswith("@example.com") for value in found.values("agents", "email"))
    assert set(found.values("messages", "is_internal")) == {0, 1}
    assert all(str(opened)[:2] == "20" for opened in found.values("tickets", "opened_at"))
    closed = [(row[6], row[7]) for row in found.rows["tickets"] if row[7] is not None]
    assert closed and all(str(opened) < str(end) for opened, end in closed)
    assert any(row[7] is None for row in found.rows["tickets"])


def test_names_are_taken_apart_whatever_their_style() -> None:
    assert columns.words("HomeTeamId") == columns.words("home_team_id") == ["home", "team", "id"]
