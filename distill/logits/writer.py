"""Writing a logit store so that nothing captured is lost: killed at any byte, on a full disk, or damaged later.

Examples are appended to `shard-00007.part`; when it is long enough it gets its index and the name
`shard-00007.logits`, by which readers know it. A writer that begins takes up the whole examples of a `.part`, and
rewrites damaged shards without what is damaged in them. One writer at a time; readers do not mind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distill.logits.manifest import NAME, StoreManifest, read_manifest, refuse_other
from distill.logits.shards import (
    HEADER_BYTES,
    DamagedShard,
    Layout,
    Place,
    Shard,
    index_and_trailer,
    mapped,
    refuse_foreign,
    scan,
)
from distill.teachers.base import TopK
from serve.errors import Conflict, DistilsqlError
from serve.files import move_into_place

FINISHED = ".logits"
PART = ".part"
_FSYNC_EVERY_S = 1.0


class StoreWriter:
    """Adds examples to a store. Use it as a context manager: an error keeps what was added for the next one."""

    def __init__(
        self,
        folder: Path,
        manifest: StoreManifest,
        *,
        shard_tokens: int = 1_000_000,
        checked: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Create the store, or take up an old one after checking every byte of it (`checked` is told how far).

        Conflict where another writer has it, Unprocessable where it is of something else than `manifest`.
        """
        self.folder = folder
        self.manifest = manifest
        self.repaired: list[str] = []
        """What was damaged and is to be captured again, a line for each shard."""
        self._layout = Layout.of(manifest)
        self._shard_tokens = shard_tokens
        self._keys: set[bytes] = set()
        self._file: int | None = None
        self._places: list[Place] = []
        self._tokens = 0
        self._end = 0
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / ".lock").open("w")
        try:
            self._take_up(checked)
        except BaseException:
            self._lock.close()
            raise

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str, rows: TopK) -> None:
        """Append an example; on the disk within a second. A key that is there already keeps its rows.

        ValueError where `rows` do not fit the store; DistilsqlError where the disk refuses.
        """
        name = bytes.fromhex(key)
        if name in self._keys:
            return
        data = self._layout.example(name, rows)
        with self._told():
            if self._file is None:
                self._begin()
            offset = self._append(data)
            if time.monotonic() - self._synced > _FSYNC_EVERY_S:
                self.sync()
        self._places.append(Place(name, offset, len(rows.target_logprobs)))
        self._keys.add(name)
        self._tokens += len(rows.target_logprobs)
        if self._tokens >= self._shard_tokens:
            self._finish()

    def sync(self) -> None:
        """Everything added so far is on the disk when this returns."""
        if self._file is not None:
            with self._told():
                os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Finish the last shard, so that readers see all of it. Idempotent."""
        if self._places:
            self._finish()
        self._let_go()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        # What stopped the work is being told already; a full disk must not speak over it.
        with contextlib.suppress(DistilsqlError):
            self.sync()
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock.close()

    def _take_up(self, checked: Callable[[int, int], None]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"another process is writing the logit store in {self.folder}; wait for it"
            ) from None
        if (self.folder / NAME).exists():
            found = read_manifest(self.folder)
            refuse_other(found, self.manifest, self.folder)
            self.manifest = found
        else:
            with self._told():
                self.manifest.save(self.folder)
        for aside in self.folder.glob(".shard-*"):
            aside.unlink()
        finished = finished_shards(self.folder)
        for done, path in enumerate(finished, 1):
            self._keys.update(place.key for place in self._checked(path))
            checked(done, len(finished))
        for path in sorted(self.folder.glob(f"shard-*{PART}")):
            if self._file is not None:
                self._finish()
            self._recover(path)
        self._synced = time.monotonic()

    def _checked(self, path: Path) -> Sequence[Place]:
        """The whole examples of a finished shard, which is rewritten where it has others."""
        try:
            shard = Shard(path, self._layout)
        except DamagedShard as error:
            data, end = mapped(path), path.stat().st_size
            whole = list(scan(data, self._layout, 0, end))
            lost = error.message.split(". ")[0]
        else:
            if len(shard.whole) == len(shard.index):
                return shard.whole
            data, whole = mapped(path), shard.whole
            lost = f"{path}: {len(shard.index) - len(whole)} of {len(shard.index)} examples are damaged"
        self.repaired.append(f"{lost}; {len(whole)} whole examples are kept")
        return self._rewrite(path, data, whole)

    def _rewrite(self, path: Path, data: memoryview, whole: Sequence[Place]) -> Sequence[Place]:
        """Replace a damaged shard by its whole examples."""
        if not whole:
            path.unlink()
            return ()
        aside = path.with_name(f".{path.name}")
        moved, pieces, at = [], [self._layout.header()], HEADER_BYTES
        for place in whole:
            size = self._layout.size(place.positions)
            pieces.append(bytes(data[place.offset : place.offset + size]))
            moved.append(Place(place.key, at, place.positions))
            at += size
        if path.suffix == FINISHED:
            pieces.append(index_and_trailer(moved, at))
        with self._told():
            try:
                with aside.open("wb") as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                move_into_place(aside, path)
            finally:
                aside.unlink(missing_ok=True)
        return moved

    def _recover(self, path: Path) -> None:
        """Go on with an unfinished shard behind its last whole example."""
        data = mapped(path)
        refuse_foreign(path, data, self._layout)
        begun = bytes(data[:HEADER_BYTES]) == self._layout.header()
        whole: Sequence[Place] = list(scan(data, self._layout, HEADER_BYTES if begun else 0, len(data)))
        if not whole:
            path.unlink()
            return
        end = HEADER_BYTES + sum(self._layout.size(place.positions) for place in whole)
        if not begun or end != whole[-1].offset + self._layout.size(whole[-1].positions):
            self.repaired.append(f"{path}: damaged in the middle; {len(whole)} whole examples are kept")
            whole = self._rewrite(path, data, whole)
        with self._told():
            self._file = os.open(path, os.O_RDWR)
            os.ftruncate(self._file, end)
            os.lseek(self._file, end, os.SEEK_SET)
            os.fsync(self._file)
        self._path, self._end, self._places = path, end, list(whole)
        self._tokens = sum(place.positions for place in whole)
        self._keys.update(place.key for place in whole)

    def _begin(self) -> None:
        taken = [int(path.stem.split("-")[1]) for path in self.folder.glob("shard-*")]
        self._path = self.folder / f"shard-{max(taken, default=-1) + 1:05d}{PART}"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._places, self._tokens, self._end = [], 0, 0
        try:
            self._append(self._layout.header())
        except OSError:
            os.close(self._file)
            self._file = None
            self._path.unlink()
            raise

    def _append(self, data: bytes) -> int:
        """Write behind the last whole example, all or nothing; returns where."""
        assert self._file is not None
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            # Also where this fails: whoever opens the store next leaves the torn end out.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
                os.lseek(self._file, self._end, os.SEEK_SET)
            raise
        begin, self._end = self._end, self._end + len(data)
        return begin

    def _finish(self) -> None:
        """Index, fsync, rename: the shard is there for readers."""
        assert self._file is not None
        with self._told():
            self._append(index_and_trailer(self._places, self._end))
            os.fsync(self._file)
            os.close(self._file)
            self._file = None
            move_into_place(self._path, self._path.with_suffix(FINISHED))
        self._places, self._tokens = [], 0

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A full disk or a read-only folder, in words."""
        try:
            yield
        except OSError as error:
            raise DistilsqlError(
                f"{self.folder}: {error.strerror or error}; the {len(self._keys)} examples captured so far are kept. "
                "Make room (or mend the cause) and run the same command again: it goes on from there"
            ) from error


def finished_shards(folder: Path) -> list[Path]:
    """The shards that readers see, in order."""
    return sorted(folder.glob(f"shard-*{FINISHED}"))
