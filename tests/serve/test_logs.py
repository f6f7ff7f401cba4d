"""Log lines are JSON, carry the request id, and hold nothing a user typed."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from serve import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure_logging("info", stream)
    yield stream
    root.handlers[:], root.level = before


def test_a_line_is_one_json_object(lines: io.StringIO) -> None:
    logs.request_id.set("r-1")
    logging.getLogger("serve.x").info("model loaded", extra={"model": "small"})
    logging.getLogger("serve.x").debug("not this one")
    (line,) = lines.getvalue().splitlines()
    got = json.loads(line)
    assert (got["message"], got["level"], got["logger"]) == ("model loaded", "INFO", "serve.x")
    assert (got["request_id"], got["model"]) == ("r-1", "small")
    assert "T" in got["time"]


def test_a_traceback_keeps_the_place_and_drops_the_words(lines: io.StringIO) -> None:
    def parse(sql: str) -> None:
        raise ValueError(f"cannot parse {sql}")

    try:
        try:
            parse("SELECT secret")
        except ValueError as error:
            raise RuntimeError("in SELECT secret") from error
    except RuntimeError as error:
        logging.getLogger("serve.x").error("request failed", exc_info=error)
    assert "secret" not in lines.getvalue()
    where = json.loads(lines.getvalue())["exc_info"]
    assert "RuntimeError" in where
    assert "ValueError" in where
    assert "test_logs.py" in where
    assert " parse" in where


def test_libraries_that_quote_statements_are_silent(lines: io.StringIO) -> None:
    logging.getLogger("sqlglot").error("unsupported: SELECT secret")
    logging.getLogger("uvicorn.access").info("GET /?q=secret")
    assert lines.getvalue() == ""
