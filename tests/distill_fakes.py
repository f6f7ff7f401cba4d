"""A teacher without a model: the distribution at a place is decided by the tokens before it, and by nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from distill.examples import Example
from distill.teachers.base import ScoreRequest, TopK

VOCABULARY = 200
TOKENIZER_HASH = "f" * 64


class FakeScorer:
    """Deterministic rows from a hash of ids[:t]; yields them out of order."""

    def __init__(self, *, fail_after: int | None = None, tokenizer_hash: str = TOKENIZER_HASH) -> None:
        self.name = "fake"
        self.tokenizer_hash = tokenizer_hash
        self.real_vocabulary = VOCABULARY
        self.fail_after = fail_after
        self.scored: list[bytes] = []
        """Ids of every request it has answered."""

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        order = [*range(0, len(requests), 2), *range(1, len(requests), 2)]
        for count, at in enumerate(order):
            if count == self.fail_after:
                raise ConnectionError("the teacher went away")
            self.scored.append(requests[at].ids.tobytes())
            yield at, rows_of(requests[at].ids, requests[at].positions, top_k, draws=draws, seed=seed)

    def close(self) -> None:
        """Nothing is open."""


def distribution(ids: NDArray[np.int32], position: int) -> NDArray[np.float64]:
    """[VOCABULARY] log-probabilities of the token at `position`, peaked as a language model's are."""
    random = np.random.default_rng(zlib.crc32(np.ascontiguousarray(ids[:position], "<i4").tobytes()))
    logits = random.normal(size=VOCABULARY) * random.uniform(0.5, 6)
    return logits - np.log(np.exp(logits).sum())


def rows_of(
    ids: NDArray[np.int32], positions: NDArray[np.int32], top_k: int, *, draws: int = 0, seed: int = 0
) -> TopK:
    """What the fake teacher says of an example."""
    found = TopK(
        np.full((len(positions), top_k), -1, np.int32),
        np.full((len(positions), top_k), -np.inf, np.float32),
        np.empty(len(positions), np.float32),
    )
    for row, position in enumerate(positions):
        logprobs = distribution(ids, int(position))
        found.target_logprobs[row] = logprobs[ids[position]]
        if draws:
            counts = np.random.default_rng([seed, row]).multinomial(draws, np.exp(logprobs))
            best = np.argsort(-counts)[:top_k]
            best = best[counts[best] > 0]
            values = np.log(counts[best] / draws)
        else:
            best = np.argsort(-logprobs)[:top_k]
            values = logprobs[best]
        found.ids[row, : len(best)] = best
        found.logprobs[row, : len(best)] = values
    return found


def fake_examples(count: int, *, seed: int = 0, longest: int = 30) -> list[Example]:
    """Examples with a prompt of 1 to 9 tokens (some share it) and all tokens behind it learned."""
    random = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        prompt = np.full(1 + number % 9, number % 7)
        ids = np.concatenate([prompt, random.integers(0, VOCABULARY, random.integers(1, longest))]).astype(
            np.int32
        )
        examples.append(Example(f"record-{number}", ids, np.arange(len(prompt), len(ids), dtype=np.int32)))
    return examples
