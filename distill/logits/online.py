"""Where training gets an example's teacher rows: from a store, or from a live teacher one batch ahead.

Both are asked with the example itself and find its rows by its key: no step counter and no order of a sampler are
in between, so shuffling, epochs, accumulation, ranks and a resumed run cannot misalign them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from distill.examples import Example
from distill.logits.capture import in_scoring_order, refuse_other_tokenizer, widened
from distill.logits.checks import check_rows
from distill.logits.rows import RowFormat
from distill.logits.store import LogitStore
from distill.recipe import Capture
from distill.teachers.base import Scorer, ScoreRequest, TopK
from serve.errors import Unprocessable

KEPT_POSITIONS = 2_000_000
"""Rows a live teacher's targets are kept of: about 100 MB at K = 10."""


class Targets(Protocol):
    """Teacher rows for training; row j belongs to `example.positions[j]`."""

    def __call__(self, example: Example) -> TopK: ...

    def expect(self, examples: Iterable[Example]) -> None:
        """These are wanted next; a live teacher begins with them while the student computes."""


class StoreTargets:
    """Rows out of a store. Pickles with it, for data loader workers."""

    def __init__(self, store: LogitStore) -> None:
        self.store = store

    def __call__(self, example: Example) -> TopK:
        """NotFound where it was not captured, Unprocessable where it is damaged."""
        return _fitting(example, self.store.get(example.key))

    def expect(self, examples: Iterable[Example]) -> None:
        """Nothing to prepare: the pages come when they are read."""

    def require(self, examples: Iterable[Example]) -> None:
        """Unprocessable before the first step where the store lacks any of `examples`."""
        lacking = [example.record_id for example in examples if example.key not in self.store]
        if lacking:
            raise Unprocessable(
                f"the logit store in {self.store.folder} lacks {len(lacking)} examples (the first is record "
                f"{lacking[0]}): run the capture stage again, it captures only those"
            )


class OnlineTargets:
    """Rows of a live teacher, rounded as the store would: training sees the same numbers either way.

    The teacher works in a thread of its own. Rows are kept for later epochs, the longest unused leave first.
    """

    def __init__(
        self,
        scorer: Scorer,
        settings: Capture,
        *,
        tokenizer_hash: str,
        seed: int,
        kept_positions: int = KEPT_POSITIONS,
    ) -> None:
        """`tokenizer_hash` is the student's; Unprocessable where the teacher's is another."""
        refuse_other_tokenizer(scorer, tokenizer_hash)
        self._scorer = scorer
        self._settings = settings
        self._seed = seed
        self._format = RowFormat(settings.top_k, settings.draws)
        self._kept_positions = kept_positions
        self._rows: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._positions = 0
        self._pending: dict[str, Future[None]] = {}
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher")

    def __call__(self, example: Example) -> TopK:
        """The rows, waiting for the teacher where it has not come to them. Raises what the teacher raised."""
        key = example.key
        while True:
            with self._lock:
                kept = self._rows.get(key)
                if kept is not None:
                    self._rows.move_to_end(key)
                elif self._failure is not None:
                    raise self._failure
                pending = self._pending.get(key)
            if kept is not None:
                packed, positions = kept
                return _fitting(example, self._format.unpack(memoryview(packed), positions))
            if pending is not None:
                pending.result()
            else:
                self.expect([example])

    def expect(self, examples: Iterable[Example]) -> None:
        """Have the teacher score those of `examples` that are neither kept nor under way."""
        with self._lock:
            wanted = {example.key: example for example in examples}
            for key in [key for key in wanted if key in self._rows or key in self._pending]:
                if key in self._rows:
                    self._rows.move_to_end(key)
                del wanted[key]
            if wanted:
                future = self._thread.submit(self._score, in_scoring_order(wanted.values()))
                self._pending |= dict.fromkeys(wanted, future)

    def close(self) -> None:
        """Stop the thread; the scorer stays its owner's."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _score(self, examples: Sequence[Example]) -> None:
        try:
            requests = [ScoreRequest(example.ids, example.positions) for example in examples]
            settings, came = self._settings, set()
            for at, rows in self._scorer.score(
                requests, settings.top_k, draws=settings.draws, seed=self._seed
            ):
                check_rows(examples[at], rows, self._scorer, settings)
                self._keep(examples[at].key, widened(rows, settings.top_k))
                came.add(at)
            if left := len(examples) - len(came):
                raise Unprocessable(
                    f"teacher {self._scorer.name} left {left} of {len(examples)} examples without scores"
                )
        except BaseException as error:
            # Kept: it may come before anybody waits for these examples.
            self._failure = error
            raise
        finally:
            with self._lock:
                for example in examples:
                    self._pending.pop(example.key, None)

    def _keep(self, key: str, rows: TopK) -> None:
        positions = len(rows.target_logprobs)
        with self._lock:
            if key in self._rows:
                return
            self._rows[key] = (self._format.pack(rows), positions)
            self._positions += positions
            while self._positions > self._kept_positions and len(self._rows) > 1:
                _, (_, gone) = self._rows.popitem(last=False)
                self._positions -= gone


def _fitting(example: Example, rows: TopK) -> TopK:
    if len(rows.target_logprobs) != len(example.positions):
        raise Unprocessable(
            f"record {example.record_id} has {len(example.positions)} positions and {len(rows.target_logprobs)} "
            "teacher rows: delete the logit store and capture again"
        )
    return rows
