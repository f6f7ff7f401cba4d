"""The /v1/sql routes over the scripted engine: what they answer, and what they leave in the event log."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from http_helpers import client_of, events_of

from serve.app import create_app
from serve.engines.fake import FakeEngine, Reply
from serve.registry import ModelRegistry
from serve.settings import Settings
from sql_assistant.api import attach

DDL = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, author_id INTEGER REFERENCES author (id));
"""
STATEMENT = {"prefix": "SELECT name FROM ", "ddl": DDL}


def sql_app(engine: FakeEngine, settings: Settings) -> FastAPI:
    registry = ModelRegistry(settings, loader=lambda name: engine)
    app = create_app(settings, registry)
    attach(app, settings, registry)
    return app


@asynccontextmanager
async def sql_client(settings: Settings, text: str = "author") -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(sql_app(FakeEngine(lambda prompt: text), settings)) as client:
        yield client


async def _rows(client: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    """The statistics by key, once everything is written."""
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    await asyncio.to_thread(app.state.sql.events.flush)
    answer = await client.get("/v1/sql/stats", params=params)
    assert answer.status_code == 200, answer.text
    return {row["key"]: row for row in answer.json()["rows"]}


async def test_a_completion_and_what_becomes_of_it(settings: Settings) -> None:
    async with sql_client(settings) as client:
        answer = await client.post("/v1/sql/complete", json=STATEMENT)
        assert answer.status_code == 200, answer.text
        got = answer.json()
        assert [(one["text"], one["valid"]) for one in got["suggestions"]] == [("author", True)]
        assert got["model"] == "fake"
        assert got["usage"]["completion_tokens"] > 0
        assert got["timings"]["total_ms"] > 0
        for action in ("shown", "accepted"):
            event = {"completion_id": got["id"], "action": action, "client_latency_ms": 12.5}
            assert (await client.post("/v1/sql/events", json=event)).status_code == 202
        row = (await _rows(client))["fake"]
        assert (row["requests"], row["shown"], row["accepted"]) == (1, 1, 1)
        assert (row["acceptance_rate"], row["valid_rate"]) == (1.0, 1.0)
        assert row["latency_ms"]["p50"] > 0
        metrics = (await client.get("/metrics")).text
        assert 'distilsql_suggestions_total{model="fake",task="complete",valid="true"} 1.0' in metrics
        for action in ("shown", "accepted"):
            labels = f'action="{action}",model="fake",task="complete"'
            assert f"distilsql_suggestion_actions_total{{{labels}}} 1.0" in metrics


async def test_a_stream_ends_with_the_same_object(settings: Settings) -> None:
    async with sql_client(settings) as client:
        answer = await client.post("/v1/sql/complete", json={**STATEMENT, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *parts, last = events_of(answer.text)
        assert {event for event, _ in parts} <= {"text"}
        assert last[0] == "completion"
        final = json.loads(last[1])
        assert final["suggestions"][0]["text"] == "author"
        event = {"completion_id": final["id"], "action": "shown"}
        assert (await client.post("/v1/sql/events", json=event)).status_code == 202
        assert (await _rows(client, group_by="task"))["complete"]["shown"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"dialect": "klingon"}, 422, "dialect"),
        ({"ddl": "CREATE TABLE author (id INTEGER,,"}, 422, "ddl"),
        ({"ddl": None, "schema_id": "sch_0000000000000000"}, 404, "schema_id"),
        ({"schema_id": "sch_0000000000000000"}, 400, "ddl"),
        ({"prefix": "SELECT \0"}, 400, "prefix"),
        ({"prefix": 5}, 422, "prefix"),
        ({"prefix": None}, 422, "prefix"),
        ({"n": 99}, 422, "n"),
        ({"temperature": "hot"}, 422, "temperature"),
        ({"colour": "red"}, 422, "colour"),
        ({"ddl": {"a": 1}}, 422, "ddl"),
        ({"dialect": ["sqlite"]}, 422, "dialect"),
    ],
)
async def test_bad_requests_are_told_what_is_wrong(
    settings: Settings, change: dict[str, Any], status: int, param: str, stream: bool
) -> None:
    async with sql_client(settings) as client:
        answer = await client.post("/v1/sql/complete", json={**STATEMENT, "stream": stream, **change})
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == param
        assert (await client.get("/healthz")).status_code == 200


async def test_an_unknown_model_is_not_found(settings: Settings) -> None:
    def only_fake(name: str) -> FakeEngine:
        from serve.errors import NotFound

        if name:
            raise NotFound(f"there is no model {name}", param="model")
        return FakeEngine()

    registry = ModelRegistry(settings, loader=only_fake)
    app = create_app(settings, registry)
    attach(app, settings, registry)
    async with client_of(app) as client:
        answer = await client.post("/v1/sql/complete", json={**STATEMENT, "model": "gpt-9"})
    assert answer.status_code == 404
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize("bracket", ["()", "[]"])
async def test_a_thousand_nested_brackets(settings: Settings, bracket: str) -> None:
    nested = "SELECT " + bracket[0] * 1000 + "1" + bracket[1] * 1000
    engine = FakeEngine(lambda prompt: "author")
    async with client_of(sql_app(engine, settings)) as client:
        for path, body, param in [
            ("validate", {"sql": f"SELECT 1;\n{nested}"}, "sql"),
            ("repair", {"sql": nested}, "sql"),
            ("complete", {"prefix": nested[:1007]}, "prefix"),
            ("complete", {"prefix": "SELECT ", "suffix": nested, "stream": True}, "prefix"),
        ]:
            answer = await client.post(f"/v1/sql/{path}", json={**body, "dialect": "duckdb"})
            assert answer.status_code == 422, path
            assert "nested deeper than 100" in answer.json()["error"]["message"]
            assert answer.json()["error"]["param"] == param
        assert engine.requests == []
        ddl = f"CREATE TABLE t (a INT DEFAULT {'(' * 1000}1{')' * 1000})"
        registered = await client.post("/v1/sql/schemas", json={"name": "deep", "ddl": ddl})
        assert registered.status_code in (201, 422)
        elsewhere = {**STATEMENT, "prefix": f"SELECT {'(' * 1000}1{')' * 1000};\n{STATEMENT['prefix']}"}
        for body in (STATEMENT, elsewhere):
            answer = await client.post("/v1/sql/complete", json=body)
            assert answer.json()["suggestions"][0]["valid"], answer.text


async def test_a_text_over_the_limit_is_refused_before_it_is_read(settings: Settings) -> None:
    long = "SELECT 1;" * 30_000
    async with sql_client(settings) as client:
        for path, body in [
            ("validate", {"sql": long}),
            ("repair", {"sql": long}),
            ("complete", {"prefix": long[:140_000], "suffix": long[140_000:]}),
        ]:
            began = time.perf_counter()
            answer = await client.post(f"/v1/sql/{path}", json=body)
            assert answer.status_code == 413, path
            assert "270,000" in answer.json()["error"]["message"]
            assert "250,000" in answer.json()["error"]["message"]
            assert time.perf_counter() - began < 1


async def test_a_prompt_over_the_context(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "author", context_length=512)
    async with client_of(sql_app(engine, settings)) as client:
        body = {"prefix": "SELECT " + "a + " * 2000, "max_tokens": 500}
        answer = await client.post("/v1/sql/complete", json=body)
        assert answer.status_code == 413
        assert "512" in answer.json()["error"]["message"]


async def test_every_request_leaves_a_row(settings: Settings) -> None:
    async with sql_client(settings) as client:
        await client.post("/v1/sql/complete", json=STATEMENT)
        await client.post("/v1/sql/complete", json={**STATEMENT, "dialect": "klingon"})
        await client.post("/v1/sql/complete", json={**STATEMENT, "dialect": "klingon", "stream": True})
        await client.post("/v1/sql/validate", json={"sql": "SELECT 1"})
        await client.post("/v1/sql/repair", json={"sql": "SELECT 1"})
        rows = await _rows(client, group_by="task")
    assert (rows["complete"]["requests"], rows["complete"]["errors"]) == (3, 2)
    assert rows["validate"]["requests"] == rows["repair"]["requests"] == 1


async def test_a_cancelled_request_leaves_a_row_too(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply("author " * 500, token_delay_s=0.1))
    short = settings.model_copy(update={"request_timeout_s": 0.2})
    async with client_of(sql_app(engine, short)) as client:
        for stream in (False, True):
            body = {**STATEMENT, "max_tokens": 500, "stream": stream}
            await client.post("/v1/sql/complete", json=body)
        row = (await _rows(client))["fake"]
    assert (row["requests"], row["errors"]) == (2, 2)
    assert engine.status.running == 0


async def test_no_event_is_lost_at_shutdown(settings: Settings) -> None:
    async with sql_client(settings) as client:
        for _ in range(50):
            await client.post("/v1/sql/validate", json={"sql": "SELECT 1"})
    async with sql_client(settings) as client:
        assert (await _rows(client, group_by="task"))["validate"]["requests"] == 50


async def test_an_event_for_nothing(settings: Settings) -> None:
    async with sql_client(settings) as client:
        event = {"completion_id": "0" * 32, "action": "shown"}
        answer = await client.post("/v1/sql/events", json=event)
        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "completion_id"


async def test_validation(settings: Settings) -> None:
    async with sql_client(settings) as client:
        right = await client.post("/v1/sql/validate", json={"sql": "SELECT name FROM author", "ddl": DDL})
        assert right.json() == {"valid": True, "issues": []}
        sql = "SELECT nam FROM author"
        wrong = (await client.post("/v1/sql/validate", json={"sql": sql, "ddl": DDL})).json()
        assert wrong["valid"] is False
        issue = wrong["issues"][0]
        assert issue["kind"] == "unknown_column"
        assert sql[issue["start"] : issue["end"]] == "nam"
        syntax_only = await client.post("/v1/sql/validate", json={"sql": sql})
        assert syntax_only.json()["valid"] is True


async def test_statistics_by_time_and_group(settings: Settings) -> None:
    async with sql_client(settings) as client:
        await client.post("/v1/sql/validate", json={"sql": "SELECT 1"})
        assert len(await _rows(client, group_by="day")) == 1
        assert await _rows(client, since="2999-01-01") == {}
        assert await _rows(client, until="2001-01-01T00:00:00Z") == {}
        assert len(await _rows(client, since="2001-01-01T00:00:00+02:00", until="9999-12-31T23:59:59Z")) == 1
        for params in ({"since": "yesterday"}, {"group_by": "colour"}, {"since": "99999-01-01"}):
            answer = await client.get("/v1/sql/stats", params=params)
            assert answer.status_code in (400, 422), params
            assert answer.json()["error"]["param"] in params


async def test_nothing_typed_is_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with sql_client(settings, "secret_author") as client:
        body = {"prefix": "SELECT secret_column FROM ", "ddl": "CREATE TABLE secret_table (a INT)"}
        await client.post("/v1/sql/complete", json=body)
        await client.post("/v1/sql/complete", json={**body, "ddl": "CREATE TABLE secret_table ("})
        await client.post("/v1/sql/validate", json={"sql": "SELECT secret_column FROM"})
    records = [record for record in caplog.records if record.name.startswith(("serve", "sql_assistant"))]
    assert records
    assert "secret" not in json.dumps([vars(record) for record in records], default=str)


# -- schemas ----------------------------------------------------------------------------------


async def _until_warm(client: httpx.AsyncClient, schema_id: str) -> dict[str, Any]:
    for _ in range(500):
        answer = (await client.get(f"/v1/sql/schemas/{schema_id}")).json()
        if answer["warm"]:
            return answer  # type: ignore[no-any-return]
        await asyncio.sleep(0.01)
    raise AssertionError("the schema does not get warm")


async def test_a_schema_from_ddl_is_warmed_and_used(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "author")
    async with client_of(sql_app(engine, settings)) as client:
        answer = await client.post("/v1/sql/schemas", json={"name": "library", "ddl": DDL})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["name"], made["tables"], made["dialect"]) == ("library", 2, "sqlite")
        assert made["tokens"] > 0
        warm = await _until_warm(client, made["schema_id"])
        assert "CREATE TABLE author" in warm["ddl"]
        assert [table["name"] for table in warm["schema"]["tables"]] == ["author", "book"]
        assert warm["schema"]["tables"][1]["columns"][1]["name"] == "title"
        assert len(engine.warmed) == 1
        listed = (await client.get("/v1/sql/schemas")).json()["schemas"]
        assert [one["schema_id"] for one in listed] == [made["schema_id"]]
        body = {"prefix": "SELECT name FROM ", "schema_id": made["schema_id"]}
        assert (await client.post("/v1/sql/complete", json=body)).json()["suggestions"][0]["valid"]
        assert made["schema_id"] in await _rows(client, group_by="schema")


async def test_schemas_outlive_a_restart_and_are_warmed_again(settings: Settings) -> None:
    async with sql_client(settings) as client:
        made = (await client.post("/v1/sql/schemas", json={"name": "library", "ddl": DDL})).json()
    engine = FakeEngine()
    async with client_of(sql_app(engine, settings)) as client:
        assert (await _until_warm(client, made["schema_id"]))["tokens"] == made["tokens"]
        assert len(engine.warmed) == 1


async def test_a_deleted_schema_is_gone(settings: Settings) -> None:
    forgotten: list[int] = []

    class Remembering(FakeEngine):
        def forget(self, prompt: Any) -> None:
            forgotten.append(len(prompt))

    async with client_of(sql_app(Remembering(), settings)) as client:
        made = (await client.post("/v1/sql/schemas", json={"name": "library", "ddl": DDL})).json()
        await _until_warm(client, made["schema_id"])
        path = f"/v1/sql/schemas/{made['schema_id']}"
        assert (await client.delete(path)).status_code == 204
        assert forgotten == [made["tokens"]]
        for method in ("GET", "DELETE"):
            assert (await client.request(method, path)).status_code == 404
        body = {"prefix": "SELECT ", "schema_id": made["schema_id"]}
        assert (await client.post("/v1/sql/complete", json=body)).status_code == 404
        assert (await client.get("/v1/sql/schemas")).json() == {"schemas": []}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"name": "x"}, 400, "ddl"),
        ({"name": "x", "ddl": DDL, "url": "sqlite:///x"}, 400, "ddl"),
        ({"name": "x", "ddl": "SELECT 1"}, 422, "ddl"),
        ({"name": "x", "ddl": DDL, "dialect": "klingon"}, 422, "dialect"),
        ({"ddl": DDL}, 422, "name"),
        ({"name": "", "ddl": DDL}, 422, "name"),
        ({"name": "x\n", "ddl": DDL}, 400, "name"),
    ],
)
async def test_schemas_that_cannot_be_registered(
    settings: Settings, body: dict[str, Any], status: int, param: str
) -> None:
    async with sql_client(settings) as client:
        answer = await client.post("/v1/sql/schemas", json=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == param
        assert (await client.get("/v1/sql/schemas")).json() == {"schemas": []}


async def test_database_urls_must_be_allowed(settings: Settings) -> None:
    async with sql_client(settings) as client:
        body = {"name": "x", "url": "postgresql://db.example/shop"}
        answer = await client.post("/v1/sql/schemas", json=body)
        assert 400 <= answer.status_code < 500
        assert "schema_database_urls" in answer.json()["error"]["message"]


async def test_a_database_file_is_read_and_not_kept(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "library.db"
    connection = sqlite3.connect(path)
    connection.executescript(DDL + "INSERT INTO author VALUES (1, 'a secret row');")
    connection.close()
    async with sql_client(settings) as client:
        answer = await client.post(
            "/v1/sql/schemas/upload", params={"name": "library"}, content=path.read_bytes()
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["tables"] == 2
        detail = (await client.get(f"/v1/sql/schemas/{answer.json()['schema_id']}")).text
        assert "secret" not in detail
        for content in (b"", b"not a database", path.read_bytes()[:200]):
            refused = await client.post("/v1/sql/schemas/upload", params={"name": "x"}, content=content)
            assert refused.status_code == 422, content
        assert (await client.post("/v1/sql/schemas/upload", content=b"x")).json()["error"]["param"] == "name"


async def test_an_upload_has_a_limit_of_its_own(settings: Settings) -> None:
    small = settings.model_copy(update={"max_body_bytes": 1024, "max_upload_bytes": 4096})

    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1024

    async with sql_client(small) as client:
        for count, status in [(3, 422), (5, 413)]:
            for content in (b"x" * 1024 * count, chunks(count)):
                answer = await client.post("/v1/sql/schemas/upload?name=x", content=content)
                assert answer.status_code == status
                assert set(answer.json()["error"]) == {"type", "message", "param"}
