"""The whole product as one application: serve's API, sql_assistant's routes, the page at "/"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from serve import app as serve_app
from serve.registry import ModelRegistry
from serve.settings import Settings
from sql_assistant import api
from ui import page, sample, session


def create_app(settings: Settings, registry: ModelRegistry | None = None) -> FastAPI:
    """The application that `distilsql up` serves; models come from the catalog unless `registry` is given."""
    registry = registry or ModelRegistry(settings)
    app = serve_app.create_app(settings, registry)
    api.attach(app, settings, registry)
    session.add(app)

    @asynccontextmanager
    async def with_sample(_: FastAPI) -> AsyncIterator[None]:
        # Entered before the SQL services are opened, which then warm it with the other schemas.
        await asyncio.to_thread(sample.add_to_empty_store, settings)
        yield

    serve_app.add_lifespan(app, with_sample)
    return page.mount(app)
