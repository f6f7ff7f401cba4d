"""How far a stage is: a bar with the time left on a terminal, else a line now and then, on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distill.asking import Advance
from serve.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 10.0


@contextmanager
def bar(what: str) -> Iterator[Advance]:
    """Shows the (done, total) that it is told; `total` may grow."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(what, console)
        return
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total or None)


class _Lines:
    def __init__(self, what: str, console: Console) -> None:
        self._what = what
        self._console = console
        self._began = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        if now - self._told < _LINE_EVERY_S and not (done == total and done > self._first):
            return
        self._told = now
        line = f"{self._what}: {done} of {total}"
        speed = (done - self._first) / max(now - self._began, 1e-6)
        if speed > 0 and total > done:
            line += f", {duration((total - done) / speed)} left"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
