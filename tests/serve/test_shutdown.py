"""A shutdown lets running requests finish, refuses new ones, and ends at a deadline."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
from http_helpers import LiveServer, app_with, events_of, serving

from serve.engines.fake import FakeEngine, Reply
from serve.settings import Settings


def _stream_in_thread(
    live: LiveServer, body: dict[str, Any]
) -> tuple[threading.Thread, list[httpx.Response]]:
    answers: list[httpx.Response] = []

    def work() -> None:
        answers.append(httpx.post(f"{live.url}/v1/completions", json=body, timeout=20))

    thread = threading.Thread(target=work)
    thread.start()
    return thread, answers


def test_running_streams_finish_and_new_work_is_refused(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply("id " * 50, token_delay_s=0.02))
    with serving(app_with(engine, settings)) as live:
        thread, answers = _stream_in_thread(live, {"prompt": "x", "stream": True, "max_tokens": 500})
        live.wait_until(lambda: engine.status.running == 1)
        live.server.handle_exit(signal.SIGTERM, None)
        live.wait_until(lambda: live.app.state.lifecycle.draining)
        with httpx.Client(base_url=live.url) as client:
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            refused = client.post("/v1/completions", json={"prompt": "x"})
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
        thread.join(10)
        live.thread.join(10)
        assert not live.thread.is_alive()
    events = events_of(answers[0].text)
    assert events[-1][1] == "[DONE]"
    text = "".join(choice["text"] for _, data in events[:-1] for choice in json.loads(data)["choices"])
    assert text == "id " * 50


def test_the_deadline_cancels_what_is_left(tmp_path: Path) -> None:
    engine = FakeEngine(lambda prompt: Reply("id " * 5000, token_delay_s=0.02))
    settings = Settings(home=tmp_path, drain_timeout_s=0.2)
    with serving(app_with(engine, settings)) as live:
        body = {"prompt": "x", "max_tokens": 4000}
        streamed, streams = _stream_in_thread(live, {**body, "stream": True})
        whole, wholes = _stream_in_thread(live, body)
        live.wait_until(lambda: engine.status.running == 2)
        live.server.handle_exit(signal.SIGTERM, None)
        for thread in (streamed, whole, live.thread):
            thread.join(10)
            assert not thread.is_alive()
    assert engine.cancelled == 2
    event, data = events_of(streams[0].text)[-1]
    assert event == "error"
    assert json.loads(data)["error"]["type"] == "unavailable_error"
    assert wholes[0].status_code == 503
    assert "retry-after" in wholes[0].headers


def test_a_second_signal_does_not_wait(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: Reply("id " * 5000, token_delay_s=0.02))
    endless = settings.model_copy(update={"drain_timeout_s": 1000.0})
    with serving(app_with(engine, endless)) as live:
        thread, answers = _stream_in_thread(live, {"prompt": "x", "max_tokens": 4000})
        live.wait_until(lambda: engine.status.running == 1)
        live.server.handle_exit(signal.SIGINT, None)
        live.wait_until(lambda: live.app.state.lifecycle.draining)
        live.server.handle_exit(signal.SIGINT, None)
        live.thread.join(10)
        assert not live.thread.is_alive()
        thread.join(10)
    assert answers[0].status_code == 503


SCRIPT = """
import sys
from pathlib import Path
from http_helpers import app_with
from serve.engines.fake import FakeEngine
from serve.server import run
from serve.settings import Settings
settings = Settings(home=Path(sys.argv[1]), port=int(sys.argv[2]))
sys.exit(run(app_with(FakeEngine(), settings), settings, lambda line: print(line, flush=True)))
"""


def _command(home: Path, port: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_the_command_says_where_it_is_and_ends_well(tmp_path: Path) -> None:
    with _command(tmp_path, 0) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("distilsql is ready at http://127.0.0.1:")
        url = line.split()[-1]
        assert httpx.get(f"{url}readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=20)
        assert process.returncode == 0
    lines = [json.loads(line) for line in logged.splitlines()]
    assert {"time", "level", "logger", "message", "request_id"} <= lines[0].keys()
    assert "draining" in [line["message"] for line in lines]


def test_a_port_in_use_is_said_plainly(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _command(tmp_path, port) as process:
            _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in said
    assert "--port" in said
