"""Structured logs: one JSON object a line, each with its request id. The one place that sets up logging.

A log line never holds a user's SQL or prompt. Exception texts do quote them (a parser's message
shows the statement), so a traceback is written as the exception's type and its frames alone, and
libraries that log statements are silenced.
"""

from __future__ import annotations

import logging
import sys
import traceback
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

from pythonjsonlogger.json import JsonFormatter

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request being worked on, also in the response's `X-Request-Id`."""

_QUOTING_LIBRARIES = ("sqlglot", "sqlalchemy", "openai", "httpx", "httpcore")
_Exception = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Formatter(JsonFormatter):
    """Exceptions as type and frames, without the message."""

    def formatException(self, ei: _Exception) -> str:
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            lines.append(type(error).__qualname__)
            lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(lines)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True


def configure_logging(level: str = "info", stream: TextIO | None = None) -> None:
    """Log to `stream` (standard error) from `level` up. Calling again replaces the set-up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(
        _Formatter(
            "{asctime}{levelname}{name}{message}{request_id}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in _QUOTING_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        uvicorn_logger: Any = logging.getLogger(name)
        uvicorn_logger.handlers[:] = []
        uvicorn_logger.propagate = True
    # Our own line per request replaces the access log, which writes query strings.
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, root.level))
