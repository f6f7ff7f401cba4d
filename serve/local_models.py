"""Models that come from a file of this machine, and the removal of any."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from serve.catalog import SHA256_PATTERN, Catalog, ModelEntry
from serve.errors import DistilsqlError, InvalidRequest, NotFound
from serve.files import move_into_place
from serve.pull import GGUF_MAGIC, check_space
from serve.settings import Settings

_CHUNK = 1 << 20
_ADAPTER_KEY, _HEAD_BYTES = b"adapter.type", 64 << 10
"""Metadata that only an adapter has, and it has little else before it."""


def add(
    file: Path,
    entry: ModelEntry,
    settings: Settings,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> Path:
    """Copy `file` under its hash and register `entry` for it; returns where the copy lies.

    `entry.sha256` is what the file must have. Raises NotFound (no such file, no such base), InvalidRequest (no
    GGUF, another hash, an adapter without a base or a base for what is no adapter: nothing is kept), Conflict
    (the name is taken), DistilsqlError (no space).
    """
    if entry.sha256 is None or not SHA256_PATTERN.fullmatch(entry.sha256):
        raise InvalidRequest("a sha256 of 64 lower-case hexadecimal digits is needed", param="sha256")
    if not file.is_file():
        raise NotFound(f"there is no file {file}", param="file")
    catalog = Catalog.load(settings)
    catalog.check_free(entry.name)
    _check_base(file, entry, catalog)
    path = catalog.path(entry)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        check_space(path.parent, file.stat().st_size)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            digest = _copy(file, aside, on_bytes)
            if digest != entry.sha256:
                raise InvalidRequest(
                    f"the sha256 of {file} is {digest}, not {entry.sha256}; nothing was kept", param="sha256"
                )
            move_into_place(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    catalog.add(entry.model_copy(update={"size_bytes": path.stat().st_size}))
    return path


def _check_base(file: Path, entry: ModelEntry, catalog: Catalog) -> None:
    with file.open("rb") as data:
        is_adapter = _ADAPTER_KEY in data.read(_HEAD_BYTES)
    base = catalog.base(entry)
    if is_adapter and base is None:
        raise InvalidRequest(
            f"{file} is an adapter, no whole model: say which model it belongs to with --adapter-of",
            param="adapter-of",
        )
    if base is not None and (not is_adapter or base.base is not None):
        wrong = f"{base.name} is an adapter itself" if is_adapter else f"{file} is no GGUF adapter"
        raise InvalidRequest(f"{wrong}, so --adapter-of cannot be given", param="adapter-of")


def remove(entry: ModelEntry, settings: Settings) -> int:
    """Delete the file of `entry` and what a pull has begun, and forget the user's own entry.

    Returns the bytes freed; a file that another entry shares is kept. Raises NotFound when there is
    nothing to remove.
    """
    catalog = Catalog.load(settings)
    freed = 0
    partial = settings.models_dir / "partial" / entry.name
    had_partial = partial.is_dir()
    if had_partial:
        freed += sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
        shutil.rmtree(partial)
    installed = catalog.installed(entry)
    shared = any(one.sha256 == entry.sha256 and one.name != entry.name for one in catalog.entries())
    if installed and not shared:
        path = catalog.path(entry)
        freed += path.stat().st_size
        path.unlink()
    if not (installed or had_partial or catalog.is_mine(entry)):
        raise NotFound(f"{entry.name} is not installed", param="name")
    catalog.forget(entry)
    return freed


def _copy(source: Path, target: Path, on_bytes: Callable[[int], None]) -> str:
    """Copy and fsync; returns the sha256 of what was copied."""
    digest, done = hashlib.sha256(), 0
    try:
        with source.open("rb") as data, target.open("wb") as out:
            while chunk := data.read(_CHUNK):
                if done == 0 and not chunk.startswith(GGUF_MAGIC):
                    raise InvalidRequest(f"{source} is no GGUF file", param="file")
                digest.update(chunk)
                out.write(chunk)
                done += len(chunk)
                on_bytes(done)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        raise DistilsqlError(f"{source} could not be copied: {error}") from error
    return digest.hexdigest()
