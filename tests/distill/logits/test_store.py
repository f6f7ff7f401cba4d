"""A store: what goes in comes out, from any process, and what is damaged is named and lost alone."""

from __future__ import annotations

import multiprocessing
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from distill_fakes import TOKENIZER_HASH, VOCABULARY, fake_examples, rows_of

from distill.examples import Example
from distill.logits.manifest import StoreManifest
from distill.logits.rows import RowFormat
from distill.logits.store import LogitStore
from distill.logits.writer import StoreWriter
from distill.teachers.base import TopK
from serve.errors import Conflict, DistilsqlError, NotFound, Unprocessable

EXAMPLES = fake_examples(60)
MANIFEST = StoreManifest.of(
    tokenizer_hash=TOKENIZER_HASH, real_vocabulary=VOCABULARY, teacher="fake", top_k=10
)


def true_rows(example: Example) -> TopK:
    return rows_of(example.ids, example.positions, 10)


def write(folder: Path, examples: list[Example] = EXAMPLES, *, shard_tokens: int = 200) -> None:
    with StoreWriter(folder, MANIFEST, shard_tokens=shard_tokens) as writer:
        for example in examples:
            writer.add(example.key, true_rows(example))


def assert_right(store: LogitStore, examples: list[Example]) -> None:
    """Every example has its own rows."""
    for example in examples:
        rows, expected = store.get(example.key), RowFormat(10).rounded(true_rows(example))
        assert (rows.ids == expected.ids).all()
        assert (rows.logprobs == expected.logprobs).all()
        assert (rows.target_logprobs == expected.target_logprobs).all()


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.logits"))


def test_every_example_comes_back_from_several_shards(tmp_path: Path) -> None:
    write(tmp_path)
    assert len(shards(tmp_path)) > 3
    store = LogitStore.open(tmp_path, tokenizer_hash=TOKENIZER_HASH)
    assert_right(store, EXAMPLES)
    assert set(store.keys()) == {example.key for example in EXAMPLES}
    assert len(store) == len(EXAMPLES)
    assert store.positions == sum(len(example.positions) for example in EXAMPLES)
    assert store.damaged() == []


def test_an_unknown_key_is_told(tmp_path: Path) -> None:
    write(tmp_path)
    store = LogitStore.open(tmp_path)
    assert "ab" * 32 not in store
    with pytest.raises(NotFound, match="capture"):
        store.get("ab" * 32)


def test_a_key_that_shares_its_first_bytes_gets_its_own_rows(tmp_path: Path) -> None:
    """The index holds eight bytes of a key; the rest decides."""
    twins = ["00" * 8 + "aa" * 24, "00" * 8 + "bb" * 24]
    with StoreWriter(tmp_path, MANIFEST) as writer:
        for key, example in zip(twins, EXAMPLES, strict=False):
            writer.add(key, true_rows(example))
    store = LogitStore.open(tmp_path)
    for key, example in zip(twins, EXAMPLES, strict=False):
        assert (store.get(key).ids == true_rows(example).ids).all()
    with pytest.raises(Unprocessable, match="shard-00000"):
        store.get("00" * 8 + "cc" * 24)


def test_a_long_example_costs_52_bytes_a_token_and_little_more(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, 101).astype(np.int32)
    long = Example("long", ids, np.arange(1, 101, dtype=np.int32))
    write(tmp_path, [long])
    store = LogitStore.open(tmp_path)
    assert 52 <= store.size_bytes / store.positions < 54


def test_adding_again_keeps_one(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path)
    assert len(LogitStore.open(tmp_path)) == len(EXAMPLES)


def _read_all(store: LogitStore, seed: int, answers: multiprocessing.Queue[str]) -> None:
    try:
        order = np.random.default_rng(seed).permutation(len(EXAMPLES))
        assert_right(store, [EXAMPLES[at] for at in order])
        answers.put("")
    except BaseException as error:  # noqa: BLE001 - told to the test
        answers.put(repr(error))


def test_several_processes_read_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    store = LogitStore.open(tmp_path)
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    readers = [context.Process(target=_read_all, args=(store, seed, answers)) for seed in range(3)]
    for reader in readers:
        reader.start()
    assert [answers.get(timeout=60) for _ in readers] == ["", "", ""]
    for reader in readers:
        reader.join()


def test_one_writer_at_a_time_and_readers_meanwhile(tmp_path: Path) -> None:
    write(tmp_path, EXAMPLES[:30])
    with StoreWriter(tmp_path, MANIFEST) as writer:
        writer.add(EXAMPLES[40].key, true_rows(EXAMPLES[40]))
        with pytest.raises(Conflict, match="another process"):
            StoreWriter(tmp_path, MANIFEST)
        assert_right(LogitStore.open(tmp_path), EXAMPLES[:30])


@pytest.mark.parametrize(
    ("field", "value"), [("tokenizer_hash", "0" * 64), ("top_k", 5), ("teacher", "other"), ("draws", 9)]
)
def test_a_store_of_something_else_is_not_mixed_with(tmp_path: Path, field: str, value: str | int) -> None:
    write(tmp_path)
    other = MANIFEST.model_copy(update={field: value})
    with pytest.raises(Unprocessable, match=rf"{field}.*another folder"):
        StoreWriter(tmp_path, other)


def test_a_store_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(Unprocessable, match="another tokenizer"):
        LogitStore.open(tmp_path, tokenizer_hash="0" * 64)


def test_a_shard_of_another_store_is_named(tmp_path: Path) -> None:
    write(tmp_path / "mine")
    with StoreWriter(tmp_path / "other", MANIFEST.model_copy(update={"teacher": "other"})) as writer:
        writer.add(EXAMPLES[0].key, true_rows(EXAMPLES[0]))
    shards(tmp_path / "other")[0].rename(tmp_path / "mine" / "shard-00001.logits")
    for opens in (
        lambda: LogitStore.open(tmp_path / "mine"),
        lambda: StoreWriter(tmp_path / "mine", MANIFEST),
    ):
        with pytest.raises(Unprocessable, match=r"shard-00001.*another logit store"):
            opens()


def test_no_store_and_a_broken_manifest_are_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="capture"):
        LogitStore.open(tmp_path)
    write(tmp_path)
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[:40])
    with pytest.raises(Unprocessable, match=r"manifest\.json is damaged"):
        LogitStore.open(tmp_path)
    manifest.write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(Unprocessable, match="version is 2"):
        LogitStore.open(tmp_path)


def test_any_cut_of_a_shard_is_named_and_costs_only_what_was_cut(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    whole = tmp_path / "whole"
    write(whole, EXAMPLES[:12])
    victim = shards(whole)[0].name
    content = (whole / victim).read_bytes()
    most = 0
    for cut in [0, 1, 35, 36, len(content) - 1, *random.integers(37, len(content), 10)]:
        path = whole / victim
        path.write_bytes(content[:cut])
        with pytest.raises(Unprocessable, match=rf"{victim}.*capture stage again"):
            LogitStore.open(whole)
        with StoreWriter(whole, MANIFEST) as writer:
            assert victim in writer.repaired[0]
            kept = [example for example in EXAMPLES[:12] if example.key in writer]
        assert_right(LogitStore.open(whole), kept)
        most = max(most, len(kept))
        path.write_bytes(content)
    assert most > 5


def test_a_changed_byte_anywhere_is_found_and_costs_one_example(tmp_path: Path) -> None:
    write(tmp_path)
    victim = shards(tmp_path)[1]
    content = victim.read_bytes()
    random = np.random.default_rng(4)
    for at in [
        0,
        10,
        35,
        36,
        40,
        44,
        50,
        len(content) - 1,
        len(content) - 30,
        len(content) - 36,
        len(content) - 48,
        *random.integers(36, len(content), 20),
    ]:
        damaged = bytearray(content)
        damaged[at] ^= 0x40
        victim.write_bytes(damaged)
        found = ""
        try:
            store = LogitStore.open(tmp_path)
            for example in EXAMPLES:
                if example.key in store:
                    store.get(example.key)
            found = "".join(store.damaged())
        except Unprocessable as error:
            found = error.message
        padding = not found  # Up to three bytes behind an example that mean nothing.
        if padding:
            assert_right(LogitStore.open(tmp_path), EXAMPLES)
        else:
            assert victim.name in found
        with StoreWriter(tmp_path, MANIFEST) as writer:
            lost = [example for example in EXAMPLES if example.key not in writer]
            assert bool(writer.repaired) is not padding
        assert len(lost) <= 1
        store = LogitStore.open(tmp_path)
        assert store.damaged() == []
        assert_right(store, [example for example in EXAMPLES if example not in lost])
        victim.write_bytes(content)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    """A real limit of the kernel on a file's size: writes come up short, then fail."""
    child = multiprocessing.get_context("fork").Process(target=_write_under_limit, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 0
    told = (tmp_path / "told").read_text()
    kept = int(told.split(" ")[0])
    assert "Make room" in told and "are kept" in told
    assert 0 < kept < len(EXAMPLES)
    with StoreWriter(tmp_path, MANIFEST) as writer:
        assert len(writer) == kept
        assert writer.repaired == []
        for example in EXAMPLES:
            writer.add(example.key, true_rows(example))
    assert_right(LogitStore.open(tmp_path), EXAMPLES)


def _write_under_limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    count = 0
    try:
        with StoreWriter(folder, MANIFEST) as writer:
            for example in EXAMPLES:
                writer.add(example.key, true_rows(example))
                count += 1
    except DistilsqlError as error:
        (folder / "told").write_text(f"{count} {error.message}")


def test_no_room_for_the_index_keeps_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(tmp_path, MANIFEST)
    for example in EXAMPLES:
        writer.add(example.key, true_rows(example))
    with monkeypatch.context() as full:
        full.setattr("os.write", _no_space)
        with pytest.raises(DistilsqlError, match="No space left"):
            writer.close()
    writer.close()
    assert_right(LogitStore.open(tmp_path), EXAMPLES)


_WRITE = os.write


def _no_space(file: int, data: memoryview) -> int:
    """As the kernel does: what fits first, then the error."""
    if len(data) > 100:
        return _WRITE(file, data[:-50])
    raise OSError(28, "No space left on device")
