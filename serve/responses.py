"""The two shapes every answer has: a JSON error, and a stream of server-sent events."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from pydantic import BaseModel
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from serve import logs
from serve.errors import DistilsqlError

log = logging.getLogger(__name__)


class ErrorBody(BaseModel):
    """What was wrong, and where: `param` is the dotted field of the request, where it is one field."""

    type: str
    message: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


def error_body(kind: str, message: str, param: str | None = None) -> dict[str, object]:
    """The error as JSON data. Lone surrogates, which a request may hold, become `?`."""
    clean = [None if text is None else text.encode("utf-8", "replace").decode() for text in (message, param)]
    return {"error": {"type": kind, "message": clean[0], "param": clean[1]}}


def error_response(error: DistilsqlError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer for an error, with `Retry-After` (whole seconds) where trying again can help."""
    extra = dict(headers or {})
    if error.status in (429, 503):
        extra["Retry-After"] = str(max(1, math.ceil(error.retry_after or 1)))
    if error.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(error.type, error.message, error.param), error.status, extra)


def unexpected() -> DistilsqlError:
    """What is said of a failure that nobody foresaw: where to find it, and nothing of it."""
    where = f"the server's log has it under request {logs.request_id.get()}"
    return DistilsqlError(f"something went wrong here; {where}")


def sse(data: str, event: str | None = None) -> bytes:
    """One server-sent event; `data` is one line."""
    return (f"event: {event}\n" if event else "").encode() + f"data: {data}\n\n".encode()


def sse_error(error: DistilsqlError) -> bytes:
    """The event that ends a stream which cannot go on."""
    return sse(json.dumps(error_body(error.type, error.message, error.param)), "error")


class EventStream(Response):
    """Sends events as they come and closes the generator whatever happens.

    The first event is awaited before the status line goes out, so that a refusal (queue full,
    prompt too long) is a real 4xx and not an event in a successful stream.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.events):
            first = await anext(self.events, None)
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if first is not None:
                await send({"type": "http.response.body", "body": first, "more_body": True})
            last = b""
            try:
                async for event in self.events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            except DistilsqlError as error:
                last = sse_error(error)
            except Exception as error:
                log.error("stream failed", exc_info=error)
                last = sse_error(unexpected())
            await send({"type": "http.response.body", "body": last, "more_body": False})
