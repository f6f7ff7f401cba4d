"""KV states on disk, so that the first request after a restart is warm.

One file per (model, prompt): a JSON header line, then the state as llama.cpp lays it out. A file
that is damaged, of another model, another prompt or another llama.cpp is deleted and rebuilt.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

_MAGIC = "distilsql-kv-1"
_SUFFIX = ".kv"
_MAX_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SnapshotStore:
    """Snapshots of one model under a private folder (created with mode 0700)."""

    folder: Path
    model_sha256: str
    build: str
    max_bytes: int = 2 * 1024**3
    """Oldest files are deleted past this."""

    def save(self, tokens: Sequence[int], state: bytes) -> None:
        """Write aside, fsync, rename. Raises OSError when the disk refuses."""
        self._prepare()
        header = json.dumps(self._header(tokens) | {"bytes": len(state), "digest": _digest(state)})
        target = self._path(tokens)
        aside = target.with_suffix(f".{os.getpid()}.part")
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(header.encode() + b"\n")
                file.write(state)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
        self._prune(keep=target)

    def load(self, tokens: Sequence[int]) -> bytes | None:
        """The state saved for exactly these tokens; None when there is none that can be trusted."""
        path = self._path(tokens)
        try:
            with path.open("rb") as file:
                if not _is_private(os.fstat(file.fileno())):
                    raise ValueError("other users can write to it")
                header = json.loads(file.readline(_MAX_HEADER_BYTES))
                state = file.read()
            expected = self._header(tokens) | {"bytes": len(state), "digest": _digest(state)}
            if header != expected:
                raise ValueError("it is damaged or belongs to another model or version")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("ignoring KV snapshot %s: %s", path.name, error)
            self.delete(tokens)
            return None
        with contextlib.suppress(OSError):  # only the order of pruning depends on it
            os.utime(path)
        return state

    def exists(self, tokens: Sequence[int]) -> bool:
        """Whether a file for these tokens is there, trusted or not."""
        return self._path(tokens).exists()

    def delete(self, tokens: Sequence[int]) -> None:
        """Remove the snapshot of these tokens, if any."""
        self._path(tokens).unlink(missing_ok=True)

    def _path(self, tokens: Sequence[int]) -> Path:
        return self.folder / f"{self._key(tokens)}{_SUFFIX}"

    def _key(self, tokens: Sequence[int]) -> str:
        ids = np.asarray(tokens, np.int32).tobytes()
        return hashlib.blake2b(self.model_sha256.encode() + b"\0" + ids, digest_size=20).hexdigest()

    def _header(self, tokens: Sequence[int]) -> dict[str, object]:
        return {
            "magic": _MAGIC,
            "model": self.model_sha256,
            "build": self.build,
            "prompt": self._key(tokens),
            "tokens": len(tokens),
        }

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)

    def _prune(self, keep: Path) -> None:
        files = [(path, path.stat()) for path in self.folder.glob(f"*{_SUFFIX}")]
        total = sum(info.st_size for _, info in files)
        for path, info in sorted(files, key=lambda item: item[1].st_mtime):
            if total <= self.max_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= info.st_size


def _digest(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=16).hexdigest()


def _is_private(info: os.stat_result) -> bool:
    return info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
