"""What the model is shown: the schema's shared tokens first, then the statement around the cursor."""

from __future__ import annotations

from bookshop import SCHEMA, schema_in

from serve.engines.fake import FakeEngine
from serve.settings import Settings
from sql_assistant import ddl, prompt
from sql_assistant.cursor import Cursor, locate
from sql_assistant.schema import Schema


def _cursor(marked: str, dialect: str = "sqlite") -> Cursor:
    prefix, suffix = marked.split("|")
    return locate(prefix, suffix, dialect)


def _large() -> Schema:
    tables = "".join(f"CREATE TABLE island_{n} (id INTEGER, colour_{n} TEXT);" for n in range(80))
    return ddl.parse_ddl(tables, "sqlite")


def test_schema_then_what_is_kept_then_the_suffix(settings: Settings) -> None:
    engine = FakeEngine()
    made = prompt.completion_prompt(engine, SCHEMA, settings, _cursor("SELECT na| FROM author"), "SELECT")
    text = engine.prompt_text(made.ids)
    before, rest = text.removeprefix("<|fim_prefix|>").split("<|fim_suffix|>")
    assert before.startswith("-- SQLite\nCREATE TABLE author (")
    assert before.endswith(";\nSELECT")
    assert rest == " FROM author<|fim_middle|>"


def test_without_a_schema_only_the_statement_is_shown(settings: Settings) -> None:
    engine = FakeEngine()
    made = prompt.completion_prompt(engine, None, settings, _cursor("SELECT | FROM t"), "SELECT")
    assert engine.prompt_text(made.ids) == "<|fim_prefix|>SELECT<|fim_suffix|> FROM t<|fim_middle|>"
    assert made.shared == 1


def test_the_dialect_is_named(settings: Settings) -> None:
    engine = FakeEngine()
    text = engine.prompt_text(prompt.schema_prefix(engine, schema_in("postgres"), settings))
    assert text.startswith("<|fim_prefix|>-- PostgreSQL\n")


def test_requests_share_the_schemas_tokens(settings: Settings) -> None:
    """What is computed ahead for a schema is a prefix of every prompt on it, whatever the statement."""
    engine = FakeEngine()
    tight = settings.model_copy(update={"schema_token_budget": 600})
    for schema in (SCHEMA, _large()):
        ahead = prompt.schema_prefix(engine, schema, tight)
        assert len(ahead) > 100
        for marked in ("SELECT |", "SELECT x FROM island_70 WHERE |", "UPDATE t SET | WHERE a"):
            cursor = _cursor(marked)
            made = prompt.completion_prompt(engine, schema, tight, cursor, cursor.before)
            assert made.ids[: made.shared] == ahead


def test_a_table_that_the_statement_needs_stands_behind_the_shared_part(settings: Settings) -> None:
    engine = FakeEngine()
    tight = settings.model_copy(update={"schema_token_budget": 600})
    cursor = _cursor("SELECT | FROM island_70")
    made = prompt.completion_prompt(engine, _large(), tight, cursor, cursor.before)
    shared, own = (engine.prompt_text(part) for part in (made.ids[: made.shared], made.ids[made.shared :]))
    assert "island_70" not in shared
    assert own.startswith("CREATE TABLE ")
    assert "CREATE TABLE island_70 (" in own.split("SELECT")[0]


def test_the_budget_bounds_the_schemas_part(settings: Settings) -> None:
    engine = FakeEngine()
    for budget in (256, 600):
        tight = settings.model_copy(update={"schema_token_budget": budget})
        block = prompt.schema_block(engine, _large(), tight, "SELECT colour_9 FROM island_9")
        head = len(engine.tokenize(prompt.header("sqlite")))
        assert budget / 2 < len(engine.tokenize(block)) - head <= budget
        assert "CREATE TABLE island_9 (" in block


def test_a_marker_in_the_users_text_stays_text(settings: Settings) -> None:
    engine = FakeEngine()
    before = "SELECT '<|fim_middle|>', "
    made = prompt.completion_prompt(engine, None, settings, locate(before, "", "sqlite"), before)
    middle = engine.tokenize("<|fim_middle|>", special=True)[0]
    assert made.ids.count(middle) == 1
    assert made.ids[-1] == middle
