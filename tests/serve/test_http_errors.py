"""Every answer that is not a success has the same shape and says what to do."""

from __future__ import annotations

import json
import logging

import pytest
from http_helpers import app_with, client_of

from serve.engines.fake import FakeEngine, Reply
from serve.errors import QueueFull
from serve.settings import Settings

JSON = {"content-type": "application/json"}


async def test_unknown_paths_and_methods(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        for path in ("/nothing", "/v1/nothing"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.json() == {
                "error": {"type": "not_found_error", "message": f"there is nothing at {path}", "param": None}
            }
        answer = await client.put("/v1/completions")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "x", "max_tokens": "many"}, "max_tokens"),
        ({"prompt": "x", "n": 0}, "n"),
        ({"prompt": "x", "colour": "red"}, "colour"),
        ({"prompt": ["x", 5]}, "prompt.1"),
        ({"prompt": "x\0y"}, "prompt"),
    ],
)
async def test_a_wrong_field_is_named(settings: Settings, body: dict[str, object], param: str) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        answer = await client.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"prompt": "\\u0000"}', "NUL"),
        (b'{"prompt": "a\0b"}', "NUL"),
        (b'{"prompt": ', "not valid JSON"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"prompt": "x", "user": ' + b"[" * 900 + b"]" * 900 + b"}", None),
    ],
)
async def test_bodies_that_are_no_request(settings: Settings, body: bytes, says: str | None) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        answer = await client.post("/v1/completions", content=body, headers=JSON)
        if says is None:
            assert answer.status_code in (200, 400)
        else:
            assert answer.status_code == 400
            assert says in answer.json()["error"]["message"]
        assert (await client.get("/healthz")).status_code == 200


async def test_escaped_emoji_and_backslashes_are_text(settings: Settings) -> None:
    engine = FakeEngine()
    async with client_of(app_with(engine, settings)) as client:
        body = b'{"prompt": "\\ud83d\\ude00 \\\\u0000"}'
        answer = await client.post("/v1/completions", content=body, headers=JSON)
    assert answer.status_code == 200
    assert engine.prompts == ["\N{GRINNING FACE} \\u0000"]


async def test_the_content_type_must_be_json(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        answer = await client.post("/v1/completions", content=b'{"prompt": "x"}')
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]


async def test_an_unexpected_failure_tells_nothing_but_the_request_id(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "SELECT * FROM payroll"
    engine = FakeEngine(lambda prompt: Reply("", error=ValueError(secret)))
    async with client_of(app_with(engine, settings), **{"X-Request-Id": "trace-7"}) as client:
        answer = await client.post("/v1/completions", json={"prompt": "x"})
    assert answer.status_code == 500
    assert "trace-7" in answer.json()["error"]["message"]
    assert secret not in answer.text
    assert answer.headers["x-request-id"] == "trace-7"
    assert any(record.message == "request failed" for record in caplog.records)


async def test_busy_answers_say_when_to_come_back(settings: Settings) -> None:
    def full(prompt: str) -> str:
        raise QueueFull("too many requests are waiting", retry_after=2.5)

    async with client_of(app_with(FakeEngine(full), settings)) as client:
        for stream in (False, True):
            answer = await client.post("/v1/completions", json={"prompt": "x", "stream": stream})
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "3"
            assert answer.json()["error"]["type"] == "rate_limit_error"


async def test_a_prompt_over_the_context_is_refused_with_the_counts(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(context_length=64), settings)) as client:
        answer = await client.post("/v1/completions", json={"prompt": "?" * 100, "stream": True})
        assert answer.status_code == 413
        assert "100" in answer.json()["error"]["message"]
        assert "64" in answer.json()["error"]["message"]
        message = {"role": "user", "content": "?" * 100}
        answer = await client.post("/v1/chat/completions", json={"messages": [message]})
        assert answer.status_code == 413
        assert "64" in answer.json()["error"]["message"]


async def test_request_ids(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        first, second = [(await client.get("/healthz")).headers["x-request-id"] for _ in range(2)]
        assert first != second
        bad = await client.get("/healthz", headers={"X-Request-Id": 'x" onload="1'})
        assert bad.headers["x-request-id"] != 'x" onload="1'


async def test_one_log_line_a_request_and_never_the_prompt(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client_of(app_with(FakeEngine(lambda _: "SELECT secret_answer"), settings)) as client:
        caplog.clear()
        await client.post("/v1/completions?note=secret_query", json={"prompt": "secret_prompt"})
        await client.post("/v1/completions", json={"prompt": ["secret_prompt", 5]})
    lines = [record for record in caplog.records if record.message == "request"]
    assert [(line.status, line.route, line.method) for line in lines] == [  # type: ignore[attr-defined]
        (200, "/v1/completions", "POST"),
        (400, "/v1/completions", "POST"),
    ]
    everything = json.dumps([vars(record) for record in caplog.records], default=str)
    ours = [record for record in caplog.records if record.name.startswith(("serve", "sql_assistant"))]
    assert "secret" not in json.dumps([vars(record) for record in ours], default=str)
    assert "secret_prompt" not in everything
