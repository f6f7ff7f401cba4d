"""The protocol every engine speaks: tokens in, a cancellable stream of tokens with logprobs out.

An engine knows nothing of SQL, of HTTP or of prompt formats; it maps token ids to token ids.
Usage, as the HTTP layer and `sql_assistant` do it::

    generation = await engine.generate(GenerateRequest(prompt=engine.tokenize(text), max_tokens=64))
    try:
        async for token in generation:
            ...
    finally:
        generation.cancel()          # no effect once it has ended
    generation.stats.finish_reason
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TokenMask = NDArray[np.bool_]
"""Shape [vocabulary]: True where a token may be generated."""


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # end-of-text, a stop id or a stop string
    LENGTH = "length"  # max_tokens
    CANCELLED = "cancelled"


class Constraint(Protocol):
    """Decides before each step which tokens may come next (constrained decoding, token healing)."""

    def mask(self, generated: Sequence[int]) -> TokenMask | None:
        """The mask for the token after `generated`; None when every token is allowed.

        Called on the decode thread between steps: it must be quick (well under a millisecond)
        and must not touch the engine.
        """


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One prompt to continue."""

    prompt: Sequence[int]
    """Token ids, special tokens included."""
    max_tokens: int
    """Upper bound of generated tokens, at least 1."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens whose probability sums to this."""
    seed: int | None = None
    """Same seed, same output on the same machine; None draws one."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these appears in the text; it is not part of the text."""
    stop_ids: frozenset[int] = frozenset()
    """Token ids that end the generation, besides the model's own end-of-generation tokens."""
    ignore_eog: bool = False
    """Go on past the model's end-of-generation tokens (benchmarks only)."""
    top_logprobs: int = 0
    """How many of the likeliest alternatives each token reports, 0 to 20."""
    constraint: Constraint | None = None
    shared_prefix: int = 0
    """How many leading tokens other requests will share (the schema): kept longer, and looked up
    among saved snapshots when not in memory."""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token."""

    id: int
    text: str
    """What this token adds to the text; empty while a multi-byte character is incomplete."""
    logprob: float
    """Natural log of the model's probability at temperature 1, before any constraint."""
    top: tuple[tuple[int, float], ...] = ()
    """(id, logprob) of the likeliest tokens, best first, `top_logprobs` of them."""


@dataclass(slots=True)
class GenerationStats:
    """Counts and timings of one generation, complete once it has ended. Times in milliseconds."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    """From leaving the queue to the first token."""
    decode_ms: float = 0.0
    """From the first token to the last."""
    finish_reason: FinishReason | None = None


class Generation(Protocol):
    """A running generation: iterate it for tokens, cancel it at any time."""

    @property
    def stats(self) -> GenerationStats: ...

    def __aiter__(self) -> AsyncIterator[Token]: ...

    def cancel(self) -> None:
        """Free its sequence at the next step; the iterator then ends. Safe to call twice."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """A snapshot for metrics and the operations page."""

    running: int = 0
    waiting: int = 0
    queue_limit: int = 0
    cache_tokens_used: int = 0
    cache_tokens_total: int = 0
    cached_sequences: int = 0
    prompt_tokens_total: int = 0
    cached_tokens_total: int = 0
    completion_tokens_total: int = 0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the layers above need to know of the loaded model."""

    name: str
    sha256: str
    """Hash of the weights; empty when unknown (an upstream)."""
    family: str
    """`qwen2.5-coder`, ...: selects the prompt format in the layers above."""
    context_length: int
    """Tokens that one request (prompt and completion) may take."""
    vocabulary_size: int
    eog_ids: frozenset[int] = field(default_factory=frozenset)
    """End-of-generation token ids."""


class Engine(Protocol):
    """One loaded model. Methods are safe to call from any thread unless they are coroutines."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def status(self) -> EngineStatus: ...

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text`. With `special`, markers such as `<|fim_prefix|>` become their one
        id; without it they are split as plain text, which is what user text must get."""

    def detokenize(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`; special tokens give none."""

    def token_bytes(self) -> Sequence[bytes]:
        """The bytes of every token by id, [vocabulary]; special tokens are empty. Always the same object."""

    async def generate(self, request: GenerateRequest) -> Generation:
        """Queue a generation.

        Raises: `serve.errors.TooLarge` (prompt and max_tokens exceed the context; the message has
        the counts), `QueueFull`, `Unavailable` (closed or draining), `InvalidRequest`.
        """

    async def warm(self, prompt: Sequence[int]) -> int:
        """Have `prompt` in the cache, from memory, from a snapshot or by a prefill that yields to
        every other request, and save its snapshot. Returns how many tokens had to be computed."""

    def forget(self, prompt: Sequence[int]) -> None:
        """Drop the saved snapshot of `prompt` (its schema was deleted)."""

    async def close(self) -> None:
        """Cancel what runs and free the model. Idempotent."""
