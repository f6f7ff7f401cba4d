"""Completion with the real 0.5B weights, from typed text to suggestion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serve import engines
from serve.catalog import Catalog
from serve.engines.base import Engine
from serve.hardware import SMALLER
from serve.settings import Settings
from sql_assistant import completion, ddl, prompt, repair, validation
from sql_assistant.types import CompleteRequest, CompleteResponse, RepairRequest
from ui import sample

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]
SCHEMA = ddl.parse_ddl(sample.ddl(), "sqlite")


@pytest.fixture(scope="module")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model_05b: Path, own_settings: Settings) -> AsyncIterator[Engine]:
    entry = Catalog.load(own_settings).get(SMALLER)
    loaded = await asyncio.to_thread(engines.load, entry, model_05b, own_settings)
    await loaded.warm(prompt.schema_prefix(loaded, SCHEMA, own_settings))
    yield loaded
    await loaded.close()


async def _complete(engine: Engine, settings: Settings, marked: str, **fields: object) -> CompleteResponse:
    prefix, _, suffix = marked.partition("|")
    request = CompleteRequest.model_validate({"prefix": prefix, "suffix": suffix, **fields})
    return await completion.complete(request, SCHEMA, engine, settings=settings)


@pytest.mark.parametrize(
    ("marked", "begins"),
    [
        ("SELECT name FROM custom", "ers"),
        ("SELECT c.na|, c.city FROM customers AS c", "me"),
        ("SELECT c.name FROM customers AS c JOIN bikes AS b ON |",
         ("c.customer_id = b.", "b.customer_id = c.")),
        ("SELECT SUM(i.total) FROM invoices AS |", "i"),
        ("-- all mechanics by name\nSELECT name FROM ", "mechanics"),
        ("SELECT brand FROM bikes;\nSELECT amount FROM |;\nSELECT broken FROM FROM", "payments"),
    ],
)  # fmt: skip
async def test_at_the_cursor(
    engine: Engine, own_settings: Settings, marked: str, begins: str | tuple[str, ...]
) -> None:
    answer = await _complete(engine, own_settings, marked)
    text = answer.suggestions[0].text
    assert text.startswith(begins), text
    assert answer.usage.cached_tokens > 0.8 * answer.usage.prompt_tokens


async def test_what_is_called_valid_is_valid(engine: Engine, own_settings: Settings) -> None:
    statement = (
        "SELECT c.city, COUNT(*) AS bikes FROM customers AS c JOIN bikes AS b "
        "ON b.customer_id = c.customer_id WHERE b.kind = 'cargo' GROUP BY c.city ORDER BY bikes DESC"
    )
    suggested = 0
    for at in range(8, len(statement) - 8, 13):
        answer = await _complete(engine, own_settings, f"{statement[:at]}|{statement[at + 7 :]}")
        for one in answer.suggestions:
            whole = statement[:at] + one.text + statement[at + 7 :]
            assert validation.is_valid(validation.validate(whole, SCHEMA, "sqlite")), whole
            suggested += 1
    assert suggested > 3


async def test_nothing_in_a_string(engine: Engine, own_settings: Settings) -> None:
    answer = await _complete(engine, own_settings, "SELECT name FROM customers WHERE city = 'Ber|")
    assert answer.suggestions == []
    assert answer.nothing_because and "string" in answer.nothing_because


async def test_several_suggestions_differ(engine: Engine, own_settings: Settings) -> None:
    answer = await _complete(engine, own_settings, "SELECT ", n=4)
    texts = [one.text for one in answer.suggestions]
    assert len(texts) == len(set(texts)) > 1


async def test_the_model_repairs_what_rules_do_not(engine: Engine, own_settings: Settings) -> None:
    broken = "SELECT name of customers in city Berlin FROM customers"
    answer = await repair.repair(RepairRequest(sql=broken), SCHEMA, engine, settings=own_settings)
    for one in answer.suggestions:
        assert one.valid
        assert validation.is_valid(validation.validate(one.sql, SCHEMA, "sqlite"))
    assert answer.suggestions and answer.suggestions[0].source in ("model", "rule")
