"""From a row of logits to what is kept of it: the K likeliest tokens, or draws, and the token that stands there.

Plain numpy, for teachers whose logits come to the host row by row (llama.cpp). Knows no model.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from distill.teachers.base import ScoreRequest, TopK

Logits = NDArray[np.float32]


class Rows:
    """The rows of one request, filled in as they are computed."""

    def __init__(self, request: ScoreRequest, top_k: int, draws: int, seed: int) -> None:
        count = len(request.positions)
        self._targets = request.ids[request.positions]
        self._top_k = top_k
        self._draws = draws
        self._uniforms = draw_uniforms(request, draws, seed) if draws else None
        self.top = empty(count, top_k)
        self.missing = count

    def fill(self, row: int, logits: Logits) -> None:
        """`logits` over the real ids, [V], belong to `positions[row]`."""
        log_total = log_sum_exp(logits)
        self.top.target_logprobs[row] = logits[self._targets[row]] - log_total
        if self._uniforms is None:
            ids = largest(logits, self._top_k)
            logprobs = logits[ids] - log_total
        else:
            ids, logprobs = drawn(logits, self._uniforms[row], self._top_k)
        self.top.ids[row, : len(ids)] = ids
        self.top.logprobs[row, : len(ids)] = logprobs
        self.missing -= 1


def empty(rows: int, top_k: int) -> TopK:
    """Nothing known yet: id -1 and logprob -inf everywhere."""
    return TopK(
        ids=np.full((rows, top_k), -1, np.int32),
        logprobs=np.full((rows, top_k), -np.inf, np.float32),
        target_logprobs=np.full(rows, -np.inf, np.float32),
    )


def log_sum_exp(logits: Logits) -> float:
    """log of the sum of exp, summed in float64."""
    peak = float(logits.max())
    return peak + float(np.log(np.exp(logits - peak).sum(dtype=np.float64)))


def largest(logits: Logits, count: int) -> NDArray[np.int64]:
    """Indices of the `count` largest (all, when there are fewer), largest first."""
    if count >= len(logits):
        return np.argsort(-logits, kind="stable")
    candidates = np.argpartition(-logits, count - 1)[:count]
    return candidates[np.argsort(-logits[candidates], kind="stable")]


def drawn(
    logits: Logits, uniforms: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draws from softmax(logits) by inversion, one for each of `uniforms` in [0, 1): the distinct ids, most
    frequent first, and log(count / draws). Of more than `most` distinct ones the rarest are left out."""
    cumulated = np.cumsum(np.exp(logits - logits.max()), dtype=np.float64)
    ids = np.searchsorted(cumulated, uniforms * cumulated[-1], side="right")
    found, counts = np.unique(np.minimum(ids, len(logits) - 1), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return found[order], np.log(counts[order] / len(uniforms))


def draw_uniforms(request: ScoreRequest, draws: int, seed: int) -> NDArray[np.float64]:
    """[P, draws] in [0, 1), by the request's content and `seed`: the same in any order and batch."""
    digest = hashlib.sha256(np.ascontiguousarray(request.ids, "<i4").tobytes())
    digest.update(np.ascontiguousarray(request.positions, "<i4").tobytes())
    content = int.from_bytes(digest.digest()[:16], "big")
    generator = np.random.default_rng([seed & 0xFFFF_FFFF_FFFF_FFFF, content])
    return generator.random((len(request.positions), draws))


def check(request: ScoreRequest, number: int, real_vocabulary: int) -> None:
    """ValueError where positions or ids are out of range: they would be scored against the wrong rows."""
    ids, positions = request.ids, request.positions
    if len(ids) and (ids.min() < 0 or ids.max() >= real_vocabulary):
        raise ValueError(f"request {number}: token ids must lie between 0 and {real_vocabulary - 1}")
    if not len(positions):
        return
    if positions[0] < 1 or positions[-1] >= len(ids) or (np.diff(positions) <= 0).any():
        raise ValueError(f"request {number}: positions must ascend between 1 and {len(ids) - 1}")
