"""A GGUF model in this process as a teacher that scores fixed tokens.

Requests are taken in the order of their token ids, so that those that begin alike follow each other and
compute what they share once; several short ones fill one batch. Logits are asked for in the rows that are
wanted alone, a fixed number at a time, and reduced before the next batch overwrites them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distill.gguf_file import GgufFile
from distill.recipe import Teacher
from distill.teachers import distribution
from distill.teachers.base import ScoreRequest, TopK
from distill.teachers.distribution import Rows
from distill.teachers.llamacpp import gguf_path
from distill.tokenizer import real_size, vocabulary_hash
from serve.engines.kv_cache import CachedSequence, KVCache, Tokens, common_prefix
from serve.engines.llama_model import BatchToken, LlamaModel, NoRoom
from serve.engines.llamacpp import default_threads
from serve.errors import TooLarge, Unprocessable

_BATCH_TOKENS = 512
_BATCH_ROWS = 128
"""Rows of logits in one batch, and sequences in memory: 78 MB of float32 at a vocabulary of 152k."""
_CACHE_TOKENS = 8192
"""Cells, where one request may not take more by itself: several batches' worth to share prefixes from."""
_WORTH_WAITING = 16
"""Tokens that a request could share once the batch is done, for which it does not join it."""


@dataclass(slots=True, eq=False)
class _Work:
    """One request on its way."""

    number: int
    ids: NDArray[np.int32]
    """What has to be computed: all before the last wanted token."""
    wanted: dict[int, int]
    """Row by the place whose logits it is."""
    rows: Rows
    sequence: CachedSequence


@dataclass(slots=True)
class _Batch:
    """What the next decode computes."""

    tokens: list[BatchToken] = field(default_factory=list)
    parts: list[tuple[_Work, int]] = field(default_factory=list)
    """Whose tokens they are, in order, and how many."""
    outputs: list[tuple[int, _Work, int]] = field(default_factory=list)
    """(place in `tokens`, request, row)"""

    @property
    def full(self) -> bool:
        return len(self.tokens) >= _BATCH_TOKENS or len(self.outputs) >= _BATCH_ROWS


class LlamaCppScorer:
    """Implements `distill.teachers.base.Scorer`. Not thread-safe."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model: takes seconds. Raises NotFound, Unprocessable, Unavailable."""
        self._settings = settings
        path = gguf_path(settings.model)
        tokens = GgufFile(path).metadata.get("tokenizer.ggml.tokens")
        if not isinstance(tokens, list) or not tokens:
            raise Unprocessable(f"{path} has no tokenizer: it cannot score token ids")
        vocabulary = dict(enumerate(tokens))
        self._real = real_size(vocabulary)
        self._hash = vocabulary_hash(vocabulary)
        self._model = LlamaModel(
            path,
            context_tokens=max(settings.context_tokens, _CACHE_TOKENS),
            sequences=_BATCH_ROWS,
            batch_tokens=_BATCH_TOKENS,
            threads=settings.threads or default_threads(),
        )
        self._longest = min(settings.context_tokens, self._model.trained_context)
        self._cache = KVCache(self._model, self._model.sequences, self._model.context_tokens)
        self._closed = False

    @property
    def name(self) -> str:
        return f"llamacpp: {self._settings.model}"

    @property
    def tokenizer_hash(self) -> str:
        return self._hash

    @property
    def real_vocabulary(self) -> int:
        return self._real

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        """As `Scorer.score`. Raises TooLarge and ValueError before anything is computed."""
        for number, request in enumerate(requests):
            distribution.check(request, number, self._real)
            if len(request.ids) > self._longest:
                raise TooLarge(
                    f"request {number} has {len(request.ids)} tokens, the teacher's context_tokens is "
                    f"{self._longest}: raise it in the recipe, or leave longer examples out (max_tokens)"
                )
        batch = _Batch()
        try:
            for number in sorted(range(len(requests)), key=lambda one: _order(requests[one])):
                request = requests[number]
                rows = Rows(request, top_k, draws, seed)
                if not rows.missing:
                    yield number, rows.top
                    continue
                ids, shareable = request.ids[: request.positions[-1]], request.ids[: request.positions[0] - 1]
                if not self._fits(batch, ids, shareable):
                    yield from self._compute(batch)
                work = self._begin(number, request, ids, shareable, rows)
                for at in range(work.sequence.length, len(ids)):
                    if batch.full:
                        yield from self._compute(batch)
                    _append(batch, work, at)
            yield from self._compute(batch)
        finally:
            for work in {work for work, _ in batch.parts}:  # the consumer stopped, or a decode failed
                if work.sequence.in_use:
                    self._cache.remove(work.sequence)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._model.close()

    def _fits(self, batch: _Batch, ids: Tokens, shareable: Tokens) -> bool:
        """Whether a request can join the batch: there is room, and the batch is not just computing
        what this request could share once it is done."""
        if not batch.tokens:
            return True
        _, ready = self._cache.match(shareable)
        waiting = max(common_prefix(work.ids, shareable) for work, _ in batch.parts)
        in_use = {work for work, _ in batch.parts}
        return (
            waiting - ready < _WORTH_WAITING
            and len(in_use) < self._model.sequences
            and len(batch.tokens) + len(ids) <= self._cache.reclaimable_cells()
        )

    def _begin(self, number: int, request: ScoreRequest, ids: Tokens, shareable: Tokens, rows: Rows) -> _Work:
        """Give the request a sequence, with what another one has computed of it."""
        source, length = self._cache.match(shareable)
        if source is not None:
            self._cache.touch(source)  # opening may drop the sequence used longest ago
        sequence = self._cache.open()
        if sequence is None:
            raise RuntimeError("no sequence is free although fewer requests than sequences are under way")
        if source is not None and length and source.length >= length:
            self._cache.adopt(sequence, source, length)
        return _Work(
            number, ids, {int(t) - 1: row for row, t in enumerate(request.positions)}, rows, sequence
        )

    def _compute(self, batch: _Batch) -> Iterator[tuple[int, TopK]]:
        """Decode the batch, reduce its logits, empty it; yields the requests that are thereby finished."""
        if not batch.tokens:
            return
        self._decode(batch.tokens)
        for place, work, row in batch.outputs:
            work.rows.fill(row, self._model.logits(place)[: self._real])
        finished = []
        for work, count in batch.parts:
            done = work.sequence.length
            self._cache.extend(work.sequence, work.ids[done : done + count].tolist())
            if work.sequence.length == len(work.ids):
                self._cache.retire(work.sequence)
                finished.append(work)
        last = batch.parts[-1][0]
        batch.tokens, batch.outputs = [], []
        batch.parts = [] if last in finished else [(last, 0)]
        for work in finished:
            yield work.number, work.rows.top

    def _decode(self, tokens: list[BatchToken]) -> None:
        while True:
            if not self._cache.reserve(len(tokens)):
                raise RuntimeError(f"no room for {len(tokens)} tokens in the KV cache")
            try:
                self._model.decode(tokens)
                return
            except NoRoom:
                if not self._cache.evict():
                    raise


def _order(request: ScoreRequest) -> bytes:
    """Sorts requests so that those that begin alike stand together."""
    return request.ids.astype(">i4").tobytes()


def _append(batch: _Batch, work: _Work, at: int) -> None:
    row = work.wanted.get(at)
    if row is not None:
        batch.outputs.append((len(batch.tokens), work, row))
    batch.tokens.append(BatchToken(int(work.ids[at]), at, work.sequence.id, row is not None))
    if batch.parts and batch.parts[-1][0] is work:
        batch.parts[-1] = (work, batch.parts[-1][1] + 1)
    else:
        batch.parts.append((work, 1))
