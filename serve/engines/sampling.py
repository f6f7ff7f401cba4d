"""From one row of logits to one token: greedy or nucleus sampling, with logprobs. Plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve.engines.base import TokenMask

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """The token chosen and its natural-log probability at temperature 1 over all tokens."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class DeadEnd(Exception):
    """A constraint allows no token at all."""


def sample(
    logits: Logits,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    rng: np.random.Generator | None = None,
    mask: TokenMask | None = None,
    top_logprobs: int = 0,
) -> Sample:
    """Choose a token from `logits`, shape [vocabulary].

    `mask` removes tokens before the choice but not from the reported probabilities. Nucleus
    sampling as in Holtzman et al. 2019 (arXiv 1904.09751). Raises DeadEnd when the mask is empty.
    """
    peak = float(logits.max())
    log_total = peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))
    allowed = logits
    if mask is not None:
        if not mask.any():
            raise DeadEnd
        allowed = np.where(mask[: len(logits)], logits, -np.inf)
    token = (
        int(allowed.argmax()) if temperature <= 0 or rng is None else _draw(allowed, temperature, top_p, rng)
    )
    return Sample(token, float(logits[token]) - log_total, _top(logits, log_total, top_logprobs))


def _draw(logits: Logits, temperature: float, top_p: float, rng: np.random.Generator) -> int:
    """Gumbel-max sampling: noise by token id, then argmax. A rounding difference in the logits can
    then change the draw only where two tokens' noisy scores nearly tie, as in greedy decoding."""
    scaled = logits / np.float32(temperature)
    noise = rng.random(len(logits), np.float32)
    scores = scaled - np.log(-np.log(np.maximum(noise, np.finfo(np.float32).tiny)))
    if top_p < 1.0:
        scores[~_nucleus(scaled, top_p)] = -np.inf
    return int(scores.argmax())


def _nucleus(scaled: Logits, top_p: float) -> NDArray[np.bool_]:
    """The smallest set of likeliest tokens whose probability sums to `top_p`."""
    weights = np.exp((scaled - scaled.max()).astype(np.float64))
    weights /= weights.sum()
    order = np.argsort(-weights, kind="stable")
    keep = int(np.searchsorted(np.cumsum(weights[order]), top_p)) + 1
    inside = np.zeros(len(scaled), np.bool_)
    inside[order[:keep]] = True
    return inside


def _top(logits: Logits, log_total: float, count: int) -> tuple[tuple[int, float], ...]:
    if count <= 0:
        return ()
    candidates = np.argpartition(-logits, count - 1)[:count]
    best = candidates[np.argsort(-logits[candidates], kind="stable")]
    return tuple((int(token), float(logits[token]) - log_total) for token in best)
