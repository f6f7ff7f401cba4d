"""The web application: errors in one shape, probes, metrics, middleware, start and end.

`sql_assistant.api.attach` adds the SQL routes and `ui.app` the page; this module knows neither.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from serve import auth, openai_api
from serve.errors import (
    Conflict,
    DistilsqlError,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unavailable,
    Unprocessable,
)
from serve.lifecycle import Lifecycle
from serve.metrics import CONTENT_TYPE, Metrics
from serve.middleware import RequestLimits, RequestLog
from serve.openapi import errors
from serve.registry import ModelRegistry
from serve.responses import error_body, error_response
from serve.settings import Settings

log = logging.getLogger(__name__)

_BY_STATUS = {
    error.status: error
    for error in (InvalidRequest, NotFound, Conflict, TooLarge, Unprocessable, Unavailable)
}
_OPENAI_PATHS = ("/v1/completions", "/v1/chat/completions")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def create_app(settings: Settings, registry: ModelRegistry) -> FastAPI:
    """The application with the OpenAI-compatible routes; it owns `registry` and closes it.

    `app.state` holds `settings`, `registry`, `lifecycle`, `metrics` and `upload_limits` (bytes by path,
    for routes that read their body as a stream).
    """
    lifecycle = Lifecycle()
    metrics = Metrics(registry.loaded)
    upload_limits: dict[str, int] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        lifecycle.spawn(_load_default_model(registry, lifecycle), name="load the default model")
        try:
            yield
        finally:
            await lifecycle.drain(settings.drain_timeout_s)
            await registry.close()

    app = FastAPI(
        title="distilsql",
        summary="SQL completion on small language models, with an OpenAI-compatible API.",
        version="1",
        lifespan=lifespan,
        # The interactive pages load their scripts from another host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Spans and exception events could hold a user's SQL.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.registry = registry
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.upload_limits = upload_limits
    app.openapi = lambda: _openapi(app, secured=bool(settings.api_keys))  # type: ignore[method-assign]

    _handle_errors(app)
    _add_probes(app, lifecycle, registry, metrics)
    app.include_router(openai_api.router)
    secret = auth.load_secret(settings.state_dir / "cookie.secret") if settings.api_keys else b""
    keys = auth.Keys(settings.api_keys, secret)
    if keys.required:

        @app.api_route("/login", methods=["GET", "POST"], include_in_schema=False)
        async def login(request: Request) -> Response:
            return await auth.login(request, keys)

    app.router.routes.append(_UnknownApiPath(app))
    # The one added last is outermost.
    app.add_middleware(RequestLimits, settings, lifecycle, upload_limits)
    app.add_middleware(auth.Guard, settings, keys)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(RequestLog, metrics)
    return app


def add_lifespan(app: FastAPI, factory: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> None:
    """Enter `factory(app)` before what is there already and leave it after: what it holds (an event
    log, say) is open for as long as any request runs."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[Any]:
        async with factory(app), inner(app) as state:
            yield state

    app.router.lifespan_context = both


async def _load_default_model(registry: ModelRegistry, lifecycle: Lifecycle) -> None:
    try:
        await registry.get(None)
    except DistilsqlError as error:
        log.error("the default model cannot be loaded", extra={"reason": error.message})
        lifecycle.loading_ended(error.message)
    else:
        lifecycle.loading_ended(None)


def _add_probes(app: FastAPI, lifecycle: Lifecycle, registry: ModelRegistry, metrics: Metrics) -> None:
    @app.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """Alive: the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operations"], responses=errors(503))
    async def readyz() -> dict[str, str]:
        """Ready: the model is loaded and the server is not shutting down."""
        if not lifecycle.loaded and registry.default_name in registry.loaded():
            lifecycle.loading_ended(None)  # It could be loaded after all, by a later request.
        if not lifecycle.ready:
            raise Unavailable(lifecycle.not_ready_because, retry_after=2)
        return {"status": "ready", "model": registry.default_name}

    @app.get("/metrics", tags=["operations"], responses=errors(400, 401), response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(DistilsqlError)
    async def known(request: Request, error: DistilsqlError) -> JSONResponse:
        request.scope["state"]["error"] = error.type
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_validation_error(request, error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return _http_error(request, error)


def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    """The framework's own refusals, in our shape."""
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path}"
    elif error.status_code == 405:
        message = f"{request.method} is not possible at {request.url.path}"
    elif error.status_code == 400:
        message = "the body is not JSON, or is nested too deeply"
    else:
        message = str(error.detail)
    kind = _BY_STATUS.get(error.status_code, InvalidRequest).type
    return JSONResponse(error_body(kind, message), error.status_code, error.headers)


def _validation_error(request: Request, error: RequestValidationError) -> DistilsqlError:
    """The first finding, with the dotted field it is about; never the value, which may be SQL."""
    body = error.body
    found = max(error.errors(), key=lambda one: len(_field(one, body)))
    where, *location = found["loc"]
    if found["type"] == "json_invalid":
        reason = f"{found['ctx']['error']} at character {location[0]}"
        return InvalidRequest(f"the body is not valid JSON: {reason}")
    if where == "body" and not location and found["type"] == "missing":
        return InvalidRequest("the body is missing: send JSON")
    if where == "body" and isinstance(error.body, bytes):
        return InvalidRequest("the body must be JSON, sent with 'Content-Type: application/json'")
    param = ".".join(_field(found, body)) or None
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        message = "there is no such parameter here"
    text = f"{param}: {message}" if param else message
    kind = InvalidRequest if request.url.path in _OPENAI_PATHS else Unprocessable
    return kind(text, param=param)


def _field(found: Mapping[str, Any], body: Any) -> list[str]:
    """`messages`, `0`, `role` for a finding, without the parts of its location that name a type."""
    where, *location = found["loc"]
    if where != "body":
        return [str(part) for part in location]
    parts: list[str] = []
    for part in location:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            if not (found["type"] == "missing" and part == location[-1]):
                continue
        parts.append(str(part))
    return parts


def _openapi(app: FastAPI, *, secured: bool) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        if secured:
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
            for probe in ("/healthz", "/readyz"):
                schema["paths"][probe]["get"]["security"] = []
        app.openapi_schema = schema
    return app.openapi_schema


class _UnknownApiPath(BaseRoute):
    """Answers what no route under /v1/ takes, before a page mounted at "/" would: 404, or 405 with
    every method that the path knows in `Allow`."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def _routes(self) -> list[BaseRoute]:
        return [r for r in self._app.router.routes if r is not self and not isinstance(r, Mount)]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return Match.NONE, {}
        known = any(route.matches(scope)[0] is Match.FULL for route in self._routes())
        return (Match.NONE, {}) if known else (Match.FULL, {"route": self})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [
            method
            for method in _METHODS
            if any(r.matches({**scope, "method": method})[0] is Match.FULL for r in self._routes())
        ]
        headers = {"Allow": ", ".join(allowed)} if allowed else None
        error = HTTPException(405 if allowed else 404, headers=headers)
        await _http_error(Request(scope), error)(scope, receive, send)
