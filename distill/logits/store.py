"""Reading a logit store: the rows of any example by its key, from any number of processes.

    store = LogitStore.open(folder, tokenizer_hash=tokenizer.hash)
    rows = store.get(example.key)        # TopK: row j belongs to example.positions[j]

The shards are memory-mapped, so that processes share what they have read. A lookup is a binary search among the
first 8 bytes of all keys; the rest of the key and the example's CRC are checked at every read. Knows no teacher
and no order of examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distill.logits.manifest import StoreManifest, read_manifest, refuse_tokenizer
from distill.logits.shards import DamagedShard, Layout, Shard
from distill.logits.writer import finished_shards
from distill.teachers.base import TopK
from serve.errors import NotFound


class LogitStore:
    """A store's finished shards, as they are when it is opened. Pickles as its folder's name (data loader workers)."""

    def __init__(self, folder: Path, manifest: StoreManifest) -> None:
        """Use `open`."""
        self.folder = folder
        self.manifest = manifest
        layout = Layout.of(manifest)
        self._shards = [Shard(path, layout) for path in finished_shards(folder)]
        prefixes = np.concatenate([shard.index["prefix"] for shard in self._shards] or [np.empty(0, "<u8")])
        offsets = np.concatenate([shard.index["offset"] for shard in self._shards] or [np.empty(0, "<u8")])
        numbers = np.repeat(np.arange(len(self._shards)), [len(shard.index) for shard in self._shards])
        order = np.argsort(prefixes, kind="stable")
        self._prefixes, self._offsets, self._numbers = prefixes[order], offsets[order], numbers[order]

    @classmethod
    def open(cls, folder: Path, *, tokenizer_hash: str | None = None) -> LogitStore:
        """The store in `folder`.

        NotFound where there is none. Unprocessable where it was captured with another tokenizer than
        `tokenizer_hash`, or where a shard is cut off or damaged: its message names the shard.
        """
        manifest = read_manifest(folder)
        if tokenizer_hash is not None:
            refuse_tokenizer(manifest, tokenizer_hash, folder)
        return cls(folder, manifest)

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return LogitStore.open, (self.folder,)

    def __len__(self) -> int:
        return len(self._prefixes)

    @property
    def positions(self) -> int:
        """Token rows in all."""
        return sum(shard.positions for shard in self._shards)

    @property
    def size_bytes(self) -> int:
        """Of all shards, indexes included."""
        return sum(shard.size_bytes for shard in self._shards)

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def get(self, key: str) -> TopK:
        """The rows of the example whose `Example.key` is `key`; the arrays are the caller's own.

        NotFound where it was never captured, Unprocessable naming the shard where it is damaged.
        """
        found = self._find(key)
        if found is None:
            raise NotFound(
                f"the logit store in {self.folder} has no example {key[:12]}…: run the capture stage again, it "
                "captures what is missing"
            )
        shard, offset = found
        place, rows = shard.read(offset)
        if place.key.hex() != key:
            raise DamagedShard(shard.path, f"its index does not lead to example {key[:12]}…")
        return rows

    def keys(self) -> Iterator[str]:
        """Every key, in no useful order."""
        for shard in self._shards:
            for offset in shard.index["offset"].tolist():
                yield shard.key_at(offset).hex()

    def damaged(self) -> list[str]:
        """Read and check every byte; a line for each shard with damaged examples."""
        return [
            f"{shard.path}: {len(shard.index) - len(shard.whole)} of {len(shard.index)} examples are damaged"
            for shard in self._shards
            if len(shard.whole) != len(shard.index)
        ]

    def _find(self, key: str) -> tuple[Shard, int] | None:
        name = bytes.fromhex(key)
        prefix = np.uint64(int.from_bytes(name[:8], "big"))
        at = int(self._prefixes.searchsorted(prefix))
        first = None
        while at < len(self._prefixes) and self._prefixes[at] == prefix:
            shard, offset = self._shards[self._numbers[at]], int(self._offsets[at])
            if shard.key_at(offset) == name:
                return shard, offset
            first = first or (shard, offset)
            at += 1
        # Eight bytes agree and the rest does not: a damaged key, which `get` will name; never another example.
        return first
