"""Capture: scores what the store lacks, once, keeps it at once, and believes no teacher blindly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distill_fakes import TOKENIZER_HASH, VOCABULARY, FakeScorer, fake_examples, rows_of

from distill.examples import Example
from distill.logits.capture import CaptureReport, capture
from distill.logits.rows import RowFormat
from distill.logits.store import LogitStore
from distill.recipe import Capture
from distill.teachers.base import ScoreRequest, TopK
from serve.errors import Unprocessable

EXAMPLES = fake_examples(40)
SETTINGS = Capture(shard_tokens=150)


def run(folder: Path, scorer: FakeScorer, examples: Sequence[Example] = EXAMPLES) -> CaptureReport:
    return capture(examples, scorer, folder, SETTINGS, tokenizer_hash=TOKENIZER_HASH, seed=1)


def assert_complete(folder: Path) -> None:
    store = LogitStore.open(folder, tokenizer_hash=TOKENIZER_HASH)
    assert len(store) == len(EXAMPLES)
    for example in EXAMPLES:
        expected = RowFormat(10).rounded(rows_of(example.ids, example.positions, 10))
        rows = store.get(example.key)
        assert (rows.ids == expected.ids).all()
        assert (rows.target_logprobs == expected.target_logprobs).all()


def test_each_distinct_example_is_scored_once(tmp_path: Path) -> None:
    scorer = FakeScorer()
    again = [replace(example, record_id="copy") for example in EXAMPLES[:7]]
    told: list[tuple[int, int]] = []
    report = capture(
        [*EXAMPLES, *again],
        scorer,
        tmp_path,
        SETTINGS,
        tokenizer_hash=TOKENIZER_HASH,
        seed=1,
        advance=lambda done, total: told.append((done, total)),
    )
    assert len(scorer.scored) == len(set(scorer.scored)) == report.captured_examples == len(EXAMPLES)
    assert told == [(done, len(EXAMPLES)) for done in range(len(EXAMPLES) + 1)]
    assert_complete(tmp_path)


def test_the_report_counts_what_was_measured(tmp_path: Path) -> None:
    report = run(tmp_path, FakeScorer())
    rows = [rows_of(example.ids, example.positions, 10) for example in EXAMPLES]
    positions = sum(len(example.positions) for example in EXAMPLES)
    missing = 1 - sum(float(np.exp(one.logprobs).sum()) for one in rows) / positions
    assert report.positions == report.captured_positions == positions
    assert report.scored_tokens == sum(len(example.ids) for example in EXAMPLES)
    assert report.missing_mass_mean == pytest.approx(missing, abs=1e-3)
    nll = -sum(float(one.target_logprobs.sum()) for one in rows) / positions
    assert report.teacher_nll_mean == pytest.approx(nll, abs=2e-3)
    assert report.seconds > 0 and report.tokens_per_s > 0


def test_examples_that_share_a_prefix_are_neighbours(tmp_path: Path) -> None:
    scorer = _Ordered()
    run(tmp_path, scorer)
    firsts = [int(ids[0]) for ids in scorer.seen]
    assert firsts == sorted(firsts)


class _Ordered(FakeScorer):
    seen: list[np.ndarray[tuple[int], np.dtype[np.int32]]]

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        self.seen = [request.ids for request in requests]
        return super().score(requests, top_k, draws=draws, seed=seed)


def test_a_teacher_that_goes_away_loses_nothing_scored(tmp_path: Path) -> None:
    broken = FakeScorer(fail_after=25)
    with pytest.raises(ConnectionError):
        run(tmp_path, broken)
    second = FakeScorer()
    report = run(tmp_path, second)
    assert len(broken.scored) == 25
    assert report.captured_examples == len(second.scored) == len(EXAMPLES) - 25
    assert not set(broken.scored) & set(second.scored)
    assert_complete(tmp_path)
    assert run(tmp_path, FakeScorer(fail_after=0)).captured_examples == 0


def test_only_the_examples_of_a_damaged_shard_are_captured_again(tmp_path: Path) -> None:
    run(tmp_path, FakeScorer())
    victim = sorted(tmp_path.glob("shard-*"))[1]
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unprocessable, match=victim.name):
        LogitStore.open(tmp_path)
    scorer = FakeScorer()
    report = run(tmp_path, scorer)
    assert victim.name in report.repaired[0]
    assert 0 < len(scorer.scored) < 10
    assert_complete(tmp_path)


def test_a_teacher_of_another_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="another tokenizer"):
        run(tmp_path / "store", FakeScorer(tokenizer_hash="0" * 64))
    assert not (tmp_path / "store").exists()


def test_ids_of_padded_rows_are_refused(tmp_path: Path) -> None:
    padded = Example("padded", np.array([1, VOCABULARY], np.int32), np.array([1], np.int32))
    with pytest.raises(Unprocessable, match=r"record padded has token id 200"):
        run(tmp_path, FakeScorer(), [padded])


def test_vocabularies_that_are_padded_differently_share_a_store(tmp_path: Path) -> None:
    """The hash is of the real tokens: 151936 rows or 152064, the ids mean the same."""
    run(tmp_path, FakeScorer())
    manifest = LogitStore.open(tmp_path, tokenizer_hash=TOKENIZER_HASH).manifest
    assert manifest.real_vocabulary == VOCABULARY and manifest.temperature == 1


class _Garbage(FakeScorer):
    """A teacher with one fault, in its tenth answer."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        for count, (at, rows) in enumerate(super().score(requests, top_k, draws=draws, seed=seed)):
            if count < 9:
                yield at, rows
            elif self.fault != "silent":
                yield at, self._spoilt(rows, requests[at])

    def _spoilt(self, rows: TopK, request: ScoreRequest) -> TopK:
        if self.fault == "shifted":
            rows = rows_of(request.ids, request.positions - 1, 10)
            return replace(rows, target_logprobs=rows_of(request.ids, request.positions, 10).target_logprobs)
        if self.fault == "nan":
            rows.logprobs[0, 3] = np.nan
        elif self.fault == "padding":
            rows.ids[0, 9] = VOCABULARY
        elif self.fault == "logits":
            rows.logprobs[:] += 8
        elif self.fault == "short":
            return TopK(rows.ids[1:], rows.logprobs[1:], rows.target_logprobs[1:])
        elif self.fault == "empty":
            rows.ids[0], rows.logprobs[0] = -1, -np.inf
        return rows


@pytest.mark.parametrize("fault", ["shifted", "nan", "padding", "logits", "short", "empty", "silent"])
def test_a_teacher_that_answers_garbage_is_told_and_what_was_good_is_kept(tmp_path: Path, fault: str) -> None:
    examples = fake_examples(40, longest=60)
    with pytest.raises(Unprocessable, match="teacher fake") as told:
        run(tmp_path, _Garbage(fault), examples)
    assert "record-" in told.value.message
    scorer = FakeScorer()
    run(tmp_path, scorer, examples)
    assert len(scorer.scored) == 31


def test_sampled_targets_are_kept_as_counts(tmp_path: Path) -> None:
    settings = Capture(top_k=24, draws=50)
    capture(EXAMPLES, FakeScorer(), tmp_path, settings, tokenizer_hash=TOKENIZER_HASH, seed=3)
    store = LogitStore.open(tmp_path)
    assert (store.manifest.kind, store.manifest.draws) == ("sampled", 50)
    for example in EXAMPLES:
        rows = store.get(example.key)
        expected = rows_of(example.ids, example.positions, 24, draws=50, seed=3)
        assert (rows.ids == expected.ids).all()
        np.testing.assert_allclose(np.exp(rows.logprobs), np.exp(expected.logprobs), atol=1e-6)


def test_fewer_tokens_than_k_leave_places_unused(tmp_path: Path) -> None:
    settings = Capture(top_k=VOCABULARY + 5)
    capture(EXAMPLES[:3], FakeNarrow(), tmp_path, settings, tokenizer_hash=TOKENIZER_HASH, seed=3)
    rows = LogitStore.open(tmp_path).get(EXAMPLES[0].key)
    assert rows.ids.shape[1] == VOCABULARY + 5
    assert (rows.ids[:, VOCABULARY:] == -1).all() and np.isneginf(rows.logprobs[:, VOCABULARY:]).all()


class FakeNarrow(FakeScorer):
    """Reports no more places than there are tokens."""

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        return super().score(requests, min(top_k, VOCABULARY), draws=draws, seed=seed)


def test_impossible_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="draws"):
        capture([], FakeScorer(), tmp_path, Capture(draws=70_000), tokenizer_hash=TOKENIZER_HASH, seed=1)
