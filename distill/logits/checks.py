"""Whether a teacher's rows can be what they say: checked before anything is stored or learned.

Rows shifted by one position, of another example, or over another vocabulary look like good rows. They are told by
the token that really stands there: where it is among the K, its log-probability is known twice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from distill.examples import Example
from distill.recipe import Capture
from distill.teachers.base import Scorer, TopK
from serve.errors import Unprocessable

_AGREE = 0.02
"""Nats between two roundings (bfloat16, float32) of the same log-probability, relative above 1 nat."""
_MASS = 1e-3
"""What rounding may add to a mass of 1."""


def check_rows(example: Example, rows: TopK, scorer: Scorer, settings: Capture) -> None:
    """Unprocessable naming the teacher, the record and what is wrong with its rows."""
    wrong = _wrong(example, rows, scorer.real_vocabulary, settings)
    if wrong:
        raise Unprocessable(
            f"teacher {scorer.name} gave rows for record {example.record_id} that cannot be: {wrong}. Nothing of this "
            "example was stored; check the teacher's model and version"
        )


def _wrong(example: Example, rows: TopK, real_vocabulary: int, settings: Capture) -> str:
    positions = len(example.positions)
    if (
        len(rows.ids) != positions
        or len(rows.logprobs) != positions
        or len(rows.target_logprobs) != positions
    ):
        return f"{len(rows.ids)} rows for {positions} positions"
    if rows.ids.shape != rows.logprobs.shape or not 1 <= rows.ids.shape[1] <= settings.top_k:
        return f"ids {rows.ids.shape} and log-probabilities {rows.logprobs.shape} at K = {settings.top_k}"
    if np.isnan(rows.logprobs).any() or np.isnan(rows.target_logprobs).any():
        return "a log-probability is not a number"
    if rows.ids.max() >= real_vocabulary or rows.ids.min() < -1:
        return f"token ids from {rows.ids.min()} to {rows.ids.max()} in a vocabulary of {real_vocabulary}"
    used = rows.ids >= 0
    mass = np.where(used, np.exp(rows.logprobs.astype(np.float64)), 0.0).sum(axis=1)
    if (mass > 1 + _MASS).any():
        return f"probabilities sum to {mass.max():.4g}"
    if (rows.target_logprobs > _MASS).any():
        return f"the true token's log-probability is {rows.target_logprobs.max():.4g}"
    if not used.any(axis=1).all():
        return f"position {example.positions[np.argmin(used.any(axis=1))]} has no token at all"
    return "" if settings.draws else _misaligned(example, rows, used)


def _misaligned(example: Example, rows: TopK, used: NDArray[np.bool_]) -> str:
    """Of the K likeliest: the true token's log-probability against the row it should be in."""
    targets = example.ids[example.positions]
    here = used & (rows.ids == targets[:, None])
    named = np.where(here, rows.logprobs, -np.inf).max(axis=1)
    least = np.where(used, rows.logprobs, np.inf).min(axis=1)
    room = _AGREE * np.maximum(1.0, np.abs(rows.target_logprobs))
    with np.errstate(invalid="ignore"):
        differs = here.any(axis=1) & ~(np.abs(named - rows.target_logprobs) <= room)
        # What is not among the K is no likelier than the least of them.
        outside = ~here.any(axis=1) & used.all(axis=1) & (rows.target_logprobs > least + room)
    both_none = np.isneginf(named) & np.isneginf(rows.target_logprobs)
    bad = np.flatnonzero((differs & ~both_none) | outside)
    if not bad.size:
        return ""
    at = int(bad[0])
    return (
        f"at position {example.positions[at]} the true token {targets[at]} has log-probability "
        f"{rows.target_logprobs[at]:.4g}, which its row contradicts (rows of another position or example?)"
    )
