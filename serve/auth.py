"""Who may come in: the Host and Origin of a request, API keys, and a signed cookie for browsers.

With keys configured, every route but the probes and the login form wants `Authorization: Bearer KEY`.
A browser that asks for a page gets a small form instead, which trades the key for a cookie that
holds an expiry and its HMAC; nothing is kept on the server. Removing a key ends its cookies.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import secrets
import time
from html import escape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import DistilsqlError, Forbidden, InvalidRequest, Unauthorized
from serve.responses import error_response
from serve.settings import Settings

log = logging.getLogger(__name__)

COOKIE = "distilsql_session"
COOKIE_SECONDS = 7 * 24 * 3600
_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})
_PROBES = frozenset({"/healthz", "/readyz"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_WILDCARD_HOSTS = frozenset({"0.0.0.0", "::", ""})


class Keys:
    """Checks API keys and the cookies made from them."""

    def __init__(self, keys: tuple[str, ...], secret: bytes) -> None:
        """`secret` signs cookies; it must be the same after a restart for them to go on working."""
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._secret = secret

    @property
    def required(self) -> bool:
        return bool(self._digests)

    def index(self, given: str) -> int | None:
        """Which key `given` is. Every key is compared, in constant time, whatever the outcome."""
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        found = None
        for index, known in enumerate(self._digests):
            if hmac.compare_digest(digest, known):
                found = index
        return found

    def cookie(self, index: int) -> str:
        """A cookie's value for the key at `index`."""
        expires = str(int(time.time()) + COOKIE_SECONDS)
        return f"{expires}.{self._signature(self._digests[index], expires)}"

    def cookie_is_good(self, value: str) -> bool:
        """Whether one of the keys signed it and it has not expired."""
        expires, _, signature = value.partition(".")
        good = False
        for digest in self._digests:
            expected = self._signature(digest, expires).encode()
            good |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
        return good and expires.isdecimal() and int(expires) > time.time()

    def _signature(self, key_digest: bytes, expires: str) -> str:
        message = key_digest + expires.encode("utf-8", "replace")
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()


def load_secret(path: Path) -> bytes:
    """The secret that signs this installation's cookies, made on first use (mode 0600)."""
    try:
        secret = path.read_bytes()
    except FileNotFoundError:
        secret = b""
    if len(secret) == 32:
        return secret
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = secrets.token_bytes(32)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    return secret


class Guard:
    """ASGI middleware: lets a request through, or answers it with 400, 401 or 403."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys) -> None:
        self.app = app
        self.settings = settings
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            self._check(scope)
        except DistilsqlError as error:
            log.info("refused", extra={"reason": error.type, "param": error.param})
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._refusal(error, scope)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path, headers = scope["path"], Headers(scope=scope)
        if path in _PROBES:
            return
        self._check_host(headers.get("host", ""))
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.keys.required:
            if self.keys.index(given.strip()) is None:
                raise Unauthorized("this API key is not known here")
            return
        changes_something = scope["type"] == "websocket" or scope["method"] not in _READING
        if changes_something and not self._is_same_origin(headers):
            raise Forbidden(
                "requests from another site's page are refused; add its origin to cors_origins to allow them",
                param="Origin",
            )
        if not self.keys.required or path in _OPEN_PATHS:
            return
        cookie = Request(scope).cookies.get(COOKIE) if scope["type"] == "http" else _cookie(headers)
        if not cookie:
            raise Unauthorized("an API key is needed: send it as 'Authorization: Bearer KEY'")
        if not self.keys.cookie_is_good(cookie):
            raise Unauthorized("this session has ended; log in again")
        if changes_something and "origin" not in headers and "sec-fetch-site" not in headers:
            # Browsers always say where a request comes from; what does not must send the key itself.
            raise Unauthorized("a cookie is only accepted from a browser; send the key as a Bearer token")

    def _check_host(self, host: str) -> None:
        """A web page may point its own name at this address (DNS rebinding); a key would stop it too."""
        allowed = self.settings.allowed_hosts
        if "*" in allowed or (self.keys.required and not allowed):
            return
        name = _host_name(host)
        if not allowed and name == self.settings.host.lower() and name not in _WILDCARD_HOSTS:
            return
        if _is_loopback(name) or name in {_host_name(entry) for entry in allowed}:
            return
        raise InvalidRequest(
            "this server does not go by the name in the Host header; add the name to allowed_hosts "
            "(DISTILSQL_ALLOWED_HOSTS)",
            param="Host",
        )

    def _is_same_origin(self, headers: Headers) -> bool:
        """What a browser says of where the request comes from; other clients say nothing."""
        origin = headers.get("origin")
        if origin is not None and origin in self.settings.cors_origins:
            return True
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()

    def _refusal(self, error: DistilsqlError, scope: Scope) -> Response:
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        if isinstance(error, Unauthorized) and wants_page and scope["method"] == "GET":
            target = scope["path"] + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
            return login_form(target, status=401)
        return error_response(error)


def _cookie(headers: Headers) -> str | None:
    from starlette.requests import cookie_parser

    return cookie_parser(headers.get("cookie", "")).get(COOKIE)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


_FORM = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>distilsql: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;
min-height:100vh;margin:0}}form{{display:grid;gap:.75rem;width:min(22rem,90vw)}}input,button{{font:inherit;
padding:.5rem}}[role=alert]{{color:#c62828;margin:0}}</style></head><body>
<form method="post" action="/login"><h1>distilsql</h1>{message}
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<input type="hidden" name="next" value="{target}"><button>Log in</button></form></body></html>"""


def login_form(target: str, *, status: int = 200, message: str = "") -> HTMLResponse:
    """The page that asks for a key and goes on to `target`. Needs no script and loads nothing."""
    alert = f'<p role="alert">{escape(message)}</p>' if message else ""
    page = _FORM.format(message=alert, target=escape(_local(target), quote=True))
    policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return HTMLResponse(page, status, headers)


def _local(target: str) -> str:
    """`target` if it is a path on this server, else the front page."""
    on_this_server = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if on_this_server and target.isprintable() else "/"


async def login(request: Request, keys: Keys) -> Response:
    """GET shows the form; POST checks the key and sets the cookie."""
    if request.method != "POST":
        return login_form("/")
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    target = _local(fields.get("next", ["/"])[0])
    index = keys.index(fields.get("key", [""])[0].strip())
    if index is None:
        return login_form(target, status=401, message="This key is not known here.")
    response = RedirectResponse(target, 303)
    response.set_cookie(
        COOKIE,
        keys.cookie(index),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response
