"""Shows a pull while it runs: a bar with speed and time left on a terminal, else a line now and then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from serve.catalog import ModelEntry
from serve.pull import Progress, pull
from serve.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

_LINE_EVERY_S = 5.0

Advance = Callable[[int, int], None]
"""Told the bytes done and the bytes in all (0: unknown)."""


def pull_with_progress(entry: ModelEntry, settings: Settings, console: Console) -> tuple[ModelEntry, Path]:
    """`serve.pull.pull`, shown on `console`; raises what it raises."""
    with byte_bar(entry.name, console) as advance:

        def show(progress: Progress) -> None:
            if progress.message:
                console.print(progress.message, highlight=False, markup=False, soft_wrap=True)
            elif progress.total == 0 and progress.done == 0:
                console.print(f"asking {progress.source}", highlight=False, markup=False, soft_wrap=True)
            else:
                advance(progress.done, progress.total)

        return pull(entry, settings, show)


@contextmanager
def byte_bar(what: str, console: Console) -> Iterator[Advance]:
    """Shows how far a transfer of bytes is, on a terminal or off it."""
    if console.is_terminal:
        with _bar(what, console) as advance:
            yield advance
    else:
        yield _Lines(what, console)


@contextmanager
def _bar(what: str, console: Console) -> Iterator[Advance]:
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=None, start=False)

        def advance(done: int, total: int) -> None:
            # Another source begins again; what an earlier try left counts for no speed.
            if not shown.tasks[0].started or done < shown.tasks[0].completed:
                shown.reset(task, completed=done)
            shown.update(task, completed=done, total=total or None)

        yield advance


class _Lines:
    """A line every few seconds."""

    def __init__(self, what: str, console: Console) -> None:
        self._what = what
        self._console = console
        self._began = self._told = time.monotonic()
        self._first = -1

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first < 0 or done < self._first:
            self._first, self._began = done, now
        if now - self._told < _LINE_EVERY_S and not (done == total and self._first < done):
            return
        self._told = now
        speed = (done - self._first) / max(now - self._began, 1e-6)
        line = f"{self._what}: {done / 1e6:.0f} MB"
        if total:
            line += f" of {total / 1e6:.0f} MB ({100 * done / total:.0f} %)"
        if speed > 0:
            line += f", {speed / 1e6:.1f} MB/s"
            if total > done:
                line += f", {duration((total - done) / speed)} left"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Minutes and seconds, for people."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def pull_as_json(
    entry: ModelEntry, settings: Settings, write: Callable[[str], None]
) -> tuple[ModelEntry, Path]:
    """`serve.pull.pull` with a JSON line a second, and one for the result."""
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.message or progress.done == 0 or progress.done == progress.total or now - last > 1:
            last = now
            write(json.dumps({"event": "progress", **asdict(progress)}, ensure_ascii=False))

    entry, path = pull(entry, settings, show)
    result = {"name": entry.name, "path": str(path), "sha256": entry.sha256, "size_bytes": entry.size_bytes}
    write(json.dumps({"event": "done", **result}))
    return entry, path
