"""What a teacher can do: answer in batches (`Generator`), and score fixed tokens (`Scorer`).

An API can only answer; vLLM, transformers and llama.cpp do both. Neither knows of records, agents, run
folders or the logit store. One question that fails does not fail the batch: its answer is a `Failure`.
What makes going on pointless (no budget left, a wrong key, no such model) is raised as a `DistilsqlError`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distill.records import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn."""

    max_tokens: int = 512
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """Same seed, same answer where the teacher can promise that (an API cannot)."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: a conversation to answer, or (with `prefix`) a text whose middle is missing."""

    messages: tuple[Message, ...] = ()
    prefix: str | None = None
    """Fill-in-the-middle: the text before the gap. No messages then."""
    suffix: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    purpose: str = ""
    """Who asks (`expansion/audience`): for progress, cost and logs."""
    salt: str = ""
    """Tells apart questions that are otherwise equal, such as several draws of one."""

    @property
    def key(self) -> str:
        """Hash of everything that decides the answer: 32 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=_plain).encode()).hexdigest()[
            :32
        ]


def _plain(value: object) -> object:
    if isinstance(value, Message):
        return [value.role, value.content]
    raise TypeError(type(value).__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and what it took."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: bool = False
    """It ran into `max_tokens`: agents must not take it for a whole answer."""
    cost_usd: float = 0.0
    cached: bool = False
    """It came from the response cache: no tokens or money were spent now."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A question without an answer, after all retries."""

    reason: str
    """`HTTP 500 after 6 tries`, `timeout`, `content filter`, ..."""


class Generator(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """For manifests and reports: kind and model, never a key."""

    def generate(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Failure]]:
        """Answer all of `asks`, yielding (index into `asks`, answer) in the order they finish.

        Takes any number; batching and concurrency are the teacher's own business, and no more than a
        few batches are in flight, so that a consumer who stops iterating stops the work.
        """

    def close(self) -> None:
        """Free the model or the connections. Idempotent."""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Fixed tokens to score."""

    ids: NDArray[np.int32]
    """[T] token ids, special ones included."""
    positions: NDArray[np.int32]
    """[P] ascending places t ≥ 1 in `ids`: wanted is the distribution of the token *at* t given ids[:t]
    (what a causal model's logits at t - 1 say)."""


@dataclass(frozen=True, slots=True)
class TopK:
    """A teacher's distribution at each of P positions, at temperature 1, natural logarithms.

    Row j belongs to `positions[j]` of the request. Of a `sampled` distribution the ids are draws with
    replacement from the whole distribution, equal ones merged, and `logprobs` are log(count / draws);
    else they are the K likeliest tokens, likeliest first, with their log-probabilities. Unused places (fewer
    than K ids) hold id -1 and logprob -inf.
    """

    ids: NDArray[np.int32]
    """[P, K]"""
    logprobs: NDArray[np.float32]
    """[P, K]"""
    target_logprobs: NDArray[np.float32]
    """[P] of the token that really stands there, also where it is not among the K."""


class Scorer(Protocol):
    """Scores fixed tokens."""

    @property
    def name(self) -> str: ...

    @property
    def tokenizer_hash(self) -> str:
        """`distill.tokenizer.vocabulary_hash` of the teacher's vocabulary."""

    @property
    def real_vocabulary(self) -> int:
        """Number of real token ids (Qwen2.5: 151665); the padded rows behind them are never reported."""

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        """Yield (index into `requests`, distribution) in the order they finish.

        `draws` > 0 asks for a sampled distribution of that many draws instead of the K likeliest (K is
        then the most distinct ids that fit); Unprocessable where the teacher cannot see its whole
        distribution (vLLM). Never holds a [tokens, vocabulary] matrix beyond a fixed budget.
        """

    def close(self) -> None: ...
