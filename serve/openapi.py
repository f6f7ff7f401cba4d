"""What the OpenAPI document says of errors: every one has the same body."""

from __future__ import annotations

from typing import Any

from serve.responses import ErrorResponse

_MEANING = {
    400: "The request cannot be understood as sent.",
    401: "No API key, or one that is not known.",
    403: "Sent by a page of another site.",
    404: "What the request names does not exist here.",
    405: "This method is not possible here.",
    409: "It exists already.",
    413: "The body, the statement or the prompt is over a limit.",
    422: "A field has a wrong type or value, or its content is not usable.",
    429: "Too many requests are waiting; see Retry-After.",
    500: "Something went wrong here; the log has it under the request's id.",
    503: "Starting, shutting down, or out of time; see Retry-After.",
}
_ANY_API_ROUTE = (400, 401, 403, 404, 413, 422, 500, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these statuses."""
    return {status: {"model": ErrorResponse, "description": _MEANING[status]} for status in statuses}


def api_errors(*more: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route under /v1/."""
    return errors(*_ANY_API_ROUTE, *more)


def or_stream(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """`responses`, for a route that can also answer with server-sent events."""
    event = {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
        "required": ["data"],
    }
    stream = {"text/event-stream": {"schema": event}}
    return {**responses, 200: {"description": "The answer, or its parts as they come.", "content": stream}}
