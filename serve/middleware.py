"""What happens around every request: an id, one log line, limits on size and time, cancellation.

Plain ASGI, because answers are streamed. Two layers:

- `RequestLog`, outermost: the request id, the log line, the metrics, and the last resort for errors.
- `RequestLimits`, around the routes: refuses while draining, refuses bodies that are too large or not
  text, and runs the rest as a task that ends when the client goes away, when the time is up or when
  a shutdown reaches its deadline.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import logs
from serve.errors import InvalidRequest, TooLarge, Unavailable
from serve.lifecycle import Lifecycle
from serve.metrics import Metrics
from serve.responses import error_response, sse_error, unexpected
from serve.settings import Settings

log = logging.getLogger(__name__)

CLIENT_CLOSED = 499
"""Logged for a client that went away before its answer; never sent."""
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ODD_ESCAPE = re.compile(rb"\\u(0000|[dD][89a-fA-F])")
_ODD_CHARACTER = re.compile("[\0\ud800-\udfff]")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_LINGER_S = 2.0
_LINGER_BYTES = 16 * 1024 * 1024


def route_of(scope: Scope) -> str:
    """The route's template, so that ids in paths make neither log keys nor metric labels."""
    path = getattr(scope.get("route"), "path", None)
    if isinstance(path, str) and path:
        return path
    return "(unknown)" if scope["path"].startswith("/v1/") else "(page)"


class RequestLog:
    """Gives each request an id, logs one line for it and counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        logs.request_id.set(request_id)
        state = scope.setdefault("state", {})
        status = CLIENT_CLOSED
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(raw=message["headers"])["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:
            log.error("request failed", exc_info=error)
            if status != CLIENT_CLOSED:
                # The answer is under way: closing the connection is the only sign left to give.
                raise RuntimeError(f"the answer to request {request_id} broke off") from None
            await error_response(unexpected())(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route, outcome = route_of(scope), state.get("outcome", "done")
            self.metrics.request_ended(scope["method"], route, status, seconds)
            fields = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "outcome": outcome,
                **({"error": state["error"]} if "error" in state else {}),
            }
            log.log(logging.DEBUG if route in _PROBES else logging.INFO, "request", extra=fields)


class _Disconnected(Exception):
    """The client went away while its body was being read."""


class RequestLimits:
    """Bounds what one request can take, and ends its work when nobody waits for it any more."""

    def __init__(
        self, app: ASGIApp, settings: Settings, lifecycle: Lifecycle, upload_limits: Mapping[str, int]
    ) -> None:
        """`upload_limits`: bytes allowed on routes that read their body as a stream, by path."""
        self.app = app
        self.settings = settings
        self.lifecycle = lifecycle
        self.upload_limits = upload_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        is_api = path.startswith("/v1/")
        limit = self.upload_limits.get(path, self.settings.max_body_bytes)
        sender = _Sender(send)
        try:
            if self.lifecycle.draining:
                raise Unavailable("the server is shutting down; try again in a moment", retry_after=5)
            if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]:
                raise InvalidRequest("the URL holds a NUL character")
            _check_content_length(scope, limit)
            if not is_api:
                await self._run_page(scope, _counted(receive, limit), sender)
                return
            timeout_at = asyncio.get_running_loop().time() + self.settings.request_timeout_s
            if path in self.upload_limits:
                await self._run(scope, _counted(receive, limit), None, sender, timeout_at)
                return
            try:
                async with asyncio.timeout_at(timeout_at):
                    body = await _read(receive, limit)
            except TimeoutError:
                raise Unavailable("the request's body did not arrive in time", retry_after=1) from None
            _check_json(scope, body)
            await self._run(scope, _replay(body), receive, sender, timeout_at)
        except _Disconnected:
            scope["state"]["outcome"] = "client_closed"
        except (Unavailable, InvalidRequest, TooLarge) as error:
            if sender.started:
                raise
            close = {"Connection": "close"} if isinstance(error, TooLarge) else {}
            refused = sender if not isinstance(error, TooLarge) else _lingering(receive, sender)
            await error_response(error, close)(scope, receive, refused)

    async def _run(
        self, scope: Scope, body: Receive, receive: Receive | None, sender: _Sender, timeout_at: float
    ) -> None:
        """Run the routes; `receive`, where given, is watched for the client going away."""
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(_as_coroutine(self.app, scope, body, sender))
        gone = asyncio.create_task(_until_disconnect(receive)) if receive else None
        outcome = "done"
        try:
            with self.lifecycle.request(work):
                waited = {work, gone} if gone else {work}
                timeout = max(0.0, timeout_at - loop.time())
                await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    outcome = "client_closed" if gone and gone.done() else "timeout"
                    scope["state"]["outcome"] = outcome  # Said first: the work may record why it ended.
                    work.cancel()
                    await asyncio.wait({work})
        finally:
            work.cancel()
            if gone:
                gone.cancel()
        if work.cancelled():
            outcome = "drained" if outcome == "done" else outcome
            scope["state"]["outcome"] = outcome
            if outcome != "client_closed":
                await self._cut_off(outcome, scope, body, sender)
        elif error := work.exception():
            if isinstance(error, _Disconnected) or outcome == "client_closed":
                scope["state"]["outcome"] = "client_closed"
                return
            raise error

    async def _run_page(self, scope: Scope, receive: Receive, sender: _Sender) -> None:
        """The page's streams live as long as its tab is open: no time limit, and no error at the end."""
        work = asyncio.create_task(_as_coroutine(self.app, scope, receive, sender))
        try:
            with self.lifecycle.page(work):
                await asyncio.wait({work})
        finally:
            work.cancel()
        if not work.cancelled():
            work.result()
        elif sender.is_event_stream and not sender.ended:
            await _send_soon(sender, {"type": "http.response.body", "body": b"", "more_body": False})
        elif not sender.started:
            raise Unavailable("the server is shutting down; try again in a moment", retry_after=5)

    async def _cut_off(self, outcome: str, scope: Scope, receive: Receive, sender: _Sender) -> None:
        if outcome == "timeout":
            seconds = self.settings.request_timeout_s
            error = Unavailable(f"the request took longer than {seconds:g} s", retry_after=5)
        else:
            error = Unavailable("the server is shutting down; try again in a moment", retry_after=5)
        if not sender.started:
            await error_response(error)(scope, receive, sender)
        elif sender.is_event_stream and not sender.ended:
            last: Message = {"type": "http.response.body", "body": sse_error(error), "more_body": False}
            await _send_soon(sender, last)
        elif not sender.ended:
            raise error


class _Sender:
    """`send`, remembering how far the answer has come."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.started = self.ended = self.is_event_stream = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            kind = Headers(raw=message["headers"]).get("content-type", "")
            self.is_event_stream = kind.startswith("text/event-stream")
        elif message["type"] == "http.response.body":
            self.ended = not message.get("more_body", False)
        await self.send(message)


async def _send_soon(send: Send, message: Message) -> None:
    """A client that does not read would hold us here: it has had its time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await send(message)


async def _as_coroutine(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(size: str, limit: int) -> TooLarge:
    return TooLarge(f"the request's body has {size} bytes; at most {limit} are accepted")


def _check_content_length(scope: Scope, limit: int) -> None:
    given = Headers(scope=scope).get("content-length", "")
    if given.isdecimal() and int(given) > limit:
        raise _too_large(given, limit)


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it passes `limit`, however it is sent."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Disconnected
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise _too_large(f"more than {limit}", limit)
    return bytes(body)


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` for routes that read their body themselves."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise _too_large(f"more than {limit}", limit)
        return message

    return counted


def _replay(body: bytes) -> Receive:
    """A `receive` that gives `body` once; the client's going away ends the task instead."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if pending:
            return pending.pop()
        await asyncio.Event().wait()
        raise AssertionError("an event that nobody holds was set")

    return replay


def _lingering(receive: Receive, send: Send) -> Send:
    """Holds back the end of the answer until the client has sent what it is sending (bounded).

    Closing with bytes unread resets the connection, and the client would see that instead of the
    answer.
    """

    async def lingering(message: Message) -> None:
        if message["type"] == "http.response.body":
            await send({**message, "more_body": True})
            unread = _LINGER_BYTES
            with suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    while unread > 0:
                        part = await receive()
                        unread -= len(part.get("body", b""))
                        if not part.get("more_body", False):
                            break
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return lingering


def _check_json(scope: Scope, body: bytes) -> None:
    """Refuse what no JSON route can use: bytes that are not UTF-8, and strings that no text can be."""
    if not body:
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the body is not UTF-8 text (at byte {error.start})") from None
    if b"\0" in body:
        raise InvalidRequest("the body holds a NUL byte")
    if not _ODD_ESCAPE.search(body):
        return
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return  # The route's own parser says what is wrong with it.
    if (where := _find_odd_string(data)) is not None:
        raise InvalidRequest("the text holds a NUL character or half a surrogate pair", param=where or None)


def _find_odd_string(data: Any) -> str | None:
    """Dotted path of a string, or of the object with a key, that holds a NUL or a lone surrogate."""
    pending: list[tuple[str, Any]] = [("", data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str) and _ODD_CHARACTER.search(value):
            return path
        if isinstance(value, dict):
            if any(_ODD_CHARACTER.search(key) for key in value):
                return path
            pending += [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
        elif isinstance(value, list):
            pending += [(f"{path}.{index}".lstrip("."), item) for index, item in enumerate(value)]
    return None
