"""Rows of logits reduced to what is kept of them."""

from __future__ import annotations

import numpy as np

from distill.teachers import distribution
from distill.teachers.base import ScoreRequest


def _request(*ids: int) -> ScoreRequest:
    return ScoreRequest(np.array(ids, np.int32), np.arange(1, len(ids), dtype=np.int32))


def test_the_likeliest_are_those_of_a_full_sort() -> None:
    random = np.random.default_rng(0)
    for size in (1, 3, 10, 2000):
        logits = random.normal(size=size).astype(np.float32) * 5
        for count in (1, 3, 10):
            expected = np.argsort(-logits, kind="stable")[:count]
            assert distribution.largest(logits, count).tolist() == expected.tolist()


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([1000.0, 1000.0, -1000.0], np.float32)
    assert distribution.log_sum_exp(logits) == 1000.0 + np.log(2.0)
    ids, shares = distribution.drawn(logits, np.array([0.0, 0.49, 0.51, 0.999]), 5)
    assert sorted(ids.tolist()) == [0, 1] and np.allclose(shares, np.log(0.5))


def test_a_token_of_no_probability_is_never_drawn() -> None:
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf], np.float32)
    ids, _ = distribution.drawn(logits, np.array([0.0, 0.5, np.nextafter(1.0, 0.0)]), 5)
    assert set(ids.tolist()) <= {1, 3}


def test_more_distinct_draws_than_places_leave_the_rarest_out() -> None:
    ids, shares = distribution.drawn(np.zeros(4, np.float32), np.array([0.1, 0.1, 0.1, 0.3, 0.3, 0.6]), 2)
    assert ids.tolist() == [0, 1] and np.allclose(np.exp(shares), [3 / 6, 2 / 6])


def test_every_example_has_draws_of_its_own() -> None:
    one, other = _request(1, 2, 3), _request(1, 2, 4)
    same = distribution.draw_uniforms(_request(1, 2, 3), 5, 7)
    assert (distribution.draw_uniforms(one, 5, 7) == same).all() and same.shape == (2, 5)
    assert (distribution.draw_uniforms(other, 5, 7) != same).all()
    assert (distribution.draw_uniforms(one, 5, 8) != same).all()
    assert (same[0] != same[1]).all()
