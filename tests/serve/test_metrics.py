"""What Prometheus reads."""

from __future__ import annotations

import asyncio
from typing import Any

from http_helpers import app_with, client_of
from prometheus_client.parser import text_string_to_metric_families

from serve.engines.fake import FakeEngine, Reply
from serve.settings import Settings


def _samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_requests_tokens_and_latencies_are_counted(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply("SELECT id FROM", token_delay_s=0.002))
    async with client_of(app_with(engine, settings)) as client:
        for stream in (False, True):
            body: dict[str, Any] = {"prompt": "select id", "stream": stream}
            await client.post("/v1/completions", json=body)
        await client.post("/v1/completions", json={})
        await client.get("/v1/models/nope-1")
        await client.get("/v1/models/nope-2")
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    got = _samples(answer.text)

    def value(name: str, **labels: str) -> float:
        return got[f"distilsql_{name}", frozenset(labels.items())]

    route = {"method": "POST", "route": "/v1/completions"}
    assert value("http_request_seconds_count", **route, status="200") == 2
    assert value("http_request_seconds_count", **route, status="400") == 1
    models = {"method": "GET", "route": "/v1/models/{model}", "status": "404"}
    assert value("http_request_seconds_count", **models) == 2
    assert value("prompt_tokens_total", model="fake") == 4
    assert value("completion_tokens_total", model="fake") == 6
    assert value("time_to_first_token_seconds_count", model="fake") == 2
    assert value("inter_token_seconds_count", model="fake") == 4
    assert 0.004 < value("time_to_first_token_seconds_sum", model="fake") < 1
    assert value("generations_total", model="fake", finish_reason="stop") == 2
    assert value("running_generations", model="fake") == 0
    assert value("queue_limit", model="fake") == 64


async def test_what_runs_is_shown_while_it_runs_and_cancelled_after(settings: Settings) -> None:
    started = asyncio.Event()

    def script(prompt: str) -> Reply:
        started.set()
        return Reply("id " * 500, token_delay_s=0.01)

    engine = FakeEngine(script)
    app = app_with(engine, settings)
    async with client_of(app) as client:
        body = {"prompt": "x", "max_tokens": 1000}
        running = asyncio.create_task(client.post("/v1/completions", json=body))
        await started.wait()
        assert 'distilsql_running_generations{model="fake"} 1.0' in (await client.get("/metrics")).text
        app.state.lifecycle.cancel_requests()
        assert (await running).status_code == 503
        text = (await client.get("/metrics")).text
    assert 'distilsql_generations_total{finish_reason="cancelled",model="fake"} 1.0' in text


async def test_two_applications_count_apart(settings: Settings) -> None:
    async with (
        client_of(app_with(FakeEngine(), settings)) as one,
        client_of(app_with(FakeEngine(), settings)) as other,
    ):
        await one.post("/v1/completions", json={"prompt": "x"})
        assert "/v1/completions" in (await one.get("/metrics")).text
        assert "/v1/completions" not in (await other.get("/metrics")).text
