"""Repair: what rules mend, what is asked of the model, and that nothing right is touched."""

from __future__ import annotations

import pytest
from bookshop import SCHEMA, schema_in

from serve.engines.fake import FakeEngine
from serve.errors import Unprocessable
from serve.settings import Settings
from sql_assistant import edits, validation
from sql_assistant.repair import repair
from sql_assistant.types import RepairRequest, RepairResponse


async def _repair(
    sql: str, settings: Settings, engine: FakeEngine | None = None, **fields: object
) -> RepairResponse:
    request = RepairRequest.model_validate({"sql": sql, **fields})
    return await repair(request, schema_in(request.dialect), engine, settings=settings)


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("SELEC name FROM author", "SELECT name FROM author"),
        ("SELECT name FORM author", "SELECT name FROM author"),
        ("SELECT name FROM author WHER country = 'DE'", "SELECT name FROM author WHERE country = 'DE'"),
        ("SELECT name, FROM author", "SELECT name FROM author"),
        ("SELECT name country FROM author WHERE (id = 1", "SELECT name country FROM author WHERE (id = 1)"),
        ("SELECT COUNT(* FROM book", "SELECT COUNT(*) FROM book"),
        ("SELECT name FROM author WHERE country = 'DE", "SELECT name FROM author WHERE country = 'DE'"),
        ("SELECT name FROM author WHERE country = DE", "SELECT name FROM author WHERE country = 'DE'"),
        ("SELECT nme FROM author", "SELECT name FROM author"),
        ("SELECT name FROM authors", "SELECT name FROM author"),
        ("SELECT b.name FROM author a JOIN book b ON b.author_id = a.id",
         "SELECT a.name FROM author a JOIN book b ON b.author_id = a.id"),
        ("SELECT a.name FROM author a JOIN book b ON b.author_id = a.author_id",
         "SELECT a.name FROM author a JOIN book b ON b.author_id = a.id"),
        ("SELECT id FROM author a JOIN book b ON b.author_id = a.id",
         "SELECT a.id FROM author a JOIN book b ON b.author_id = a.id"),
        ("SELECT author_id FROM author", "SELECT id FROM author"),
        ("SELECT AVG(review.rating) FROM book WHERE price > 1",
         "SELECT AVG(review.rating) FROM book JOIN review ON review.book_id = book.id WHERE price > 1"),
        ("SELECT title FROM book ORDER BY price WHERE id > 1",
         "SELECT title FROM book WHERE id > 1 ORDER BY price"),
        ("SELECT title FROM book WHERE price > 1 WHERE id > 1",
         "SELECT title FROM book WHERE price > 1 AND id > 1"),
    ],
)  # fmt: skip
async def test_rules_mend_what_the_error_pins_down(broken: str, mended: str, settings: Settings) -> None:
    answer = await _repair(broken, settings)
    best = answer.suggestions[0]
    assert best.sql == mended
    assert best.valid and best.source == "rule" and best.explanation
    assert edits.apply(broken, best.edits) == mended


@pytest.mark.parametrize("dialect", ["postgres", "mysql", "duckdb", "tsql"])
async def test_a_missing_join_condition_comes_from_the_key(dialect: str, settings: Settings) -> None:
    broken = "SELECT a.name FROM author AS a JOIN book AS b WHERE b.price > 1"
    if validation.is_valid(validation.validate(broken, schema_in(dialect), dialect)):
        assert not (await _repair(broken, settings, dialect=dialect)).suggestions
        return
    best = (await _repair(broken, settings, dialect=dialect)).suggestions[0]
    assert " ON " in best.sql and {"b.author_id", "a.id"} <= set(best.sql.split())


async def test_only_the_broken_statement_is_touched(settings: Settings) -> None:
    text = "-- first\nSELECT  name FROM author;\n-- second\nSELEC title FROM book; -- end\nSELECT 1"
    answer = await _repair(text, settings)
    assert answer.suggestions[0].sql == text.replace("SELEC ", "SELECT ")


async def test_a_right_text_is_left_alone_and_the_model_not_asked(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "```sql\nSELECT 1\n```")
    assert not (await _repair("SELECT name FROM author", settings, engine)).suggestions
    assert not engine.requests


BEYOND_RULES = "SELECT the name of every author from author"


async def test_where_no_rule_helps_the_model_is_asked_and_checked(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "```sql\nSELECT name FROM author\n```")
    best = (await _repair(BEYOND_RULES, settings, engine)).suggestions[0]
    assert (best.sql, best.source, best.valid) == ("SELECT name FROM author", "model", True)
    shown = engine.prompt_text(engine.requests[0].prompt)
    assert "author" in shown and BEYOND_RULES in shown


async def test_the_database_error_is_shown_to_the_model(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "```sql\nSELECT name FROM author\n```")
    await _repair(BEYOND_RULES, settings, engine, error='near "of": syntax error')
    assert 'near "of": syntax error' in engine.prompt_text(engine.requests[0].prompt)


@pytest.mark.parametrize(
    "answer",
    [
        "```sql\nDELETE FROM author\n```",  # another kind of statement
        "```sql\nSELECT nothing FROM nowhere\n```",  # wrong again
        "```sql\nSELECT name FROM author; DROP TABLE author\n```",  # more than was asked for
        "I cannot do that.",
        "```sql\nSELECT body FROM review ORDER BY rating LIMIT 5\n```",  # something else altogether
        "",
    ],
)
async def test_an_answer_of_the_model_that_is_not_right_is_dropped(answer: str, settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: answer)
    assert not (await _repair(BEYOND_RULES, settings, engine)).suggestions
    assert len(engine.requests) == 3  # the likeliest answer, then two others


async def test_several_ways_come_best_first(settings: Settings) -> None:
    answer = await _repair("SELECT name FROM author WHERE (id = 1 ORDER BY name", settings, n=3)
    assert len(answer.suggestions) > 1
    assert len({one.sql for one in answer.suggestions}) == len(answer.suggestions)
    assert all(one.valid for one in answer.suggestions)


async def test_an_unknown_dialect_is_refused(settings: Settings) -> None:
    with pytest.raises(Unprocessable, match="dialect"):
        await repair(RepairRequest(sql="SELEC 1", dialect="klingon"), SCHEMA, None, settings=settings)


async def test_without_a_schema_syntax_is_mended(settings: Settings) -> None:
    answer = await repair(RepairRequest(sql="SELEC 1"), None, None, settings=settings)
    assert answer.suggestions[0].sql == "SELECT 1"
