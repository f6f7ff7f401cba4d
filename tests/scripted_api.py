"""A real HTTP server on this machine that speaks OpenAI's and Anthropic's wire formats, and misbehaves on cue."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    text: str = "hello"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    """Sent instead of a proper answer."""
    wait_s: float = 0.0
    drop: bool = False
    """Close the connection without a word."""
    finish: str = "stop"
    usage: bool = True


@dataclass
class Request:
    """What came in."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"] if "messages" in self.body else self.body["prompt"])


Script = Callable[[Request, int], Answer]
"""What to do with a request whose question came `n` times before."""


@dataclass
class ScriptedApi:
    """The running server."""

    url: str
    script: Script
    requests: list[Request] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, request: Request) -> Answer:
        with self.lock:
            before = sum(one.question == request.question for one in self.requests)
            self.requests.append(request)
            return self.script(request, before)


@contextmanager
def scripted_api(script: Script) -> Iterator[ScriptedApi]:
    """Serve until the block ends; waiting requests are then let go."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, json.loads(self.rfile.read(length)), headers, monotonic())
            with api.lock:
                api.running += 1
                api.most_running = max(api.most_running, api.running)
            try:
                answer = api.take(request)
                api.over.wait(answer.wait_s)
            finally:
                with api.lock:
                    api.running -= 1
            if answer.drop:
                self.close_connection = True
                self.connection.close()
                return
            body = answer.body if answer.body is not None else json.dumps(_proper(request, answer))
            try:
                self.send_response(answer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body.encode())))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
            except OSError:
                pass  # the client did not wait

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    api = ScriptedApi(f"http://127.0.0.1:{server.server_address[1]}", script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _proper(request: Request, answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        return {"error": {"message": answer.text, "type": "error"}, "type": "error"}
    if request.path.endswith("/messages"):
        usage = {"input_tokens": 10, "output_tokens": 5}
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "x",
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": {"stop": "end_turn", "length": "max_tokens"}.get(answer.finish, answer.finish),
            "usage": usage,
        }
    choice: dict[str, Any] = {"index": 0, "finish_reason": answer.finish, "logprobs": None}
    if request.path.endswith("/chat/completions"):
        choice["message"] = {"role": "assistant", "content": answer.text}
    else:
        choice["text"] = answer.text
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    made = {"id": "c", "object": "chat.completion", "created": 0, "model": "x", "choices": [choice]}
    return made | ({"usage": usage} if answer.usage else {})
