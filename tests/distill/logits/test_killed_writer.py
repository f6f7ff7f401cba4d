"""A real process that writes a store is killed at random moments: nothing that was whole is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from distill_fakes import TOKENIZER_HASH, VOCABULARY

from distill.logits.manifest import StoreManifest
from distill.logits.store import LogitStore
from distill.logits.writer import StoreWriter
from distill.teachers.base import TopK

MANIFEST = StoreManifest.of(
    tokenizer_hash=TOKENIZER_HASH, real_vocabulary=VOCABULARY, teacher="killed", top_k=10
)
COUNT = 6000
ROOT = Path(__file__).parents[3]


def key_of(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}" + f"{number:056x}"


def rows_of_number(number: int) -> TopK:
    positions = 1 + number % 40
    ids = (np.arange(positions * 10, dtype=np.int32).reshape(positions, 10) + number) % VOCABULARY
    return TopK(
        ids, np.full((positions, 10), -3.0, np.float32), np.full(positions, -(number % 64) / 4, np.float32)
    )


def write_all(folder: Path) -> None:
    """Runs in the process that is killed; says how many it has synced. Slow enough to be met on the way."""
    with StoreWriter(folder, MANIFEST, shard_tokens=5000) as writer:
        for number in range(COUNT):
            if key_of(number) not in writer:
                writer.add(key_of(number), rows_of_number(number))
                if number % 10 == 0:
                    time.sleep(0.001)
                if number % 50 == 0:
                    writer.sync()
                    os.write(1, f"{number}\n".encode())


def start(folder: Path) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}, {str(Path(__file__).parent)!r}]; "
    code += f"import test_killed_writer; from pathlib import Path; test_killed_writer.write_all(Path({str(folder)!r}))"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def killed(folder: Path, after_s: float) -> list[int]:
    """Start the writer, kill it `after_s` seconds after its first sync; the numbers it has synced."""
    with start(folder) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        told = first + process.stdout.read()
    return [int(line) for line in told.splitlines(keepends=True) if line.endswith(b"\n")]


def test_killed_at_random_moments_it_goes_on(tmp_path: Path) -> None:
    chance = random.Random(11)
    synced = -1
    for _ in range(6):
        synced = max([synced, *killed(tmp_path, chance.uniform(0.0, 0.06))])
        with StoreWriter(tmp_path, MANIFEST, shard_tokens=5000) as writer:
            assert all(key_of(number) in writer for number in range(synced + 1)), "a synced example is lost"
            assert writer.repaired == []
            before = len(writer)
    assert 0 < synced < before < COUNT, "killed on the way"
    with start(tmp_path) as last:
        last.communicate(timeout=60)
    assert last.returncode == 0
    store = LogitStore.open(tmp_path)
    keys = list(store.keys())
    assert len(keys) == len(set(keys)) == COUNT
    for number in range(COUNT):
        rows, expected = store.get(key_of(number)), rows_of_number(number)
        assert (rows.ids == expected.ids).all()
        assert (rows.target_logprobs == expected.target_logprobs).all()


def test_cut_at_any_byte_an_unfinished_shard_keeps_what_is_whole(tmp_path: Path) -> None:
    """Every length that a kill or a power cut can leave, over the last three examples."""
    writer = StoreWriter(tmp_path / "a", MANIFEST)
    lengths = []
    for number in range(5):
        writer.add(key_of(number), rows_of_number(number))
        lengths.append((tmp_path / "a" / "shard-00000.part").stat().st_size)
    content = (tmp_path / "a" / "shard-00000.part").read_bytes()
    manifest = (tmp_path / "a" / "manifest.json").read_bytes()
    writer.close()
    for cut in [*range(60), *range(lengths[1] - 3, len(content) + 1, 5)]:
        folder = tmp_path / f"cut-{cut}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest)
        (folder / "shard-00000.part").write_bytes(content[:cut])
        with StoreWriter(folder, MANIFEST) as writer:
            assert len(writer) == sum(length <= cut for length in lengths)
            for number in range(5):
                writer.add(key_of(number), rows_of_number(number))
        assert sorted(LogitStore.open(folder).keys()) == sorted(map(key_of, range(5)))


def test_a_long_torn_end_is_cut_off(tmp_path: Path) -> None:
    """A power cut can leave a file longer than what was written, filled with anything."""
    writer = StoreWriter(tmp_path, MANIFEST)
    writer.add(key_of(7), rows_of_number(7))
    writer.__exit__(KeyboardInterrupt, None, None)
    with (tmp_path / "shard-00000.part").open("ab") as part:
        part.write(b"\0" * 5000 + random.Random(0).randbytes(50_000))
    with StoreWriter(tmp_path, MANIFEST) as writer:
        writer.add(key_of(8), rows_of_number(8))
    assert sorted(LogitStore.open(tmp_path).keys()) == sorted([key_of(7), key_of(8)])
