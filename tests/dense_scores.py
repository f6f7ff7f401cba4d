"""What a teacher's scores have to be: the plain computation, one request at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.teachers.base import ScoreRequest, TopK


def dense_logprobs(model: Any, request: ScoreRequest, real: int) -> NDArray[np.float64]:
    """[P, real]: row j is log p(token | ids[:positions[j]]); each prefix is computed by itself, so that
    there is no shift to get wrong."""
    rows = []
    with torch.inference_mode():
        for position in request.positions:
            prefix = torch.from_numpy(request.ids[:position].astype(np.int64))[None]
            logits = model(input_ids=prefix).logits[0, -1, :real].double()
            rows.append(torch.log_softmax(logits, dim=-1).numpy())
    return np.array(rows).reshape(len(rows), real)


def assert_scores(found: TopK, dense: NDArray[np.float64], request: ScoreRequest, tolerance: float) -> None:
    """The K likeliest by `dense` (up to near ties), with their logprobs, and the target's at each position."""
    targets = request.ids[request.positions]
    np.testing.assert_allclose(
        found.target_logprobs, dense[np.arange(len(targets)), targets], atol=tolerance, rtol=0
    )
    for row in range(len(targets)):
        used = found.ids[row] >= 0
        ids, logprobs = found.ids[row][used], found.logprobs[row][used]
        assert len(set(ids.tolist())) == len(ids) == min(found.ids.shape[1], dense.shape[1])
        np.testing.assert_allclose(logprobs, dense[row, ids], atol=tolerance, rtol=0)
        assert (np.diff(logprobs) <= 0).all()
        np.testing.assert_allclose(logprobs, np.sort(dense[row])[::-1][: len(ids)], atol=tolerance, rtol=0)
        assert (found.ids[row][~used] == -1).all() and np.isneginf(found.logprobs[row][~used]).all()


def random_requests(
    count: int, real: int, *, longest: int = 60, shared: int = 0, seed: int = 0
) -> list[ScoreRequest]:
    """Random tokens; the first `shared` are the same in all, and each third request has its predecessor's start."""
    random = np.random.default_rng(seed)
    start = random.integers(0, real, shared).astype(np.int32)
    made: list[ScoreRequest] = []
    for number in range(count):
        length = int(random.integers(3, longest))
        ids = np.concatenate([start, random.integers(0, real, length).astype(np.int32)])
        if number % 3 == 2:
            before = made[-1].ids
            ids[: len(before) // 2] = before[: len(ids)][: len(before) // 2]
        first = int(random.integers(1, len(ids)))
        places = np.arange(first, len(ids), dtype=np.int32)
        if number % 4 == 3:
            places = places[random.random(len(places)) < 0.5]
        made.append(ScoreRequest(ids, places))
    return made
