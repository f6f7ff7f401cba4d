"""Knows what runs in this process, so that a shutdown can let it finish, or end it at a deadline.

Three kinds: requests (awaited on shutdown until the deadline, then cancelled), streams to an open
page (cancelled after them) and background tasks (model loading, warm-ups: cancelled at once).
Everything happens on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)


class Lifecycle:
    """`starting` until the model is loaded, then ready, then `draining`."""

    def __init__(self) -> None:
        self.loaded = False
        """The default model has been loaded."""
        self.not_ready_because = "the model is being loaded"
        self.draining = False
        self.deadline_passed = False
        """Requests still running were cancelled by the shutdown."""
        self._requests: set[asyncio.Task[None]] = set()
        self._page: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

        self._when_loaded: list[Callable[[str | None], None]] = []

    @property
    def ready(self) -> bool:
        """Whether new work is welcome."""
        return self.loaded and not self.draining

    def when_loaded(self, call: Callable[[str | None], None]) -> None:
        """Have `call` told how loading the default model ended: None, or what went wrong."""
        self._when_loaded.append(call)

    def loading_ended(self, problem: str | None) -> None:
        """The default model is there, or cannot be loaded because of `problem`."""
        self.loaded = problem is None
        if problem:
            self.not_ready_because = problem
        for call in self._when_loaded:
            call(problem)
        self._when_loaded.clear()

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return len(self._requests)

    def start_draining(self) -> None:
        """From now on new work is refused. Safe to call twice."""
        if not self.draining:
            self.draining = True
            self.not_ready_because = "the server is shutting down"
            log.info("draining", extra={"running": self.running})

    @contextmanager
    def page(self, task: asyncio.Task[None]) -> Iterator[None]:
        """`task` serves a page for the length of the block: it has nothing to finish, and is cancelled
        when the requests have ended."""
        self._page.add(task)
        try:
            yield
        finally:
            self._page.discard(task)

    @contextmanager
    def request(self, task: asyncio.Task[None]) -> Iterator[None]:
        """Count `task` as a request for the length of the block."""
        self._requests.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._requests.discard(task)
            if not self._requests:
                self._idle.set()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` in the background. A failure is logged (its type, not its text) and ends there."""
        if self.draining:
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background task failed", exc_info=error, extra={"task": task.get_name()})

    async def drain(self, timeout_s: float) -> None:
        """Refuse new work, give running requests `timeout_s` seconds, then cancel them and wait
        until they have ended. Safe to call twice."""
        self.start_draining()
        for task in self._background:
            task.cancel()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self.cancel_requests()
            await self._idle.wait()
        for task in self._page:
            task.cancel()
        if unfinished := self._background | self._page:
            await asyncio.wait(unfinished)

    def cancel_requests(self) -> None:
        """End every running request now; each answers 503 or ends its stream with an error."""
        self.deadline_passed = True
        if self._requests:
            log.warning("cancelling requests", extra={"running": self.running})
        for task in self._requests:
            task.cancel()
