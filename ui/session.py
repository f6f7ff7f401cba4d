"""What the page asks for besides the API: its scripts, and one look at what there is to choose from."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from serve.catalog import Catalog
from serve.registry import ModelRegistry
from serve.settings import Settings
from sql_assistant import dialects
from sql_assistant.services import services_of
from ui import sample

STATIC = Path(__file__).parent / "static"
router = APIRouter(prefix="/ui", include_in_schema=False)


class Named(BaseModel):
    """A dialect and what people call it."""

    name: str
    label: str


class Model(BaseModel):
    """A model that can be asked for."""

    name: str
    parameters: str
    is_default: bool


class Session(BaseModel):
    """What the editor offers."""

    dialects: list[Named]
    models: list[Model]
    examples: list[sample.Example]
    sample_schema: str | None
    """Its id, while it is registered."""
    urls_allowed: bool
    """Settings allow schemas to be read from some database."""


@router.get("/session")
async def session(request: Request) -> Session:
    """Everything the editor's menus hold."""
    settings: Settings = request.app.state.settings
    registry: ModelRegistry = request.app.state.registry
    stored = await asyncio.to_thread(services_of(request).schemas.list)
    return Session(
        dialects=[Named(name=one.name, label=one.label) for one in dialects.DIALECTS.values()],
        models=await asyncio.to_thread(_models, settings, registry),
        examples=list(sample.examples()),
        sample_schema=next((one.id for one in stored if one.name == sample.NAME), None),
        urls_allowed=bool(settings.schema_database_urls),
    )


def _models(settings: Settings, registry: ModelRegistry) -> list[Model]:
    """The default one first."""
    sizes = {entry.name: entry.parameters for entry in Catalog.load(settings).entries()}
    found = [
        Model(name=name, parameters=sizes.get(name, ""), is_default=name == registry.default_name)
        for name in registry.names()
    ]
    return sorted(found, key=lambda model: (not model.is_default, model.name))


class _Revalidated(StaticFiles):
    """Browsers keep the files and ask each time whether they are still the same: an update shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add(app: FastAPI) -> None:
    """Add the page's routes, /ui/session and /ui/static."""
    app.include_router(router)
    app.mount("/ui/static", _Revalidated(directory=STATIC), name="static")
