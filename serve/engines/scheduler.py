"""The decode thread: which tokens of which request go into the next step.

Every step is one batch with the newest token of each decoding request and, with the room and time
that leaves, a chunk of the prompts still to be read. So a long prompt never stalls somebody else's
decoding, requests on the same schema compute it once, and a cancelled request is gone at the next
step. The scheduler knows sequences and logits; it knows nothing of asyncio, HTTP or files.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from serve.engines.base import (
    EngineStatus,
    FinishReason,
    GenerateRequest,
    GenerationStats,
    Token,
)
from serve.engines.kv_cache import CachedSequence, KVCache, Tokens, common_prefix
from serve.engines.llama_model import BatchToken, DecodeAborted, LlamaModel, NoRoom
from serve.engines.sampling import DeadEnd, sample
from serve.engines.snapshots import SnapshotStore
from serve.engines.text_stream import TextStream
from serve.errors import DistilsqlError, QueueFull, Unavailable

logger = logging.getLogger(__name__)

_STEP_ALONE_S = 0.25
"""How long a step may take while nobody decodes: what a newcomer waits at most."""
_STEP_SHARED_S = 0.08
"""How much a prompt chunk may add to a step in which others decode."""
_MIN_CHUNK = 16
_EFFICIENT_CHUNK = 64
"""Prompt tokens in a step from which on each costs the least: in smaller steps a quarter more."""
_WHOLE_PROMPT = 128
"""A prompt with so little left is read in one step while nobody decodes."""
_DECODE_SHARE = 0.5
"""Time that decoding gets, relative to a chunk of a long prompt, before the next chunk is read."""
_WORTH_WAITING = 32
"""Tokens that must be saved for a request to wait until another one has computed them."""


class Phase(Enum):
    """Where a job stands."""

    WAITING = auto()
    PREFILL = auto()
    DECODE = auto()
    DONE = auto()


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the scheduler. Callbacks run on the decode thread."""

    request: GenerateRequest
    prompt: Tokens
    on_tokens: Callable[[list[Token]], None]
    on_end: Callable[[Exception | None], None]
    background: bool = False
    """Prefill only, and only while nothing else runs (warm-up)."""
    state: bytes | None = None
    """A background job's KV state once it ended, unless its snapshot exists already."""
    stats: GenerationStats = field(default_factory=GenerationStats)
    cancelled: bool = False
    phase: Phase = Phase.WAITING
    sequence: CachedSequence | None = None
    generated: list[int] = field(default_factory=list)
    stream: TextStream = field(default_factory=TextStream)
    rng: np.random.Generator | None = None
    submitted_at: float = 0.0
    started_at: float = 0.0
    first_token_at: float = 0.0

    @property
    def computed(self) -> int:
        """Prompt tokens in the cache."""
        return self.sequence.length if self.sequence else 0

    @property
    def remaining(self) -> int:
        """Prompt tokens still to compute."""
        return len(self.prompt) - self.computed

    @property
    def cells_needed(self) -> int:
        """Cells that the finished request will hold."""
        return len(self.prompt) + (0 if self.background else self.request.max_tokens)


class Scheduler:
    """Owns the model's context on its own thread. `submit`, `cancel` and `close` are thread-safe."""

    def __init__(
        self, model: LlamaModel, *, max_parallel: int, queue_limit: int, snapshots: SnapshotStore | None
    ) -> None:
        self._model = model
        self._snapshots = snapshots
        self._cache = KVCache(model, model.sequences, model.context_tokens)
        self._max_parallel = max_parallel
        self._queue_limit = queue_limit
        self._eog = model.eog_ids
        self._wake = threading.Condition()
        self._incoming: list[Job] = []
        self._jobs: list[Job] = []
        self._reading: set[Job] = set()
        self._closed = False
        self._prefill_rate = 100.0
        self._service_s = 1.0
        self._owed_to_decoding_s = 0.0
        self._totals = {"prompt": 0, "cached": 0, "completion": 0}
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    # Called from other threads

    def submit(self, job: Job) -> None:
        """Queue a job. Raises QueueFull or Unavailable."""
        with self._wake:
            if self._closed:
                raise Unavailable("the model is shutting down; try again in a moment", retry_after=5)
            waiting = self._waiting()
            if not job.background and waiting >= self._queue_limit:
                wait_s = max(1.0, self._service_s * waiting / self._max_parallel)
                raise QueueFull(
                    f"{waiting} requests are waiting, as many as this server holds; try again later",
                    retry_after=round(wait_s),
                )
            job.submitted_at = time.monotonic()
            self._incoming.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """Take a job out at the next step; a prompt being read for it is aborted at once."""
        with self._wake:
            job.cancelled = True
            if job in self._reading:
                self._model.abort()
            self._wake.notify()

    def status(self) -> EngineStatus:
        """Counts for metrics; they may lag a step behind."""
        with self._wake:
            return EngineStatus(
                running=sum(job.phase in (Phase.PREFILL, Phase.DECODE) for job in self._jobs),
                waiting=self._waiting(),
                queue_limit=self._queue_limit,
                cache_tokens_used=self._cache.used_cells,
                cache_tokens_total=self._cache.total_cells,
                cached_sequences=len(self._cache),
                prompt_tokens_total=self._totals["prompt"],
                cached_tokens_total=self._totals["cached"],
                completion_tokens_total=self._totals["completion"],
            )

    def close(self) -> None:
        """Cancel everything and wait for the thread to end. Idempotent."""
        with self._wake:
            self._closed = True
            self._model.abort()
            self._wake.notify()
        self._thread.join()

    def _waiting(self) -> int:
        queued = itertools.chain(self._incoming, self._jobs)
        return sum(job.phase is Phase.WAITING and not job.background for job in queued)

    # The decode thread

    def _run(self) -> None:
        while self._collect():
            try:
                self._admit()
                self._step()
            except Exception as error:
                logger.exception("a decode step failed; its requests are answered with an error")
                for job in list(self._jobs):
                    if job.sequence:
                        self._end(job, error)
        for job in list(self._jobs):
            self._end(job, None)

    def _collect(self) -> bool:
        """Take in new jobs and drop cancelled ones; wait while there is nothing to do."""
        while True:
            with self._wake:
                while not (self._incoming or self._jobs or self._closed):
                    self._wake.wait()
                self._jobs += self._incoming
                self._incoming = []
                self._model.clear_abort()
                closed = self._closed
            for job in [job for job in self._jobs if job.cancelled]:
                self._end(job, None)
            if closed:
                return False
            if self._jobs:
                return True

    def _admit(self) -> None:
        """Give waiting jobs a sequence, in order, as long as ids and cells last."""
        running = [job for job in self._jobs if job.phase in (Phase.PREFILL, Phase.DECODE)]
        promised = sum(job.cells_needed - job.computed for job in running)
        for job in sorted(self._jobs, key=lambda job: (job.background, job.submitted_at)):
            if job.phase is not Phase.WAITING:
                continue
            if job.background and any(not other.background for other in self._jobs):
                return
            if len(running) >= self._max_parallel:
                return
            _, shared = self._cache.match(job.prompt, in_use=True)
            if job.cells_needed - shared + promised > self._cache.reclaimable_cells():
                return
            sequence = self._cache.open()
            if sequence is None:
                return
            self._start(job, sequence)
            running.append(job)
            promised += job.cells_needed - job.computed

    def _start(self, job: Job, sequence: CachedSequence) -> None:
        job.sequence, job.phase = sequence, Phase.PREFILL
        job.started_at = time.monotonic()
        job.stats.queue_ms = (job.started_at - job.submitted_at) * 1e3
        job.stats.prompt_tokens = len(job.prompt)
        self._reuse(job)
        shared = job.request.shared_prefix
        if job.computed < min(shared, len(job.prompt) - 1):
            self._restore(job, shared)

    def _reuse(self, job: Job) -> None:
        """Share what the best other sequence has computed, if that is more than the job has."""
        assert job.sequence is not None
        wanted = job.prompt if job.background else job.prompt[:-1]  # the last token gives the logits
        source, length = self._cache.match(wanted)
        if source is not None and source is not job.sequence and length > job.computed:
            job.stats.cached_tokens += length - job.computed
            self._cache.adopt(job.sequence, source, length)

    def _restore(self, job: Job, shared: int) -> None:
        """Read the snapshot of the job's shared prefix into the cache, if there is one."""
        if self._snapshots is None:
            return
        tokens = job.prompt[:shared]
        state = self._snapshots.load(tokens.tolist())
        if state is None or not self._cache.reserve(shared):
            return
        anchor = self._cache.open()
        if anchor is None:
            return
        if self._model.load_state(anchor.id, state) != shared:
            logger.warning("a KV snapshot does not fit this model; it is rebuilt")
            self._snapshots.delete(tokens.tolist())
            self._cache.remove(anchor)
            return
        self._cache.extend(anchor, tokens.tolist())
        anchor.in_use, anchor.anchor = False, True
        self._reuse(job)

    def _step(self) -> None:
        batch, outputs, reading = self._build()
        if not batch:
            return
        with self._wake:
            self._reading = set(reading)
        began = time.monotonic()
        try:
            self._model.decode(batch)
        except DecodeAborted:
            self._roll_back()
            return
        except NoRoom:
            self._roll_back()
            if not self._cache.evict():
                newest = max((job for job in self._jobs if job.sequence), key=lambda job: job.started_at)
                self._end(newest, Unavailable("the KV cache is full; try again", retry_after=1))
            return
        finally:
            with self._wake:
                self._reading = set()
        self._note_step(len(batch), sum(reading.values()), time.monotonic() - began)
        for job, count in reading.items():
            self._advance_prompt(job, count)
        if outputs and any(job.phase is Phase.PREFILL and job not in outputs for job in reading):
            self._owed_to_decoding_s = _DECODE_SHARE * (time.monotonic() - began)
        for job, index in outputs.items():
            if job.phase is Phase.DECODE:
                assert job.sequence is not None
                self._cache.extend(job.sequence, job.generated[-1:])
            self._choose(job, index)

    def _build(self) -> tuple[list[BatchToken], dict[Job, int], dict[Job, int]]:
        """The next batch; for each job with output its index in it; for each prompt read how far."""
        batch: list[BatchToken] = []
        outputs: dict[Job, int] = {}
        reading: dict[Job, int] = {}
        for job in self._jobs:
            if job.phase is Phase.DECODE and job.sequence:
                outputs[job] = len(batch)
                batch.append(BatchToken(job.generated[-1], job.computed, job.sequence.id, True))
        budget = self._chunk(bool(batch)) - len(batch)
        for job, share in self._readers(budget):
            assert job.sequence is not None
            start = job.computed
            count = min(share, budget, job.remaining)
            if count <= 0:
                continue
            for position in range(start, start + count):
                last = position == len(job.prompt) - 1 and not job.background
                if last:
                    outputs[job] = len(batch)
                batch.append(BatchToken(int(job.prompt[position]), position, job.sequence.id, last))
            reading[job] = count
            budget -= count
        if not self._cache.reserve(len(batch)):
            raise Unavailable("the KV cache is full; try again", retry_after=1)
        return batch, outputs, reading

    def _chunk(self, others_decode: bool) -> int:
        """Tokens of the next step."""
        seconds = _STEP_SHARED_S if others_decode else _STEP_ALONE_S
        least = _MIN_CHUNK
        if not others_decode:
            urgent = [job for job in self._jobs if job.phase is Phase.PREFILL and not job.background]
            short = sum(job.remaining for job in urgent if job.remaining <= _WHOLE_PROMPT)
            least = max(_EFFICIENT_CHUNK, min(short, _WHOLE_PROMPT))
        return int(np.clip(self._prefill_rate * seconds, least, self._model.batch_tokens))

    def _readers(self, budget: int) -> Iterable[tuple[Job, int]]:
        """Jobs whose prompt is to be read now and their share: half for the oldest, so that it
        never starves, the rest to those with the least to go."""
        readers = [job for job in self._jobs if job.phase is Phase.PREFILL]
        urgent = [job for job in readers if not job.background]
        decoding = any(job.phase is Phase.DECODE for job in self._jobs)
        if decoding and (not urgent or self._owed_to_decoding_s > 0):
            return
        ordered = sorted(urgent or readers, key=lambda job: job.submitted_at)
        for job in ordered:
            self._reuse(job)
        ready = [job for index, job in enumerate(ordered) if not self._follows(job, ordered[:index])]
        for job in ready:
            if job.remaining == 0:  # a background job that another one has overtaken
                self._advance_prompt(job, 0)
        ready = [job for job in ready if job.phase is Phase.PREFILL]
        if not ready:
            return
        oldest = ready[0]
        rest = sorted(ready[1:], key=lambda job: job.remaining)
        yield oldest, budget if not rest else max(budget // 2, budget - sum(job.remaining for job in rest))
        for job in rest:
            yield job, budget

    @staticmethod
    def _follows(job: Job, earlier: list[Job]) -> bool:
        """Whether an earlier job is about to compute tokens that this one can then share."""
        for other in earlier:
            shared = common_prefix(job.prompt, other.prompt)
            if shared - job.computed >= _WORTH_WAITING and other.computed < shared:
                return True
        return False

    def _advance_prompt(self, job: Job, count: int) -> None:
        assert job.sequence is not None
        start = job.computed
        self._cache.extend(job.sequence, job.prompt[start : start + count].tolist())
        if job.remaining:
            return
        if job.request.shared_prefix:
            self._cache.anchor(job.sequence, job.request.shared_prefix)
        if job.background:
            if self._snapshots and not self._snapshots.exists(job.prompt.tolist()):
                job.state = self._model.save_state(job.sequence.id)
            self._end(job, None)

    def _choose(self, job: Job, index: int) -> None:
        """Sample the job's next token from the logits of batch position `index`."""
        now = time.monotonic()
        if job.phase is Phase.PREFILL:
            job.phase, job.first_token_at = Phase.DECODE, now
            job.stats.prefill_ms = (now - job.started_at) * 1e3
        job.stats.decode_ms = (now - job.first_token_at) * 1e3
        request = job.request
        try:
            mask = request.constraint.mask(job.generated) if request.constraint else None
            chosen = sample(
                self._model.logits(index),
                temperature=request.temperature,
                top_p=request.top_p,
                rng=job.rng,
                mask=mask,
                top_logprobs=request.top_logprobs,
            )
        except DeadEnd:
            self._finish(job, FinishReason.STOP)
            return
        except Exception as error:  # a caller's constraint must not take the others down
            logger.exception("a token constraint failed")
            self._end(job, error)
            return
        if chosen.id in request.stop_ids or (chosen.id in self._eog and not request.ignore_eog):
            self._finish(job, FinishReason.STOP)
            return
        job.generated.append(chosen.id)
        job.stats.completion_tokens += 1
        token = Token(chosen.id, "", chosen.logprob, chosen.top)
        self._deliver(job, job.stream.push(token, self._model.pieces[chosen.id]))
        if job.stream.stopped:
            self._finish(job, FinishReason.STOP)
        elif len(job.generated) >= request.max_tokens:
            self._finish(job, FinishReason.LENGTH)

    @staticmethod
    def _deliver(job: Job, tokens: list[Token]) -> None:
        if tokens:
            job.on_tokens(tokens)

    def _finish(self, job: Job, reason: FinishReason) -> None:
        if not job.stream.stopped:
            self._deliver(job, job.stream.finish())
        job.stats.finish_reason = reason
        self._service_s += 0.1 * ((time.monotonic() - job.started_at) - self._service_s)
        self._end(job, None)

    def _end(self, job: Job, error: Exception | None) -> None:
        """Take a job out; its sequence stays in the cache for others."""
        with self._wake:
            self._jobs.remove(job)
            job.phase = Phase.DONE
        if job.stats.finish_reason is None:
            job.stats.finish_reason = FinishReason.CANCELLED
        self._totals["prompt"] += job.stats.prompt_tokens
        self._totals["cached"] += job.stats.cached_tokens
        self._totals["completion"] += job.stats.completion_tokens
        if job.sequence:
            if error is not None and not isinstance(error, DistilsqlError):
                self._cache.remove(job.sequence)  # what a failed step left there is not to be trusted
            else:
                self._cache.retire(job.sequence)
            job.sequence = None
        job.on_end(error)

    def _roll_back(self) -> None:
        """After a step that kept nothing: make the model's memory agree with the bookkeeping."""
        for job in self._jobs:
            if job.sequence:
                self._cache.truncate(job.sequence, job.sequence.length)

    def _note_step(self, tokens: int, read: int, seconds: float) -> None:
        """Learn how fast prompts are read, and pay back what a chunk took from decoding."""
        if read == tokens >= _MIN_CHUNK:
            self._prefill_rate += 0.3 * (tokens / seconds - self._prefill_rate)
        self._owed_to_decoding_s = max(0.0, self._owed_to_decoding_s - seconds) if not read else 0.0
