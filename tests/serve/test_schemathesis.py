"""The OpenAPI document is true: requests made from it, right and wrong, get the answers it promises.

All of schemathesis' checks are on. What a schema cannot say is said by `_sensible`: that DDL parses,
that a schema comes from one place, that the prompt fits. Requests meant to be wrong stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from http_helpers import LiveServer, serving
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

from serve.app import create_app
from serve.engines.fake import FakeEngine
from serve.registry import ModelRegistry
from serve.settings import Settings
from sql_assistant.api import attach

GENERATION = {"generation": {"allow-x00": False}}
DDL = "CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT)"


def _database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute(DDL)
    return connection.serialize()


DATABASE = _database()


def _app(home: Path) -> Any:
    configured = Settings(home=home)
    registry = ModelRegistry(configured, loader=lambda name: FakeEngine(lambda prompt: "id"))
    app = create_app(configured, registry)
    attach(app, configured, registry)
    return app


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(_app(tmp_path_factory.mktemp("home"))) as server:
        yield server


schema = schemathesis.openapi.from_dict(
    _app(Path("unused")).openapi(), config=SchemathesisConfig.from_dict(GENERATION)
)


def _sensible(case: schemathesis.Case) -> None:
    """Give a request that the schema allows the sense that a schema cannot ask for."""
    body, query = case.body, case.query or {}
    for name, moment in (("since", "2026-01-01"), ("until", "2026-11-03T10:00:00Z")):
        if query.get(name) is not None:
            query[name] = moment
    if case.path == "/v1/sql/schemas/upload":
        case.body = DATABASE
    if not isinstance(body, dict):
        return
    if body.get("ddl") is not None:
        body["ddl"] = DDL
        body.pop("schema_id", None)
        body.pop("url", None)
    if case.path == "/v1/sql/schemas":
        body.pop("url", None)
        body |= {"ddl": DDL, "name": "library"}
    for name in ("max_tokens", "max_completion_tokens"):
        if body.get(name):
            body[name] = min(body[name], 100)
    if body.get("logprobs") is not None or body.get("suffix") is not None:
        body.pop("echo", None)
    if not body.get("logprobs"):
        body.pop("top_logprobs", None)
    if isinstance(body.get("prompt"), list):
        body["prompt"] = [_in_vocabulary(item) for item in body["prompt"][:4]]
    if "messages" in body:
        body["messages"] = body["messages"][:4]
    for message in body.get("messages", ()):
        message["content"] = message.get("content") or "hello"


def _in_vocabulary(item: Any) -> Any:
    if isinstance(item, list):
        return [_in_vocabulary(token) for token in item]
    return item if isinstance(item, str) else int(item) % 300


# The server runs in this process, and checking a statement raises the interpreter's limit.
@pytest.mark.filterwarnings("ignore:The recursion limit will not be reset")
@schema.parametrize()
@settings(
    max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_the_document_is_true(case: schemathesis.Case, live: LiveServer) -> None:
    if case.meta is None or case.meta.generation.mode.is_positive:
        _sensible(case)
    case.call_and_validate(base_url=live.url)
