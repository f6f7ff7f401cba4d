"""Who may come in: keys, the browser's cookie, the Host and Origin of a request."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from http_helpers import app_with, client_of
from starlette.types import Message

from serve import auth
from serve.engines.fake import FakeEngine
from serve.settings import Settings

HTML = {"Accept": "text/html,*/*;q=0.8"}
BODY = {"prompt": "x"}


@pytest.fixture
def secured(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, api_keys=("first-key", "second-key"))


async def _log_in(client: httpx.AsyncClient, key: str = "second-key") -> httpx.Response:
    origin = {"Origin": "http://localhost"}
    return await client.post("/login", data={"key": key, "next": "/v1/models"}, headers=origin)


async def test_every_key_opens_every_route_and_nothing_else_does(secured: Settings) -> None:
    async with client_of(app_with(FakeEngine(), secured)) as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200
        for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing", "/v1/nothing", "/"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["type"] == "authentication_error"
        for given in ("Bearer wrong", "Bearer ", "Basic first-key", "first-key", "Bearer first-keyx"):
            headers = {"Authorization": given}
            assert (await client.get("/v1/models", headers=headers)).status_code == 401, given
        for key in secured.api_keys:
            headers = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_a_browser_gets_a_form_and_trades_the_key_for_a_cookie(secured: Settings) -> None:
    async with client_of(app_with(FakeEngine(), secured)) as client:
        form = await client.get("/v1/models?a=1", headers=HTML)
        assert form.status_code == 401
        assert 'action="/login"' in form.text
        assert 'value="/v1/models?a=1"' in form.text
        assert "http" not in form.text, "the form loads nothing"
        assert (await client.get("/login", headers=HTML)).status_code == 200

        wrong = await _log_in(client, "nope")
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers

        answer = await _log_in(client)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/v1/models"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "second-key" not in cookie
        assert (await client.get("/v1/models")).status_code == 200


async def test_the_form_leads_nowhere_else(secured: Settings) -> None:
    async with client_of(app_with(FakeEngine(), secured)) as client:
        for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y"):
            answer = await client.post("/login", data={"key": "first-key", "next": target})
            assert answer.headers["location"] == "/"


async def test_a_cookie_may_only_change_things_from_our_own_page(secured: Settings) -> None:
    async with client_of(app_with(FakeEngine(), secured)) as client:
        await _log_in(client)
        for headers, status in [
            ({"Origin": "http://localhost"}, 200),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "http://localhost:9999"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
            ({}, 401),
        ]:
            answer = await client.post("/v1/completions", json=BODY, headers=headers)
            assert answer.status_code == status, headers


async def test_forged_expired_and_revoked_cookies(secured: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = auth.Keys(("first-key", "second-key"), b"s" * 32)
    cookie = keys.cookie(1)
    assert keys.cookie_is_good(cookie)
    expires, _, signature = cookie.partition(".")
    for forged in ("", ".", f"{int(expires) + 1}.{signature}", f"{expires}.", f"{expires}.{'0' * 64}", "é.é"):
        assert not keys.cookie_is_good(forged)
    assert not auth.Keys(("first-key",), b"s" * 32).cookie_is_good(cookie), "its key is gone"
    assert not auth.Keys(("second-key",), b"t" * 32).cookie_is_good(cookie), "another installation"
    monkeypatch.setattr(auth.time, "time", lambda: int(expires) + 1)
    assert not keys.cookie_is_good(cookie)


def test_the_cookie_secret_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "state" / "cookie.secret"
    secret = auth.load_secret(path)
    assert len(secret) == 32
    assert auth.load_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["cookie.secret"]


async def test_without_keys_only_loopback_names_are_answered(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "app.localhost"):
            assert (await client.get("/v1/models", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "10.0.0.5", ""):
            answer = await client.get("/v1/models", headers={"Host": host})
            assert answer.status_code == 400, host
            assert "DISTILSQL_ALLOWED_HOSTS" in answer.json()["error"]["message"]
            assert (await client.get("/readyz", headers={"Host": host})).status_code == 200


async def test_allowed_hosts_are_answered(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, allowed_hosts=("sql.example",))
    async with client_of(app_with(FakeEngine(), settings)) as client:
        for host, status in [("sql.example:80", 200), ("localhost", 200), ("other.example", 400)]:
            assert (await client.get("/v1/models", headers={"Host": host})).status_code == status
    secured = Settings(home=tmp_path, api_keys=("k",), host="0.0.0.0")
    async with client_of(app_with(FakeEngine(), secured), Authorization="Bearer k") as client:
        assert (await client.get("/v1/models", headers={"Host": "any.example"})).status_code == 200


async def test_without_keys_another_sites_page_changes_nothing(settings: Settings) -> None:
    engine = FakeEngine()
    async with client_of(app_with(engine, settings)) as client:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await client.post("/v1/completions", json=BODY, headers=headers)
            assert answer.status_code == 403
        assert engine.requests == []
        assert "access-control-allow-origin" not in (await client.get("/v1/models")).headers


async def test_cors_origins_may_call(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cors_origins=("http://app.example",), api_keys=("k",))
    async with client_of(app_with(FakeEngine(), settings)) as client:
        origin = {"Origin": "http://app.example"}
        preflight = await client.options(
            "/v1/completions",
            headers={
                **origin,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type",
            },
        )
        assert preflight.status_code == 200
        answer = await client.post(
            "/v1/completions", json=BODY, headers={**origin, "Authorization": "Bearer k"}
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://app.example"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer nope")]])
async def test_websockets_need_a_key_too(secured: Settings, headers: list[tuple[bytes, bytes]]) -> None:
    app: FastAPI = app_with(FakeEngine(), secured)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/queue", "headers": [(b"host", b"localhost"), *headers]}
    await app(scope | {"query_string": b"", "app": app}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
