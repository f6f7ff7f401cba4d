"""Greedy, nucleus and constrained choices from one row of logits."""

from __future__ import annotations

import numpy as np
import pytest

from serve.engines.sampling import DeadEnd, sample

LOGITS = np.log(np.array([0.1, 0.6, 0.05, 0.25], np.float32)) + np.float32(3.0)


def test_greedy_takes_the_likeliest_and_reports_its_true_logprob() -> None:
    chosen = sample(LOGITS)
    assert chosen.id == 1
    assert chosen.logprob == pytest.approx(np.log(0.6), abs=1e-5)


def test_a_mask_changes_the_choice_but_not_the_reported_probability() -> None:
    mask = np.array([True, False, True, True])
    chosen = sample(LOGITS, mask=mask)
    assert chosen.id == 3
    assert chosen.logprob == pytest.approx(np.log(0.25), abs=1e-5)


def test_a_mask_that_allows_nothing_is_a_dead_end() -> None:
    with pytest.raises(DeadEnd):
        sample(LOGITS, mask=np.zeros(4, np.bool_))


def test_top_logprobs_come_best_first() -> None:
    top = sample(LOGITS, top_logprobs=3).top
    assert [token for token, _ in top] == [1, 3, 0]
    assert [round(float(np.exp(logprob)), 2) for _, logprob in top] == [0.6, 0.25, 0.1]


def test_sampling_follows_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    draws = [sample(LOGITS, temperature=1.0, rng=rng).id for _ in range(4000)]
    shares = np.bincount(draws, minlength=4) / len(draws)
    assert np.abs(shares - [0.1, 0.6, 0.05, 0.25]).max() < 0.03


def test_low_temperature_sharpens() -> None:
    rng = np.random.default_rng(0)
    draws = [sample(LOGITS, temperature=0.2, rng=rng).id for _ in range(500)]
    assert draws.count(1) > 480


def test_nucleus_sampling_never_leaves_the_nucleus() -> None:
    rng = np.random.default_rng(0)
    draws = {sample(LOGITS, temperature=1.0, top_p=0.8, rng=rng).id for _ in range(1000)}
    assert draws == {1, 3}


def test_the_same_seed_draws_the_same_tokens_despite_rounding() -> None:
    noisy = LOGITS + np.float32(1e-4) * np.array([1, -1, 1, -1], np.float32)
    first, second = np.random.default_rng(7), np.random.default_rng(7)
    one = [sample(LOGITS, temperature=1.0, rng=first).id for _ in range(200)]
    two = [sample(noisy, temperature=1.0, rng=second).id for _ in range(200)]
    assert one == two
    assert len(set(one)) > 1


def test_sampling_respects_a_mask() -> None:
    rng = np.random.default_rng(0)
    mask = np.array([True, False, True, False])
    draws = {sample(LOGITS, temperature=1.5, rng=rng, mask=mask).id for _ in range(200)}
    assert draws == {0, 2}
