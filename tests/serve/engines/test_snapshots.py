"""KV snapshots on disk: private, checked, bounded."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from serve.engines.snapshots import SnapshotStore

TOKENS = [5, 6, 7]
STATE = bytes(range(256)) * 40


def store(folder: Path, *, model: str = "a" * 64, build: str = "1", max_bytes: int = 10**9) -> SnapshotStore:
    return SnapshotStore(folder / "kv", model, build, max_bytes)


def only_file(folder: Path) -> Path:
    (path,) = (folder / "kv").iterdir()
    return path


def test_what_was_saved_is_loaded_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    store(tmp_path).save(TOKENS, STATE)
    assert store(tmp_path).load(TOKENS) == STATE
    assert stat.S_IMODE((tmp_path / "kv").stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(tmp_path).stat().st_mode) == 0o600


def test_other_tokens_have_no_snapshot(tmp_path: Path) -> None:
    store(tmp_path).save(TOKENS, STATE)
    assert store(tmp_path).load([5, 6]) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_file_is_ignored_deleted_and_logged(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store(tmp_path).save(TOKENS, STATE)
    path = only_file(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
    elif damage == "cut":
        del data[-1:]
    elif damage == "empty":
        data.clear()
    else:
        data[3] ^= 0xFF
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert store(tmp_path).load(TOKENS) is None
    assert "ignoring KV snapshot" in caplog.text
    assert not path.exists()


def test_another_model_or_build_does_not_use_it(tmp_path: Path) -> None:
    store(tmp_path).save(TOKENS, STATE)
    assert store(tmp_path, model="b" * 64).load(TOKENS) is None
    assert store(tmp_path, build="2").load(TOKENS) is None


def test_a_foreign_file_under_the_right_name_is_refused(tmp_path: Path) -> None:
    store(tmp_path).save(TOKENS, STATE)
    path = only_file(tmp_path)
    foreign = path.read_bytes()
    store(tmp_path, model="b" * 64).save(TOKENS, STATE)
    (other,) = [file for file in (tmp_path / "kv").iterdir() if file != path]
    other.write_bytes(foreign)
    assert store(tmp_path, model="b" * 64).load(TOKENS) is None


def test_a_file_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    store(tmp_path).save(TOKENS, STATE)
    only_file(tmp_path).chmod(0o666)
    assert store(tmp_path).load(TOKENS) is None


def test_the_oldest_are_deleted_past_the_limit(tmp_path: Path) -> None:
    snapshots = store(tmp_path, max_bytes=2 * len(STATE) + 1000)
    for number in range(4):
        snapshots.save([number], STATE)
    assert snapshots.load([3]) == STATE
    assert len(list((tmp_path / "kv").iterdir())) == 2


def test_forgetting(tmp_path: Path) -> None:
    snapshots = store(tmp_path)
    snapshots.save(TOKENS, STATE)
    snapshots.delete(TOKENS)
    snapshots.delete(TOKENS)
    assert not snapshots.exists(TOKENS)
