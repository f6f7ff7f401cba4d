"""Engines run models: token ids in, a stream of token ids out. `load` picks the one a model needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from serve.settings import Settings

if TYPE_CHECKING:
    from serve.catalog import ModelEntry
    from serve.engines.base import Engine


def load(entry: ModelEntry, path: Path, settings: Settings) -> Engine:
    """Load the weights at `path`. Blocks for seconds: call it in a thread.

    Raises `serve.errors.Unavailable` when the file cannot be loaded (damaged, no memory).
    """
    from serve.engines.llamacpp import LlamaCppEngine

    return LlamaCppEngine.load(
        path,
        name=entry.name,
        sha256=entry.sha256 or "",
        family=entry.family,
        context_tokens=min(settings.context_tokens, entry.context_length),
        max_parallel=settings.max_parallel,
        queue_limit=settings.queue_limit,
        threads=settings.threads,
        snapshots_dir=settings.snapshots_dir,
    )
