"""The llama.cpp engine: `Engine` for asyncio callers on top of the decode thread.

See `scheduler` for what happens between a request and its tokens, `kv_cache` for what is shared,
`snapshots` for what survives a restart, `llama_model` for the calls into llama.cpp.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import psutil

from serve.engines.base import EngineStatus, GenerateRequest, GenerationStats, ModelInfo, Token
from serve.engines.llama_model import LlamaModel, build_info
from serve.engines.scheduler import Job, Scheduler
from serve.engines.snapshots import SnapshotStore
from serve.engines.text_stream import TextStream
from serve.errors import InvalidRequest, TooLarge

logger = logging.getLogger(__name__)

_BATCH_TOKENS = 256
"""Tokens computed in one step at most: past this, prefill is no faster and its buffers grow."""
_SEQUENCES = 48
"""Sequence ids: running requests, schemas and recent prompts. Each costs one row of logits (0.6 MB)."""
_MAX_TOP_LOGPROBS = 20


class LlamaGeneration:
    """Implements `serve.engines.base.Generation` for one job."""

    def __init__(self, scheduler: Scheduler, request: GenerateRequest) -> None:
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Token | Exception | None] = asyncio.Queue()
        self._ended = False
        self.job = Job(
            request=request,
            prompt=np.asarray(request.prompt, np.int32),
            on_tokens=self._on_tokens,
            on_end=self._on_end,
            stream=TextStream(request.stop),
            rng=np.random.default_rng(request.seed) if request.temperature > 0 else None,
        )

    @property
    def stats(self) -> GenerationStats:
        return self.job.stats

    def cancel(self) -> None:
        if not self._ended:
            self._scheduler.cancel(self.job)

    async def __aiter__(self) -> AsyncIterator[Token]:
        while not (self._ended and self._events.empty()):
            event = await self._events.get()
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def _on_tokens(self, tokens: list[Token]) -> None:
        self._call(self._put, tokens)

    def _on_end(self, error: Exception | None) -> None:
        self._call(self._finish, error)

    def _put(self, tokens: list[Token]) -> None:
        for token in tokens:
            self._events.put_nowait(token)

    def _finish(self, error: Exception | None) -> None:
        self._ended = True
        self._events.put_nowait(error)

    def _call(self, function: object, argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)  # type: ignore[arg-type]
        except RuntimeError:  # the caller's event loop is gone: nobody is left to tell
            self._scheduler.cancel(self.job)


class LlamaCppEngine:
    """Implements `serve.engines.base.Engine` over one GGUF model in this process."""

    def __init__(self, model: LlamaModel, scheduler: Scheduler, info: ModelInfo, snapshots: SnapshotStore):
        self._model = model
        self._scheduler = scheduler
        self._info = info
        self._snapshots = snapshots
        # One list for all callers: what they derive from it is cached by its identity.
        self._token_bytes = model.pieces[: info.vocabulary_size]
        self._closed = False

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        name: str,
        sha256: str,
        family: str,
        snapshots_dir: Path,
        adapter: Path | None = None,
        context_tokens: int = 8192,
        max_parallel: int = 8,
        queue_limit: int = 32,
        threads: int = 0,
    ) -> LlamaCppEngine:
        """Load a GGUF and start its decode thread. Blocks for seconds: call it in a thread.

        With `adapter`, a LoRA over it; `sha256` then has to tell both. `threads` of 0 takes the physical
        cores. Raises `serve.errors.Unavailable`.
        """
        sequences = max(_SEQUENCES, 2 * max_parallel)
        model = LlamaModel(
            path,
            adapter=adapter,
            context_tokens=context_tokens,
            sequences=sequences,
            batch_tokens=_BATCH_TOKENS,
            threads=threads or default_threads(),
        )
        info = ModelInfo(
            name=name,
            sha256=sha256,
            family=family,
            context_length=min(model.context_tokens, model.trained_context),
            vocabulary_size=model.real_vocabulary,
            eog_ids=model.eog_ids,
        )
        snapshots = SnapshotStore(snapshots_dir, sha256 or _file_identity(path), build_info())
        scheduler = Scheduler(model, max_parallel=max_parallel, queue_limit=queue_limit, snapshots=snapshots)
        return cls(model, scheduler, info, snapshots)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def status(self) -> EngineStatus:
        return self._scheduler.status()

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return self._model.tokenize(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> bytes:
        return b"".join(self._model.pieces[token] for token in ids)

    def token_bytes(self) -> Sequence[bytes]:
        return self._token_bytes

    async def generate(self, request: GenerateRequest) -> LlamaGeneration:
        self._check(request)
        generation = LlamaGeneration(self._scheduler, request)
        self._scheduler.submit(generation.job)
        return generation

    async def warm(self, prompt: Sequence[int]) -> int:
        request = GenerateRequest(prompt=prompt, max_tokens=1, shared_prefix=len(prompt))
        self._check(request)
        generation = LlamaGeneration(self._scheduler, request)
        generation.job.background = True
        self._scheduler.submit(generation.job)
        try:
            async for _ in generation:
                pass
        finally:
            generation.cancel()
        state, generation.job.state = generation.job.state, None
        if state is not None:
            try:
                await asyncio.to_thread(self._snapshots.save, list(prompt), state)
            except OSError as error:
                logger.warning("the KV snapshot was not saved (%s); the next start will be cold", error)
        return generation.stats.prompt_tokens - generation.stats.cached_tokens

    def forget(self, prompt: Sequence[int]) -> None:
        self._snapshots.delete(prompt)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._scheduler.close)
        self._model.close()

    def _check(self, request: GenerateRequest) -> None:
        if not request.prompt:
            raise InvalidRequest("the prompt is empty", param="prompt")
        if request.max_tokens < 1:
            raise InvalidRequest("max_tokens must be at least 1", param="max_tokens")
        if not 0 <= request.top_logprobs <= _MAX_TOP_LOGPROBS:
            raise InvalidRequest(f"logprobs must lie between 0 and {_MAX_TOP_LOGPROBS}", param="logprobs")
        if not 0 <= request.shared_prefix <= len(request.prompt):
            raise InvalidRequest("shared_prefix is longer than the prompt", param="shared_prefix")
        vocabulary = self._info.vocabulary_size
        if min(request.prompt) < 0 or max(request.prompt) >= vocabulary:
            raise InvalidRequest(f"token ids must lie between 0 and {vocabulary - 1}", param="prompt")
        needed = len(request.prompt) + request.max_tokens
        if needed > self._info.context_length:
            raise TooLarge(
                f"the prompt has {len(request.prompt)} tokens and asks for up to {request.max_tokens} more, "
                f"which is over the context of {self._info.context_length}; shorten it or ask for fewer",
                param="prompt",
            )


def default_threads() -> int:
    """The physical cores that this process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or available, available))


def _file_identity(path: Path) -> str:
    """Stands in for a hash nobody knows: another file, or a changed one, has another identity."""
    info = path.stat()
    return f"{path.resolve()}:{info.st_size}:{info.st_mtime_ns}"
