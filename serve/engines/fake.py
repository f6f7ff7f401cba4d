"""A scripted engine for fast tests of everything above engines. Production settings cannot reach it.

It knows no model: a script maps the prompt's text to the text that is "generated". Tokens are whole
words of a small SQL vocabulary where they match and single bytes elsewhere, so that everything that
depends on token boundaries is exercised. Every request is kept in `requests` for the test to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from serve.engines.base import (
    EngineStatus,
    FinishReason,
    GenerateRequest,
    GenerationStats,
    ModelInfo,
    Token,
)
from serve.errors import QueueFull, TooLarge, Unavailable

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
_WORDS = (
    "SELECT FROM WHERE JOIN LEFT INNER ON AND OR NOT IN AS GROUP ORDER BY HAVING LIMIT COUNT SUM AVG "
    "MIN MAX DISTINCT CASE WHEN THEN ELSE END WITH UNION INSERT INTO VALUES UPDATE SET DELETE NULL IS "
    "select from where join on and or group order by limit count id name author customer table user"
).split()


def _vocabulary() -> list[bytes]:
    words = [variant.encode() for word in _WORDS for variant in (word, f" {word}")]
    return [bytes([value]) for value in range(256)] + words


_VOCABULARY = _vocabulary()
_FIRST_SPECIAL = len(_VOCABULARY)
_TOKEN_BYTES = [*_VOCABULARY, *(b"" for _ in _SPECIAL)]
_BY_FIRST_BYTE: dict[int, list[int]] = {}
for _id, _piece in enumerate(_VOCABULARY):
    _BY_FIRST_BYTE.setdefault(_piece[0], []).append(_id)
for _ids in _BY_FIRST_BYTE.values():
    _ids.sort(key=lambda token: -len(_VOCABULARY[token]))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the fake model says to one prompt."""

    text: str
    token_delay_s: float = 0.0
    """Pause before every token."""
    logprob: float = -0.1
    """Reported for every token."""
    error: Exception | None = None
    """Raised from the iterator once `text` is out."""


Script = Callable[[str], Reply | str]


@dataclass(slots=True)
class _FakeGeneration:
    engine: FakeEngine
    request: GenerateRequest
    reply: Reply
    stats: GenerationStats = field(default_factory=GenerationStats)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def cancel(self) -> None:
        self.cancelled.set()

    async def __aiter__(self) -> AsyncIterator[Token]:
        try:
            async for token in self._tokens():
                yield token
        finally:
            self.stats.finish_reason = self.stats.finish_reason or FinishReason.CANCELLED
            self.engine.ended(self)

    async def _tokens(self) -> AsyncIterator[Token]:
        pending = self.reply.text.encode()
        said = b""
        generated: list[int] = []
        while pending or self.request.constraint:
            if await self._pause():
                self.stats.finish_reason = FinishReason.CANCELLED
                return
            if len(generated) >= self.request.max_tokens:
                self.stats.finish_reason = FinishReason.LENGTH
                return
            token = self._choose(pending, generated)
            if token is None or token in self.request.stop_ids:
                break
            piece = self.engine.token_bytes()[token]
            pending = pending[len(piece) :] if pending.startswith(piece) else pending
            generated.append(token)
            self.stats.completion_tokens += 1
            before = said.decode(errors="ignore")
            said += piece
            text = said.decode(errors="ignore")
            cut = min((at for stop in self.request.stop if (at := text.find(stop)) >= 0), default=-1)
            if cut >= 0:
                if cut > len(before):
                    yield Token(token, text[len(before) : cut], self.reply.logprob)
                break
            yield Token(token, text[len(before) :], self.reply.logprob)
        self.stats.finish_reason = FinishReason.STOP
        if self.reply.error:
            raise self.reply.error

    async def _pause(self) -> bool:
        if self.reply.token_delay_s:
            try:
                await asyncio.wait_for(self.cancelled.wait(), self.reply.token_delay_s)
            except TimeoutError:
                return False
        await asyncio.sleep(0)
        return self.cancelled.is_set()

    def _choose(self, pending: bytes, generated: list[int]) -> int | None:
        mask = self.request.constraint.mask(generated) if self.request.constraint else None
        vocabulary = self.engine.token_bytes()
        for token in _BY_FIRST_BYTE.get(pending[0], []) if pending else []:
            if pending.startswith(vocabulary[token]) and (mask is None or mask[token]):
                return token
        if mask is None or not mask.any():
            return None
        if not pending and mask[_FIRST_SPECIAL]:
            return None  # nothing more to say, and the model may end here
        return int(mask.argmax())


class FakeEngine:
    """Implements `serve.engines.base.Engine`. `script` answers each prompt; default: no text."""

    def __init__(
        self,
        script: Script = lambda prompt: "",
        *,
        name: str = "fake",
        context_length: int = 8192,
        queue_limit: int = 64,
    ) -> None:
        self.script = script
        self.requests: list[GenerateRequest] = []
        self.prompts: list[str] = []
        self.warmed: list[str] = []
        self.cancelled = 0
        self._running: list[_FakeGeneration] = []
        self._queue_limit = queue_limit
        self._closed = False
        self._seen: set[tuple[int, ...]] = set()
        self._info = ModelInfo(
            name=name,
            sha256="0" * 64,
            family="qwen2.5-coder",
            context_length=context_length,
            vocabulary_size=_FIRST_SPECIAL + len(_SPECIAL),
            eog_ids=frozenset((_FIRST_SPECIAL, _FIRST_SPECIAL + 2)),
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(
            running=len(self._running),
            queue_limit=self._queue_limit,
            cache_tokens_total=self._info.context_length,
            prompt_tokens_total=sum(len(request.prompt) for request in self.requests),
        )

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        if special and text in _SPECIAL:
            return [_FIRST_SPECIAL + _SPECIAL.index(text)]
        ids: list[int] = []
        data = text.encode()
        at = 0
        while at < len(data):
            token = next(t for t in _BY_FIRST_BYTE[data[at]] if data.startswith(_VOCABULARY[t], at))
            ids.append(token)
            at += len(_VOCABULARY[token])
        return ids

    def detokenize(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.token_bytes()[token] for token in ids)

    def token_bytes(self) -> Sequence[bytes]:
        return _TOKEN_BYTES

    async def generate(self, request: GenerateRequest) -> _FakeGeneration:
        if self._closed:
            raise Unavailable("the model is shutting down; try again in a moment", retry_after=5)
        if len(self._running) >= self._queue_limit:
            raise QueueFull("too many requests are waiting", retry_after=1)
        length = self._info.context_length
        if len(request.prompt) + request.max_tokens > length:
            raise TooLarge(
                f"the prompt has {len(request.prompt)} tokens and asks for {request.max_tokens} more; "
                f"the context holds {length}"
            )
        prompt = self.prompt_text(request.prompt)
        reply = self.script(prompt)
        generation = _FakeGeneration(self, request, reply if isinstance(reply, Reply) else Reply(reply))
        generation.stats.prompt_tokens = len(request.prompt)
        shared = tuple(request.prompt[: request.shared_prefix])
        generation.stats.cached_tokens = len(shared) if shared in self._seen else 0
        self._seen.add(shared)
        self.requests.append(request)
        self.prompts.append(prompt)
        self._running.append(generation)
        return generation

    def prompt_text(self, ids: Sequence[int]) -> str:
        """The prompt as text, special tokens spelled out."""
        pieces = [
            _SPECIAL[token - _FIRST_SPECIAL].encode() if token >= _FIRST_SPECIAL else _VOCABULARY[token]
            for token in ids
        ]
        return b"".join(pieces).decode(errors="replace")

    def ended(self, generation: _FakeGeneration) -> None:
        """Called by a generation when it is over."""
        if generation in self._running:
            self._running.remove(generation)
            self.cancelled += generation.stats.finish_reason is FinishReason.CANCELLED

    async def warm(self, prompt: Sequence[int]) -> int:
        key = tuple(prompt)
        computed = 0 if key in self._seen else len(key)
        self._seen.add(key)
        self.warmed.append(self.prompt_text(prompt))
        return computed

    def forget(self, prompt: Sequence[int]) -> None:
        self._seen.discard(tuple(prompt))

    async def close(self) -> None:
        self._closed = True
        for generation in list(self._running):
            generation.cancel()
