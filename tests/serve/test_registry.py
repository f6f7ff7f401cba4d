"""Models are loaded once, when first asked for, and unloaded only when nobody uses them."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from serve.engines.base import GenerateRequest
from serve.engines.fake import FakeEngine, Reply
from serve.errors import NotFound, Unavailable
from serve.registry import ModelRegistry
from serve.settings import Settings


class Loader:
    """Makes an engine a name, remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.engines: dict[str, FakeEngine] = {}
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, name: str) -> FakeEngine:
        self.asked.append(name)
        self.gate.wait(10)
        if name == "absent":
            raise NotFound("the model absent is not installed; run `distilsql models pull absent`")
        engine = FakeEngine(lambda prompt: Reply("id " * 500, token_delay_s=0.01), name=name or "small")
        self.engines[engine.info.name] = engine
        return engine


async def test_asking_at_once_loads_once(settings: Settings) -> None:
    loader = Loader()
    loader.gate.clear()
    registry = ModelRegistry(settings, loader)
    waiting = [asyncio.create_task(registry.get(name)) for name in (None, "", None)]
    given_up = asyncio.create_task(registry.get(None))
    await asyncio.sleep(0.01)
    given_up.cancel()
    await asyncio.sleep(0)
    loader.gate.set()
    engines = await asyncio.gather(*waiting)
    assert loader.asked == [""]
    assert len(set(map(id, engines))) == 1
    assert registry.default_name == "small"
    assert await registry.get("small") is engines[0]
    assert registry.names() == ["small"]


async def test_a_failed_load_is_tried_again(settings: Settings) -> None:
    loader = Loader()
    registry = ModelRegistry(settings, loader)
    for _ in range(2):
        with pytest.raises(NotFound, match="distilsql models pull absent"):
            await registry.get("absent")
    assert loader.asked == ["absent", "absent"]
    assert registry.loaded() == {}


async def test_the_one_unused_for_longest_makes_room(settings: Settings) -> None:
    loader = Loader()
    registry = ModelRegistry(settings, loader)
    for name in (None, "b", "c"):
        await registry.get(name)
    assert list(registry.loaded()) == ["small", "c"], "the default model stays"
    with pytest.raises(Unavailable):
        await loader.engines["b"].generate(GenerateRequest(prompt=[1], max_tokens=1))


async def test_models_in_use_stay(settings: Settings) -> None:
    loader = Loader()
    registry = ModelRegistry(settings, loader)
    engine = await registry.get("a")
    generation = await engine.generate(GenerateRequest(prompt=[1], max_tokens=100))
    async with registry.lease("b"):
        with pytest.raises(Unavailable, match="max_loaded_models") as full:
            await registry.get("c")
        assert full.value.retry_after
    await registry.get("c")
    assert list(registry.loaded()) == ["a", "c"]
    generation.cancel()


async def test_after_close_there_is_nothing(settings: Settings) -> None:
    loader = Loader()
    registry = ModelRegistry(settings, loader)
    await registry.get("a")
    loader.gate.clear()
    late = asyncio.create_task(registry.get("b"))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(registry.close())
    await asyncio.sleep(0.01)
    loader.gate.set()
    await closing
    with pytest.raises(Unavailable):
        await late
    with pytest.raises(Unavailable):
        await registry.get("a")
    assert registry.loaded() == {}
    for engine in loader.engines.values():
        with pytest.raises(Unavailable):
            await engine.generate(GenerateRequest(prompt=[1], max_tokens=1))


async def test_a_model_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    registry = ModelRegistry(Settings(home=tmp_path, model="qwen2.5-coder-0.5b"))
    assert registry.names() == []
    with pytest.raises(NotFound, match=r"distilsql models pull qwen2\.5-coder-0\.5b"):
        await registry.get(None)
    with pytest.raises(NotFound, match=r"qwen2\.5-coder-1\.5b"):
        await registry.get("gpt-9")
