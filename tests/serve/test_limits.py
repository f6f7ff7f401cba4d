"""Limits on size and time, and clients that go away: over a real socket where only that shows it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from http_helpers import LiveServer, app_with, client_of, events_of, serving

from serve.engines.fake import FakeEngine, Reply
from serve.settings import Settings

ENDLESS = Reply("id " * 5000, token_delay_s=0.01)
JSON = {"content-type": "application/json"}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(lambda prompt: ENDLESS if "endless" in prompt else "id")


@pytest.fixture
def live(settings: Settings, engine: FakeEngine) -> Iterator[LiveServer]:
    with serving(app_with(engine, settings)) as server:
        yield server


def _five_megabytes() -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(80):
        yield b"x" * 65536
    yield b'"}'


def test_a_body_of_5_mb_is_refused_however_it_is_sent(live: LiveServer, engine: FakeEngine) -> None:
    whole = b"".join(_five_megabytes())
    with httpx.Client(base_url=live.url) as client:
        for content in (whole, _five_megabytes()):
            answer = client.post("/v1/completions", content=content, headers=JSON)
            assert answer.status_code == 413
            error = answer.json()["error"]
            assert error["type"] == "too_large_error"
            assert str(2 * 1024 * 1024) in error["message"]
        assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 200
    assert len(engine.requests) == 1


def test_an_announced_size_is_refused_before_the_body_comes(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 999999999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("stream", [True, False])
def test_a_killed_client_ends_its_generation(live: LiveServer, engine: FakeEngine, stream: bool) -> None:
    connection = live.post_raw("/v1/completions", {"prompt": "endless", "stream": stream, "max_tokens": 4000})
    live.wait_until(lambda: engine.status.running == 1)
    if stream:
        assert connection.recv(50).startswith(b"HTTP/1.1 200")
    connection.close()
    live.wait_until(lambda: engine.status.running == 0)
    assert engine.cancelled == 1
    assert httpx.post(f"{live.url}/v1/completions", json={"prompt": "x"}).status_code == 200


def test_a_client_killed_in_mid_body_does_no_harm(live: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b'Content-Length: 1000\r\n\r\n{"prompt')
    assert httpx.post(f"{live.url}/v1/completions", json={"prompt": "x"}).status_code == 200
    live.wait_until(lambda: live.app.state.lifecycle.running == 0)


async def test_a_request_out_of_time_is_cancelled(tmp_path: Path) -> None:
    engine = FakeEngine(lambda prompt: ENDLESS)
    settings = Settings(home=tmp_path, request_timeout_s=0.2)
    async with client_of(app_with(engine, settings)) as client:
        body = {"prompt": "x", "max_tokens": 4000}
        answer = await client.post("/v1/completions", json=body)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert "0.2 s" in answer.json()["error"]["message"]
        streamed = await client.post("/v1/completions", json={**body, "stream": True})
        assert streamed.status_code == 200
        events = events_of(streamed.text)
        assert events[-1][0] == "error"
        assert json.loads(events[-1][1])["error"]["type"] == "unavailable_error"
        assert len(events) > 2
    assert engine.cancelled == 2


def test_a_body_that_never_comes_is_given_up(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, request_timeout_s=0.2)
    with (
        serving(app_with(FakeEngine(), settings)) as live,
        socket.create_connection(("127.0.0.1", live.port), timeout=10) as connection,
    ):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 503 ")
