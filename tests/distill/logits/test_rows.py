"""What is lost when a distribution is packed, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from distill_fakes import VOCABULARY, distribution, rows_of

from distill.logits.rows import RowFormat
from distill.teachers.base import TopK

IDS = np.random.default_rng(5).integers(0, VOCABULARY, 400).astype(np.int32)
POSITIONS = np.arange(1, 400, dtype=np.int32)


def test_ten_tokens_take_52_bytes() -> None:
    packed = RowFormat(10).pack(rows_of(IDS, POSITIONS, 10))
    assert len(packed) == 52 * len(POSITIONS)


def test_ids_come_back_exactly_and_logprobs_within_a_2048th() -> None:
    rows = rows_of(IDS, POSITIONS, 10)
    back = RowFormat(10).rounded(rows)
    assert (back.ids == rows.ids).all()
    assert (np.abs(back.logprobs - rows.logprobs) <= np.abs(rows.logprobs) / 2048 + 1e-7).all()
    error = np.abs(back.target_logprobs - rows.target_logprobs)
    assert (error <= np.abs(rows.target_logprobs) / 2048 + 1e-7).all()
    assert np.abs(np.exp(back.logprobs) - np.exp(rows.logprobs)).max() < 1.8e-4


def test_the_divergence_of_what_is_stored_is_far_below_what_is_learned() -> None:
    """KL(captured, stored) with the tail as a bucket: within entropy / 2048, and 1e-6 nats in the mean."""
    rows = rows_of(IDS, POSITIONS, 10)
    back = RowFormat(10).rounded(rows)
    entropy = np.array([-(np.exp(lp) * lp).sum() for lp in (distribution(IDS, int(t)) for t in POSITIONS)])
    p, q = np.exp(rows.logprobs.astype(np.float64)), np.exp(back.logprobs.astype(np.float64))
    p_tail, q_tail = 1 - p.sum(axis=1), np.maximum(1 - q.sum(axis=1), 1e-12)
    kl = (p * np.log(p / q)).sum(axis=1) + p_tail * np.log(p_tail / q_tail)
    assert np.abs(kl).max() < entropy.max() / 2048
    assert np.abs(kl).mean() < 1e-6


def test_a_small_missing_mass_beside_a_sure_token_is_kept() -> None:
    logprobs = np.log(np.array([[0.999, 0.0004]], np.float32))
    rows = TopK(np.array([[7, 9]], np.int32), logprobs, logprobs[:, 0])
    back = RowFormat(2).rounded(rows)
    assert 1 - np.exp(back.logprobs.astype(np.float64)).sum() == pytest.approx(0.0006, rel=2e-3)


def test_unused_places_huge_ids_and_extreme_logprobs_survive() -> None:
    rows = TopK(
        np.array([[0, 0x7FFFFF, -1], [151664, -1, -1]], np.int32),
        np.array([[-1e-6, -1e6, -np.inf], [1e-6, -np.inf, -np.inf]], np.float32),
        np.array([-np.inf, 0.0], np.float32),
    )
    back = RowFormat(3).rounded(rows)
    assert (back.ids == rows.ids).all()
    assert (np.isneginf(back.logprobs) == (rows.ids == -1)).all(), "finite stays finite"
    assert back.logprobs[1, 0] == 0, "rounding above probability 1 is cut off"
    assert np.isneginf(back.target_logprobs[0])


def test_sampled_counts_are_exact() -> None:
    rows = rows_of(IDS, POSITIONS, 24, draws=50)
    back = RowFormat(24, draws=50).rounded(rows)
    assert (back.ids == rows.ids).all()
    np.testing.assert_allclose(np.exp(back.logprobs) * 50, np.rint(np.exp(rows.logprobs) * 50), atol=1e-4)
    assert (np.isneginf(back.logprobs) == (back.ids == -1)).all()


@pytest.mark.parametrize("wrong", ["nan", "shape", "unused", "counts"])
def test_what_is_no_distribution_is_refused(wrong: str) -> None:
    rows = rows_of(IDS, POSITIONS, 10)
    packer = RowFormat(10)
    if wrong == "nan":
        rows.target_logprobs[3] = np.nan
    elif wrong == "shape":
        packer = RowFormat(9)
    elif wrong == "unused":
        rows.ids[0, 0] = -1
    else:
        packer = RowFormat(10, draws=50)
    with pytest.raises(ValueError):
        packer.pack(rows)
