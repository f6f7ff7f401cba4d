"""Completion at the cursor, over the scripted engine. "|" marks the cursor."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from bookshop import SCHEMA, schema_in

from serve.engines.fake import FakeEngine, Reply, Script
from serve.errors import QueueFull, TooLarge, Unprocessable
from serve.settings import Settings
from sql_assistant import completion, healing
from sql_assistant.cursor import locate
from sql_assistant.schema import Schema
from sql_assistant.types import CompleteRequest, CompleteResponse


def _request(marked: str, **options: Any) -> CompleteRequest:
    prefix, suffix = marked.split("|")
    return CompleteRequest(prefix=prefix, suffix=suffix, **options)


def _going_on(marked: str, text: str, dialect: str = "sqlite") -> str:
    """What a model says to insert `text`: the fragment that was taken back comes first."""
    prefix, suffix = marked.split("|")
    return healing.split(locate(prefix, suffix, dialect).before)[1] + text


async def _complete(
    marked: str,
    text: str | Script,
    settings: Settings,
    schema: Schema | None = SCHEMA,
    **options: Any,
) -> CompleteResponse:
    said = _going_on(marked, text, options.get("dialect", "sqlite")) if isinstance(text, str) else ""
    engine = FakeEngine((lambda prompt: said) if isinstance(text, str) else text)
    return await completion.complete(_request(marked, **options), schema, engine, settings=settings)


def _inserted(marked: str, answer: CompleteResponse) -> list[str]:
    assert all(one.valid for one in answer.suggestions)
    return [marked.replace("|", f"[{one.text}]") for one in answer.suggestions]


@pytest.mark.parametrize(
    ("marked", "text", "result"),
    [
        ("SELECT |", "name FROM author", "SELECT [name FROM author]"),
        ("SELECT|", " name FROM author", "SELECT[ name FROM author]"),
        ("SELECT na|", "me FROM author", "SELECT na[me FROM author]"),
        ("SELECT a.na| FROM author a", "me", "SELECT a.na[me] FROM author a"),
        ("SELECT |FROM author", "name", "SELECT [name ]FROM author"),
        ("SELECT | FROM author", "name FROM author", "SELECT [name] FROM author"),
        ("SELECT name|, id FROM author", ", country", "SELECT name[, country], id FROM author"),
        ("SELECT max(|) FROM book", "price)", "SELECT max([price]) FROM book"),
        ("SELECT * FROM author WHERE |", "id = 1; SELECT 2", "SELECT * FROM author WHERE [id = 1]"),
        ("SELECT * FROM author |;", "WHERE id = 1", "SELECT * FROM author [WHERE id = 1];"),
        ("SELECT * FROM author\n|", "  WHERE id = 1", "SELECT * FROM author\n[  WHERE id = 1]"),
        ("-- names|", "\nSELECT name FROM author", "-- names[\nSELECT name FROM author]"),
        ("-- names\n|", "SELECT name FROM author", "-- names\n[SELECT name FROM author]"),
        ('SELECT "na| FROM author', 'me"', 'SELECT "na[me"] FROM author'),
        ("SELECT 'é', na| FROM author", "me", "SELECT 'é', na[me] FROM author"),
        # A comment, a fence or prose behind the statement is no part of it.
        ("SELECT |", "name FROM author -- all of them", "SELECT [name FROM author]"),
        ("SELECT |", "name FROM author\n```\nThis query", "SELECT [name FROM author]"),
    ],
)
async def test_the_suggestion_fits_its_place(marked: str, text: str, result: str, settings: Settings) -> None:
    assert _inserted(marked, await _complete(marked, text, settings)) == [result]


@pytest.mark.parametrize(
    ("marked", "because"),
    [
        ("SELECT 'it is |' FROM author", "inside a string"),
        ("SELECT name FROM author -- all |of them", "inside a comment"),
        ("/* all | of them */ SELECT name FROM author", "inside a comment"),
        ("SELECT na|me FROM author", "inside a word"),
        ("SELECT name FROM author;|", "statement finished"),
        ("SELECT name FROM author;\n\n|", "empty statement"),
        ("SELECT \0|", "the statement holds a NUL character"),
    ],
)
async def test_nothing_where_nothing_belongs(marked: str, because: str, settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "name")
    answer = await completion.complete(_request(marked, n=2), SCHEMA, engine, settings=settings)
    assert (answer.suggestions, answer.nothing_because) == ([], because)
    assert engine.requests == []  # and nobody waited for the model


@pytest.mark.parametrize(
    ("text", "because"), [("", "the model had nothing to add"), (" ) )", "no suggestion")]
)
async def test_why_there_is_none(text: str, because: str, settings: Settings) -> None:
    answer = await _complete("SELECT name FROM author |", lambda prompt: text, settings)
    assert (answer.suggestions, answer.nothing_because) == ([], because)


@pytest.mark.parametrize(
    "marked",
    [
        "SELEC broken FROM (; SELECT name FROM |; ",
        "SELECT name FROM |; SELECT ((( 'broken",
        "UPDATE broken SET WHERE\nSELECT name FROM |",
        "SELECT name FROM |\n\nSELECT ) FROM broken",
        "INSERT broken;;; SELECT name FROM |\n;",
    ],
)
async def test_another_broken_statement_does_no_harm(marked: str, settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " author")
    answer = await completion.complete(_request(marked), SCHEMA, engine, settings=settings)
    assert [(one.text, one.valid) for one in answer.suggestions] == [("author", True)]
    assert "roken" not in engine.prompts[0]


async def test_invalid_suggestions_only_where_they_are_asked_for(settings: Settings) -> None:
    marked = "SELECT 1;\nSELECT | FROM author"
    hidden = await _complete(marked, "nosuch", settings)
    assert (hidden.suggestions, hidden.nothing_because) == ([], "no valid suggestion")
    shown = await _complete(marked, "nosuch", settings, include_invalid=True)
    (one,) = shown.suggestions
    assert (one.text, one.valid) == ("nosuch", False)
    whole = marked.replace("|", one.text)
    assert [(i.kind, whole[i.start : i.end]) for i in one.issues] == [("unknown_column", "nosuch")]


async def test_a_second_suggestion(settings: Settings) -> None:
    """Each distinct text once, the likelier first, and no more than asked for."""
    replies = iter(
        [Reply(" id", logprob=-0.9), Reply(" name", logprob=-0.1), Reply(" name"), Reply(" nosuch")]
    )
    answer = await _complete("SELECT | FROM author", lambda prompt: next(replies), settings, n=4)
    assert [one.text for one in answer.suggestions] == ["name", "id"]
    assert [round(one.logprob, 3) for one in answer.suggestions] == [-0.1, -0.9]


async def test_only_those_behind_the_first_are_drawn_by_chance(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " id")
    request = _request("SELECT | FROM author", n=3)
    await completion.complete(request, SCHEMA, engine, settings=settings)
    asked = [(one.temperature > 0, one.seed) for one in engine.requests]
    assert sorted(asked, key=str) == [(False, None), (True, 1), (True, 2)]


async def test_another_try_where_the_first_text_is_of_no_use(settings: Settings) -> None:
    replies = iter([" nosuch", " nosuch", " name"])
    answer = await _complete("SELECT | FROM author", lambda prompt: next(replies), settings)
    assert [one.text for one in answer.suggestions] == ["name"]


async def test_names_come_from_the_schema(settings: Settings) -> None:
    """The model is kept from a table that does not exist."""
    engine = FakeEngine(lambda prompt: " author")
    await completion.complete(_request("SELECT name FROM |"), SCHEMA, engine, settings=settings)
    constraint = engine.requests[0].constraint
    assert constraint is not None
    mask = constraint.mask([])
    known, unknown = (engine.tokenize(word)[0] for word in (" author", " customer"))
    assert mask is not None and mask[known] and not mask[unknown]


async def test_it_stops_early(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " name FROM author; SELECT " + "x, " * 200)
    request = _request("SELECT |", max_tokens=400)
    answer = await completion.complete(request, SCHEMA, engine, settings=settings)
    assert _inserted("SELECT |", answer) == ["SELECT [name FROM author]"]
    assert answer.usage.completion_tokens < 15


async def test_the_token_limit_is_for_new_text(settings: Settings) -> None:
    """Spelling what was typed already takes nothing of it; a word that it cuts is left out."""
    marked = "SELECT * FROM author WHERE na|"
    answer = await _complete(
        marked, "me = 1 OR name = 'a long string that does not fit'", settings, max_tokens=8
    )
    assert _inserted(marked, answer) == ["SELECT * FROM author WHERE na[me = 1]"]


@pytest.mark.parametrize(
    ("dialect", "marked", "text", "fits"),
    [
        ("postgres", "SELECT id::|", "text FROM author", True),
        ("sqlite", "SELECT id::|", "text FROM author", False),
        ("mysql", "SELECT `na|", "me` FROM author", True),
        ("postgres", "SELECT `na|", "me` FROM author", False),
        ("mysql", "SELECT 1 # all\n, |", "name FROM author", True),
        ("tsql", "SELECT TOP 3 [na|", "me] FROM author", True),
        ("bigquery", "SELECT name FROM author |", "QUALIFY count(*) OVER () = 1", True),
        ("sqlite", "SELECT name FROM author |", "QUALIFY count(*) OVER () = 1", False),
        ("duckdb", "FROM author |", "SELECT name", True),
        ("mysql", "FROM author |", "SELECT name", False),
        ("snowflake", "SELECT name FROM author |", "WHERE name ILIKE 'a%'", True),
    ],
)
async def test_dialects(dialect: str, marked: str, text: str, fits: bool, settings: Settings) -> None:
    answer = await _complete(marked, text, settings, schema_in(dialect), dialect=dialect)
    assert [one.text for one in answer.suggestions] == [text] * fits


async def test_without_a_schema_only_the_grammar_counts(settings: Settings) -> None:
    answer = await _complete("SELECT |", "whatever FROM anywhere", settings, schema=None)
    assert [one.text for one in answer.suggestions] == ["whatever FROM anywhere"]


async def _parts(marked: str, engine: FakeEngine, settings: Settings) -> list[str | CompleteResponse]:
    request = _request(marked, stream=True)
    return [part async for part in completion.stream(request, SCHEMA, engine, settings=settings)]


@pytest.mark.parametrize(
    ("marked", "said", "final"),
    [
        ("SELECT |", " name, id FROM author WHERE id = 1", "name, id FROM author WHERE id = 1"),
        ("SELECT na|", " name, id FROM author", "me, id FROM author"),
        ("SELECT | FROM author WHERE id = 1", " name, id FROM author WHERE id = 1", "name, id"),
        ("SELECT |", " name FROM author; SELECT 2", "name FROM author"),
    ],
)
async def test_streaming(marked: str, said: str, final: str, settings: Settings) -> None:
    """Pieces that only ever grow into the answer; the suffix is never shown for a moment."""
    *pieces, answer = await _parts(marked, FakeEngine(lambda prompt: said), settings)
    assert isinstance(answer, CompleteResponse)
    assert [one.text for one in answer.suggestions] == [final]
    shown = "".join(piece for piece in pieces if isinstance(piece, str))
    assert len(pieces) > 1
    assert shown.strip() == final


async def test_what_was_streamed_may_be_longer_than_what_is_valid(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " WHERE id = 1 AND nosuch = 2")
    *pieces, answer = await _parts("SELECT * FROM author |", engine, settings)
    assert isinstance(answer, CompleteResponse)
    assert "".join(map(str, pieces)).strip().endswith("nosuch = 2")
    assert [one.text for one in answer.suggestions] == ["WHERE id = 1"]


async def _until_running(engine: FakeEngine, count: int) -> None:
    while engine.status.running != count:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0)


@pytest.mark.parametrize("n", [1, 3])
async def test_cancelling_frees_the_engine(n: int, settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply(" name FROM author", token_delay_s=60))
    request = _request("SELECT |", n=n)
    task = asyncio.create_task(completion.complete(request, SCHEMA, engine, settings=settings))
    await _until_running(engine, n)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _until_running(engine, 0)
    assert engine.cancelled == n


async def test_leaving_a_stream_frees_the_engine(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply(" name, id FROM author", token_delay_s=0.001))
    request = _request("SELECT |", stream=True)
    async with aclosing(completion.stream(request, SCHEMA, engine, settings=settings)) as parts:
        async for _ in parts:
            break
    await _until_running(engine, 0)
    assert engine.cancelled == 1


@pytest.mark.parametrize(
    ("marked", "options", "error"),
    [
        ("SELECT |", {"dialect": "klingon"}, Unprocessable),
        ("SELECT " + "a, " * 40_000 + "|", {}, TooLarge),  # the statement
        ("SELECT " + "a, " * 5_000 + "|", {}, TooLarge),  # the context
    ],
)
async def test_requests_that_are_refused(
    marked: str, options: dict[str, Any], error: type[Exception], settings: Settings
) -> None:
    with pytest.raises(error):
        await _complete(marked, lambda prompt: "name", settings, **options)


async def test_a_full_queue_is_told_and_leaves_nothing_behind(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " name", queue_limit=2)
    request = _request("SELECT | FROM author", n=3)
    with pytest.raises(QueueFull):
        await completion.complete(request, SCHEMA, engine, settings=settings)
    await _until_running(engine, 0)


async def test_the_schema_is_computed_once(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " name")
    usage = []
    for marked in ("SELECT | FROM author", "SELECT id, | FROM author"):
        answer = await completion.complete(_request(marked), SCHEMA, engine, settings=settings)
        usage.append(answer.usage)
    assert usage[0].cached_tokens == 0
    assert usage[1].cached_tokens > 50
    assert usage[1].cached_tokens < usage[1].prompt_tokens
