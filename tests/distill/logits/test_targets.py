"""An example always gets its own teacher's rows: shuffled, over epochs, accumulated, from several processes, and
from a live teacher as from a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from distill_fakes import TOKENIZER_HASH, FakeScorer, fake_examples, rows_of
from torch.utils.data import DataLoader, Dataset

from distill.examples import Example
from distill.logits.capture import capture
from distill.logits.online import OnlineTargets, StoreTargets
from distill.logits.store import LogitStore
from distill.recipe import Capture
from distill.teachers.base import ScoreRequest, TopK
from serve.errors import NotFound, Unprocessable

EXAMPLES = fake_examples(48)
SETTINGS = Capture(shard_tokens=200)
Row = tuple[int, int, float, float]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LogitStore:
    folder = tmp_path_factory.mktemp("store")
    capture(EXAMPLES, FakeScorer(), folder, SETTINGS, tokenizer_hash=TOKENIZER_HASH, seed=1)
    return LogitStore.open(folder)


def online(scorer: FakeScorer, **settings: int) -> OnlineTargets:
    return OnlineTargets(scorer, SETTINGS, tokenizer_hash=TOKENIZER_HASH, seed=1, **settings)


class Fed(Dataset[list[Row]]):
    """What a training set does: hand each example its own rows, as (token before, token, its logprob, likeliest)."""

    def __init__(self, targets: Callable[[Example], TopK]) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return len(EXAMPLES)

    def __getitem__(self, at: int) -> list[Row]:
        example = EXAMPLES[at]
        rows = self.targets(example)
        return [
            (at, int(position), float(rows.target_logprobs[row]), float(rows.ids[row, 0]))
            for row, position in enumerate(example.positions)
        ]


def assert_aligned(batch: list[list[Row]]) -> None:
    for rows in batch:
        for at, position, logprob, likeliest in rows:
            expected = rows_of(EXAMPLES[at].ids, np.array([position], np.int32), 10)
            assert logprob == pytest.approx(float(expected.target_logprobs[0]), rel=1 / 1024)
            assert likeliest == expected.ids[0, 0]


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (5, 0), (16, 0), (5, 2)])
def test_shuffled_over_epochs_and_readers_every_row_is_its_own(
    store: LogitStore, batch: int, workers: int
) -> None:
    """Any micro batch size is any accumulation; two spawned workers are two readers."""
    loader = DataLoader(
        Fed(StoreTargets(store)),
        batch_size=batch,
        shuffle=True,
        generator=torch.Generator().manual_seed(batch),
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
    )
    orders = []
    for _ in range(2):
        order = []
        for rows in loader:
            assert_aligned(rows)
            order += [one[0][0] for one in rows]
        assert sorted(order) == list(range(len(EXAMPLES)))
        orders.append(order)
    assert orders[0] != orders[1], "shuffled anew"


def test_a_live_teacher_gives_what_the_store_gives_bit_for_bit(store: LogitStore) -> None:
    targets, live = StoreTargets(store), online(FakeScorer())
    for example in EXAMPLES:
        ours, theirs = live(example), targets(example)
        assert (ours.ids == theirs.ids).all()
        assert (ours.logprobs == theirs.logprobs).all()
        assert (ours.target_logprobs == theirs.target_logprobs).all()
    live.close()


def test_a_live_teacher_stays_aligned_through_shuffles_and_scores_once() -> None:
    scorer = FakeScorer()
    live = online(scorer)
    fed = Fed(live)
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(len(EXAMPLES))
        batches = [order[start : start + 8] for start in range(0, len(order), 8)]
        live.expect(EXAMPLES[at] for at in batches[0])
        for number, batch in enumerate(batches):
            if number + 1 < len(batches):
                live.expect(EXAMPLES[at] for at in batches[number + 1])
            assert_aligned([fed[at] for at in batch])
    live.close()
    assert len(scorer.scored) == len(EXAMPLES)


def test_a_live_teacher_that_may_keep_little_scores_again_rightly() -> None:
    scorer = FakeScorer()
    live = online(scorer, kept_positions=60)
    for _ in range(2):
        live.expect(EXAMPLES)
        assert_aligned([Fed(live)[at] for at in range(len(EXAMPLES))])
    live.close()
    assert len(scorer.scored) > len(EXAMPLES)


class _Slow(FakeScorer):
    """Waits to be let on, so that a test sees what runs meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = threading.Event(), threading.Event()

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        self.began.set()
        assert self.go.wait(20)
        yield from super().score(requests, top_k, draws=draws, seed=seed)


def test_what_is_expected_is_scored_while_the_student_computes() -> None:
    scorer = _Slow()
    live = online(scorer)
    live.expect(EXAMPLES[:4])
    assert scorer.began.wait(20), "nobody has asked for rows yet"
    live.expect(EXAMPLES[:4])
    scorer.go.set()
    assert_aligned([Fed(live)[at] for at in range(4)])
    live.close()
    assert len(scorer.scored) == 4


def test_a_live_teachers_failure_reaches_training() -> None:
    live = online(FakeScorer(fail_after=2))
    live.expect(EXAMPLES[:6])
    with pytest.raises(ConnectionError, match="went away"):
        for example in EXAMPLES[:6]:
            live(example)
    live.close()


class _Silent(FakeScorer):
    """Leaves every request but the first without an answer."""

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        return super().score(requests[:1], top_k, draws=draws, seed=seed)


def test_a_live_teacher_that_leaves_examples_out_is_told() -> None:
    live = online(_Silent())
    live.expect(EXAMPLES[:3])
    with pytest.raises(Unprocessable, match="left 2 of 3 examples"):
        for example in EXAMPLES[:3]:
            assert live(example) is not None
    live.close()


def test_a_live_teacher_of_another_family_is_refused() -> None:
    with pytest.raises(Unprocessable, match="another tokenizer"):
        online(FakeScorer(tokenizer_hash="0" * 64))


def test_what_was_not_captured_is_told_before_the_first_step(store: LogitStore) -> None:
    strangers = fake_examples(3, seed=9)
    targets = StoreTargets(store)
    targets.require(EXAMPLES)
    with pytest.raises(Unprocessable, match="lacks 3 examples"):
        targets.require([*EXAMPLES, *strangers])
    with pytest.raises(NotFound):
        targets(strangers[0])


def test_the_same_tokens_with_other_positions_are_another_example(store: LogitStore) -> None:
    example = next(one for one in EXAMPLES if len(one.positions) > 3)
    fewer = Example(example.record_id, example.ids, example.positions[1:])
    assert fewer.key not in store
