"""Run folders: what each stage has made, from what, and how a killed run goes on.

    RUN/recipe.json            the recipe this folder belongs to
    RUN/STAGE/manifest.json    written last: a stage without one is not done
    RUN/STAGE/journal.jsonl    what an unfinished stage has so far
    RUN/STAGE/...              its records, store or checkpoints

Knows no stage's code.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from distill.recipe import Recipe
from serve.errors import Conflict, DistilsqlError, NotFound, Unprocessable
from serve.files import write_atomic

_FSYNC_EVERY_S = 1.0
_VERSIONED = (
    "distilsql",
    "torch",
    "transformers",
    "llama-cpp-python",
    "vllm",
    "deepspeed",
    "sqlglot",
    "pyarrow",
)


class Manifest(BaseModel):
    """What a finished stage says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    recipe: str
    """Digest of the recipe."""
    inputs: dict[str, str]
    """Name → sha256 of what it read."""
    outputs: dict[str, str]
    """Name → sha256 of what it wrote."""
    settings: dict[str, Any]
    seed: int
    versions: dict[str, str]
    metrics: dict[str, Any] = Field(default_factory=dict)
    prompt_tokens: int = 0
    """Asked of a teacher."""
    completion_tokens: int = 0
    cost_usd: float = 0.0
    wall_s: float
    """Of all attempts together."""
    attempts: int
    """How often it was started: more than one where it was interrupted."""
    finished_at: str


class Journal:
    """Append-only JSON by key, so that a killed stage goes on behind the last line that reached the disk.

    A torn last line is dropped when it is opened. Adding a key twice keeps the first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._read()
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(whole)
        self._file.seek(whole)
        self._synced = time.monotonic()

    def _read(self) -> int:
        """Take in the whole lines; returns where the last of them ends."""
        if not self.path.exists():
            return 0
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    entry = json.loads(line)
                    self._entries.setdefault(entry["key"], entry["value"])
                except (ValueError, KeyError, TypeError) as error:
                    raise Unprocessable(
                        f"{self.path}, line {number} is damaged ({error}): delete that line and run again; "
                        "what it held is made anew"
                    ) from error
                whole += len(line)
        return whole

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> dict[str, Any] | None:
        """The value under `key`, None where there is none."""
        return self._entries.get(key)

    def values(self) -> Iterator[dict[str, Any]]:
        """All values, in the order they were added."""
        return iter(self._entries.values())

    def add(self, key: str, value: dict[str, Any]) -> None:
        """Append; on the disk within a second. DistilsqlError when the disk is full: nothing is lost."""
        if key in self._entries:
            return
        line = json.dumps({"key": key, "value": value}, ensure_ascii=False).encode("utf-8", "surrogatepass")
        with _told(self.path):
            self._file.write(line + b"\n")
            self._file.flush()
            if time.monotonic() - self._synced > _FSYNC_EVERY_S:
                self._sync()
        self._entries[key] = value

    def close(self) -> None:
        """Everything on the disk."""
        if not self._file.closed:
            with _told(self.path):
                self._sync()
            self._file.close()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class StageRun:
    """A stage while it runs: where it writes, what it counts."""

    name: str
    folder: Path
    seed: int
    """Of this stage: the recipe's seed and the stage's name decide it."""
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0

    def journal(self, name: str = "journal") -> Journal:
        """The stage's journal; opened where an earlier attempt left it."""
        return Journal(self.folder / f"{name}.jsonl")


class RunFolder:
    """One recipe's run; held by one process at a time. Use it as a context manager."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        """Create the folder or take up an old one. Conflict where it belongs to another recipe or another
        process works in it."""
        self.path = path
        self.recipe = recipe
        with _told(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise Conflict(
                f"another process works in {path}; wait for it, or give another --run folder"
            ) from None
        try:
            self._check_recipe()
        except BaseException:
            self._lock.close()
            raise

    def _check_recipe(self) -> None:
        kept = self.path / "recipe.json"
        mine = self.recipe.model_dump(mode="json")
        if not kept.exists():
            write_atomic(kept, json.dumps(mine, indent=2).encode())
            return
        theirs = json.loads(kept.read_text(encoding="utf-8"))
        if theirs != mine:
            changed = ", ".join(sorted(_differences(theirs, mine)))
            raise Conflict(
                f"{self.path} was begun with another recipe (changed: {changed}); what is there would not fit "
                "what is to come. Give another --run folder, or delete this one to begin anew"
            )

    def folder(self, stage: str) -> Path:
        """Where a stage keeps its files."""
        return self.path / stage

    def manifest(self, stage: str) -> Manifest | None:
        """None while the stage is not done."""
        return read_manifest(self.path, stage)

    @contextlib.contextmanager
    def running(self, stage: str, settings: dict[str, Any]) -> Iterator[StageRun]:
        """Run a stage: its manifest is written when the block ends well, and its attempts are counted."""
        folder = self.folder(stage)
        run = StageRun(stage, folder, stage_seed(self.recipe.seed, stage))
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        attempts = _Attempts(folder / "attempts.json")
        try:
            with _told(folder):
                yield run
        finally:
            attempts.end()
        manifest = Manifest(
            stage=stage,
            recipe=self.recipe.digest,
            inputs=run.inputs,
            outputs=run.outputs,
            settings=settings,
            seed=run.seed,
            versions=versions(),
            metrics=run.metrics,
            prompt_tokens=run.prompt_tokens,
            completion_tokens=run.completion_tokens,
            cost_usd=run.cost_usd,
            wall_s=round(attempts.wall_s, 3),
            attempts=attempts.count,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        write_atomic(folder / "manifest.json", manifest.model_dump_json(indent=2).encode())

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Attempts:
    """How often a stage was begun and for how long it ran, across kills: saved at both ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.monotonic()
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"count": 0, "wall_s": 0.0}
        self.count = int(known["count"]) + 1
        self._before = float(known["wall_s"])
        self._save(self._before)

    @property
    def wall_s(self) -> float:
        return self._before + time.monotonic() - self._began

    def end(self) -> None:
        self._save(self.wall_s)

    def _save(self, wall_s: float) -> None:
        write_atomic(self._path, json.dumps({"count": self.count, "wall_s": wall_s}).encode())


def read_manifest(run: Path, stage: str) -> Manifest | None:
    """The manifest of a stage in any run folder, None while it is not done."""
    path = run / stage / "manifest.json"
    if not path.exists():
        return None
    return Manifest.model_validate_json(path.read_text(encoding="utf-8"))


def stored_recipe(run: Path) -> Recipe:
    """The recipe a run folder belongs to. NotFound where it is no run folder."""
    path = run / "recipe.json"
    if not path.is_file():
        raise NotFound(f"{run} is no run folder: it has no recipe.json")
    return Recipe.model_validate_json(path.read_text(encoding="utf-8"))


def stage_seed(seed: int, stage: str) -> int:
    """A seed of its own for each stage, so that leaving one out does not change the others."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4])


def versions() -> dict[str, str]:
    """Of Python and the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _differences(old: Any, new: Any, at: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            yield from _differences(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))
    elif old != new:
        yield at


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """A full disk or a folder that may not be written to, in words."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, (FileNotFoundError, ConnectionError, TimeoutError)):
            raise
        raise DistilsqlError(
            f"{path}: {error.strerror or error}; what was finished is kept. Make room (or mend the cause) and run the "
            "same command again: it goes on from there"
        ) from error
