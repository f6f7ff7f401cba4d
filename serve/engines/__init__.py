"""Engines run models: token ids in, a stream of token ids out. `load` picks the one a model needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from serve.errors import NotFound
from serve.settings import Settings

if TYPE_CHECKING:
    from serve.catalog import ModelEntry
    from serve.engines.base import Engine


def load(entry: ModelEntry, path: Path, settings: Settings) -> Engine:
    """Load the weights at `path`, an adapter's over its base. Blocks for seconds: call it in a thread.

    Raises `serve.errors.Unavailable` when the file cannot be loaded (damaged, no memory, an adapter of another
    base), NotFound when an adapter's base is not installed.
    """
    from serve.catalog import Catalog
    from serve.engines.llamacpp import LlamaCppEngine

    catalog = Catalog.load(settings)
    base = catalog.base(entry)
    sha256 = entry.sha256 or ""
    adapter = None
    if base is not None:
        if not catalog.installed(base):
            raise NotFound(
                f"{entry.name} is an adapter of {base.name}, which is not installed; run `distilsql models pull "
                f"{base.name}`",
                param="model",
            )
        # Both decide what is computed, so both are in the identity that KV snapshots are kept under.
        path, adapter, sha256 = catalog.path(base), path, f"{sha256}+{base.sha256}"
    return LlamaCppEngine.load(
        path,
        adapter=adapter,
        name=entry.name,
        sha256=sha256,
        family=entry.family,
        context_tokens=min(settings.context_tokens, entry.context_length),
        max_parallel=settings.max_parallel,
        queue_limit=settings.queue_limit,
        threads=settings.threads,
        snapshots_dir=settings.snapshots_dir,
    )
