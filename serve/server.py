"""Runs an application under uvicorn, so that a shutdown loses nothing.

uvicorn closes its sockets on the first signal and runs the application's own shutdown last, so
nothing could answer "not ready" meanwhile. Here the first signal starts draining with the sockets
still open; only when the running requests have finished (or the deadline has passed) uvicorn stops.
A second signal ends them at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from serve.errors import DistilsqlError
from serve.lifecycle import Lifecycle
from serve.logs import configure_logging
from serve.settings import Settings

log = logging.getLogger(__name__)

_CLOSE_CONNECTIONS_S = 2
"""For streams that are no requests (an open page): they have nothing to finish."""
_GIVE_UP_S = 3.0
"""After the second signal."""


class _Server(uvicorn.Server):
    """Drains before it stops."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, settings: Settings) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._settings = settings
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stuck: threading.Timer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal handler: may run between any two lines, so the work is left to the loop."""
        if self._loop is None:
            raise SystemExit(128 + sig)
        self._loop.call_soon_threadsafe(self._stop, sig)

    def _stop(self, sig: int) -> None:
        if self._stuck:
            return
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
            return
        log.warning("second signal: stopping at once")
        self._lifecycle.cancel_requests()
        self.should_exit = True
        # A model being loaded cannot be interrupted, and Python waits for its thread.
        self._stuck = threading.Timer(_GIVE_UP_S, os._exit, args=(128 + sig,))
        self._stuck.daemon = True
        self._stuck.start()

    def ended(self) -> None:
        """The loop is closed: nothing is stuck."""
        if self._stuck:
            self._stuck.cancel()

    async def _drain(self) -> None:
        await self._lifecycle.drain(self._settings.drain_timeout_s)
        self.should_exit = True


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises DistilsqlError that says what to do when there is none to have."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise DistilsqlError(f"cannot listen on {host}: {error.strerror or error}", param="host") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # Listening now tells that another program has the port before a model is loaded.
        sock.listen(2048)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise DistilsqlError(
                f"port {port} on {host} is in use; stop the other program or choose another: "
                f"--port {port + 1 if port < 65535 else 8000}",
                param="port",
            ) from None
        raise DistilsqlError(f"cannot listen on {host}:{port}: {error.strerror}", param="port") from None
    sock.setblocking(False)
    return sock


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown and not shown.startswith('[') else shown}:{port}/"


def run(app: FastAPI, settings: Settings, announce: Callable[[str], None] = print) -> int:
    """Serve `app` until a signal ends it; returns the exit code.

    `announce` is given the address once the model answers, or why it does not.
    """
    configure_logging(settings.log_level)
    try:
        sock = _bind(settings.host, settings.port)
    except DistilsqlError as error:
        print(f"distilsql: {error.message}", file=sys.stderr)  # noqa: T201
        return 1
    lifecycle: Lifecycle = app.state.lifecycle
    url = _url(settings.host, sock.getsockname()[1])
    lifecycle.when_loaded(
        lambda problem: announce(
            f"distilsql is ready at {url}" if problem is None else f"distilsql is at {url}, but: {problem}"
        )
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_CONNECTIONS_S,
    )
    server = _Server(config, lifecycle, settings)
    try:
        server.run(sockets=[sock])
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    finally:
        server.ended()
        sock.close()
    return 0 if server.started else 1
