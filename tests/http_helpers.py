"""Ways to talk to an application: in process, and over a real socket for what only that can show."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from serve.app import create_app
from serve.engines.fake import FakeEngine
from serve.registry import ModelRegistry
from serve.server import _Server
from serve.settings import Settings


def app_with(engine: FakeEngine, settings: Settings) -> FastAPI:
    """The serve application whose only model is `engine`."""
    return create_app(settings, ModelRegistry(settings, loader=lambda name: engine))


@asynccontextmanager
async def client_of(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running application, model loaded."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    loaded = asyncio.Event()
    app.state.lifecycle.when_loaded(lambda problem: loaded.set())
    async with app.router.lifespan_context(app):
        await loaded.wait()
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            yield client


def events_of(text: str) -> list[tuple[str, str]]:
    """(event, data) of a server-sent event stream; the event is "message" where none is named."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            events.append((fields.get("event", "message"), fields["data"]))
    return events


class LiveServer:
    """`url` answers until the block ends; `server.handle_exit` is what a signal would call."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
        self.server = _Server(config, app.state.lifecycle, app.state.settings)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve([self.socket])))

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Return once `condition` holds; an assertion error when it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    def post_raw(self, path: str, body: dict[str, Any]) -> socket.socket:
        """Send a POST and leave the answer unread: the caller may hang up at any moment."""
        data = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return connection


@contextmanager
def serving(app: FastAPI) -> Iterator[LiveServer]:
    """Serve `app` for the length of the block, model loaded."""
    live = LiveServer(app)
    live.thread.start()
    try:
        live.wait_until(lambda: live.server.started and app.state.lifecycle.loaded)
        yield live
    finally:
        with closing(live.socket):
            live.server.should_exit = True
            live.thread.join(20)
            live.server.ended()
            assert not live.thread.is_alive(), "the server does not end"
