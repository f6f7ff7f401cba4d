"""The models in memory: loaded when first asked for, once, and unloaded when another needs the room.

Everything happens on one event loop; loading itself runs in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serve.engines.base import Engine
from serve.errors import NotFound, Unavailable
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.catalog import Catalog

log = logging.getLogger(__name__)

Loader = Callable[[str], Engine]
"""Loads the model of that name ("": the default one). Blocks; raises NotFound or Unavailable."""


@dataclass(slots=True)
class _Loaded:
    engine: Engine
    users: int = 0
    """Leases held: it is not unloaded meanwhile."""
    last_used: float = 0.0

    @property
    def is_idle(self) -> bool:
        status = self.engine.status
        return not (self.users or status.running or status.waiting)


class ModelRegistry:
    """Gives engines by model name."""

    def __init__(self, settings: Settings, loader: Loader | None = None) -> None:
        """Without `loader`, models come from the catalog and only installed ones are loaded."""
        self._settings = settings
        self._catalog = None if loader else _CatalogModels(settings)
        self._loader: Loader = loader or self._load_from_catalog
        self._engines: dict[str, _Loaded] = {}
        self._default = settings.model
        """The default model's name; "" until it is known."""
        self._loading: dict[str, asyncio.Task[_Loaded]] = {}
        self._one_load = asyncio.Lock()
        self._closed = False

    def _load_from_catalog(self, name: str) -> Engine:
        assert self._catalog is not None, "this loader is only used with a catalog"
        return self._catalog.load(name)

    @property
    def default_name(self) -> str:
        """The default model's name; "" until it has been chosen (on first use)."""
        return self._default

    def loaded(self) -> dict[str, Engine]:
        """The engines in memory, by model name."""
        return {name: loaded.engine for name, loaded in self._engines.items()}

    def names(self) -> list[str]:
        """Every model that can be asked for: installed ones, and those in memory."""
        installed = self._catalog.installed_names() if self._catalog else []
        return sorted({*installed, *self._engines})

    async def get(self, name: str | None = None) -> Engine:
        """The engine of `name` (None or "": the default model), loaded if need be.

        Raises NotFound (no such model here), Unavailable (shutting down; cannot be loaded; no room).
        """
        return (await self._get(name)).engine

    @asynccontextmanager
    async def lease(self, name: str | None = None) -> AsyncIterator[Engine]:
        """As `get`; for the length of the block the model is not unloaded."""
        loaded = await self._get(name)
        loaded.users += 1
        try:
            yield loaded.engine
        finally:
            loaded.users -= 1
            loaded.last_used = time.monotonic()

    async def _get(self, name: str | None) -> _Loaded:
        wanted = name or self._default
        if self._closed:
            raise Unavailable("the server is shutting down; try again in a moment", retry_after=5)
        if loaded := self._engines.get(wanted):
            loaded.last_used = time.monotonic()
            return loaded
        task = self._loading.get(wanted)
        if task is None:
            task = asyncio.create_task(self._load(wanted), name=f"load {wanted or 'default model'}")
            task.add_done_callback(lambda _: self._loading.pop(wanted, None))
            self._loading[wanted] = task
        # Several may wait for this load: one who gives up must not take it from the others.
        await asyncio.wait({task})
        return task.result()

    async def _load(self, wanted: str) -> _Loaded:
        async with self._one_load:
            if wanted in self._engines:
                return self._engines[wanted]
            await self._make_room()
            started = time.monotonic()
            engine = await asyncio.to_thread(self._loader, wanted)
            if self._closed:
                await engine.close()
                raise Unavailable("the server is shutting down; try again in a moment", retry_after=5)
            name = engine.info.name
            if not wanted or wanted == self._default:
                self._default = name
            if name in self._engines:  # The default model, asked for by its name before.
                await engine.close()
                return self._engines[name]
            seconds = round(time.monotonic() - started, 2)
            log.info("model loaded", extra={"model": name, "seconds": seconds})
            loaded = self._engines[name] = _Loaded(engine, last_used=time.monotonic())
            return loaded

    async def _make_room(self) -> None:
        """Unload idle models until one more fits, those unused for longest first."""
        limit = self._settings.max_loaded_models
        while len(self._engines) >= limit:
            idle = [name for name, loaded in self._engines.items() if loaded.is_idle]
            # The default model goes last: most requests are for it.
            idle.sort(key=lambda name: (name == self._default, self._engines[name].last_used))
            if not idle:
                raise Unavailable(
                    f"all {limit} models in memory are in use; try again, or raise max_loaded_models",
                    retry_after=5,
                )
            unloaded = self._engines.pop(idle[0])
            await unloaded.engine.close()
            log.info("model unloaded", extra={"model": idle[0]})

    async def close(self) -> None:
        """Unload everything. Idempotent; loads under way are waited for and dropped."""
        self._closed = True
        if self._loading:
            await asyncio.wait(set(self._loading.values()))
        while self._engines:
            _, loaded = self._engines.popitem()
            await loaded.engine.close()


class _CatalogModels:
    """Loads installed models of the catalog."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _catalog(self) -> Catalog:
        # Read at each use: a model pulled while the server runs can be asked for.
        from serve.catalog import Catalog

        return Catalog.load(self._settings)

    def installed_names(self) -> list[str]:
        catalog = self._catalog()
        return [entry.name for entry in catalog.entries() if catalog.installed(entry)]

    def load(self, name: str) -> Engine:
        from serve import engines
        from serve.hardware import default_model

        catalog = self._catalog()
        entry = catalog.get(name) if name else default_model(catalog, self._settings)[0]
        if not catalog.installed(entry):
            raise NotFound(
                f"the model {entry.name} is not installed; run `distilsql models pull {entry.name}`",
                param="model",
            )
        if entry.recorded:
            log.warning(
                "unverified model: its hash is the one its first pull gave, not its publisher's",
                extra={"model": entry.name, "sha256": entry.sha256},
            )
        return engines.load(entry, catalog.path(entry), self._settings)
