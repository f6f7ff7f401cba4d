"""A real browser on the real application; the model is scripted unless a test asks for weights."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from http_helpers import LiveServer, serving
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from serve.engines.fake import FakeEngine
from serve.registry import ModelRegistry
from serve.settings import Settings
from ui.app import create_app

SCREENSHOTS = Path("artifacts/screenshots")
_QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
_HARMLESS = re.compile(
    r"Vega|scale's|net::ERR_|Failed to load resource: the server responded with a status of 4"
)


@dataclass
class Script:
    """Statements that the scripted model knows: it goes on with the one that the prompt has begun."""

    known: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        typed = prompt.partition("<|fim_suffix|>")[0]
        for statement in self.known:
            for length in range(len(statement), 0, -1):
                if typed.endswith(statement[:length]) and typed[: -length or None].endswith(("\n", ">", " ")):
                    return statement[length:]
        return ""


@dataclass
class Running:
    """A server, what its model was asked, and its settings."""

    live: LiveServer
    script: Script
    engine: FakeEngine

    @property
    def url(self) -> str:
        return self.live.url


@pytest.fixture
def running(settings: Settings) -> Iterator[Running]:
    script = Script()
    engine = FakeEngine(script)
    with serving(page_app(settings, engine)) as live:
        yield Running(live, script, engine)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    assert found, "the browser tests need Chromium: apt install chromium"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=_QUIET)
        yield launched
        launched.close()


def page_app(settings: Settings, engine: FakeEngine | None = None) -> FastAPI:
    """The whole application with a scripted model.

    Made under an event loop of its own, as it is when uvicorn runs it: without one Gradio makes a
    loop that nobody closes.
    """

    async def make() -> FastAPI:
        registry = ModelRegistry(settings, loader=lambda name: engine or FakeEngine())
        return create_app(settings, registry)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, make()).result()


NewPage = Callable[..., Page]


@pytest.fixture
def new_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[NewPage]:
    """Opens pages; afterwards none may have had an error, or asked another host for anything."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []
    hosts: set[str] = set()

    def open_page(width: int = 1280, height: int = 720, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on(
            "console",
            lambda m: problems.append(m.text) if m.type == "error" and not _HARMLESS.search(m.text) else None,
        )
        page.on("request", lambda sent: hosts.add(sent.url.split("/")[2]) if "//" in sent.url else None)
        return page

    yield open_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "_", request.node.name).strip("_")
    for number, context in enumerate(contexts):
        for page in context.pages:
            if not page.is_closed():
                page.screenshot(path=SCREENSHOTS / f"{name}{number or ''}.png", full_page=True)
        context.close()
    assert not problems
    assert all(host.startswith("127.0.0.1:") for host in hosts), hosts


class Editor:
    """What a user sees and does in the editor tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url)
        page.wait_for_selector("[data-testid=sql-editor]")

    @property
    def ghost(self) -> str:
        """The grey text; "" where there is none."""
        found = self.page.locator(".cm-ghost")
        return found.inner_text() if found.count() else ""

    @property
    def text(self) -> str:
        """The document."""
        return str(
            self.page.evaluate(
                "document.querySelector('.cm-content').cmTile.view.state.doc.toString()",
            )
        )

    def replace(self, text: str, cursor: str = "|") -> None:
        """Put another text in place, as typed, with the cursor at the mark (the end without one)."""
        before, _, after = text.partition(cursor)
        self.page.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.press("Delete")
        self.page.keyboard.insert_text(before + after)
        for _ in after:
            self.page.keyboard.press("ArrowLeft")

    def wait_for_ghost(self, text: str) -> None:
        self.page.wait_for_function(
            "wanted => document.querySelector('.cm-ghost')?.textContent === wanted", arg=text
        )

    def wait_for_no_ghost(self) -> None:
        self.page.wait_for_selector(".cm-ghost", state="detached")

    def test_id(self, name: str) -> str:
        return self.page.get_by_test_id(name).inner_text()


@pytest.fixture
def editor(running: Running, new_page: NewPage) -> Editor:
    return Editor(new_page(), running.url)
