"""Files that are never half-written: written aside, fsynced, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; whoever reads it sees the old content or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        move_into_place(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def move_into_place(aside: Path, path: Path) -> None:
    """Rename a finished, fsynced file to its name and make the rename durable."""
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
