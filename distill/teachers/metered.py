"""The `Generator` around every kind of teacher: what the cache knows is not asked, and what the budget does
not allow is not asked either. How a question is answered is the backend's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from distill.teachers.base import Ask, Failure, Reply
from distill.teachers.budget import NOTHING, BudgetMeter, Usage
from distill.teachers.response_cache import ResponseCache


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one question ended."""

    answer: Reply | Failure
    wasted: Usage = NOTHING
    """What was paid for tries that gave no answer."""


class Backend(Protocol):
    """One way to run a teacher."""

    @property
    def name(self) -> str:
        """For manifests and reports: kind and model, never a key."""

    def answer(self, asks: Iterator[tuple[int, Ask]]) -> Iterator[tuple[int, Outcome]]:
        """Answer (number, question) pairs in the order they finish.

        Takes a question from `asks` only when it can begin with it, and has finished all it took when
        it ends. A question's own trouble is a Failure; what makes going on pointless is raised once the
        questions under way have ended.
        """

    def close(self) -> None:
        """Idempotent."""


class MeteredGenerator:
    """Implements `distill.teachers.base.Generator`."""

    def __init__(self, backend: Backend, cache: ResponseCache, budget: BudgetMeter) -> None:
        self._backend = backend
        self._cache = cache
        self._budget = budget

    @property
    def name(self) -> str:
        return self._backend.name

    def generate(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Failure]]:
        """As `Generator.generate`. Raises BudgetSpent after every reply that was paid for came out."""
        missing: deque[int] = deque()
        for index, ask in enumerate(asks):
            if reply := self._cache.get(ask.key):
                yield index, reply
            else:
                missing.append(index)
        while missing:
            before = len(missing)
            taken: dict[int, int] = {}
            try:
                for index, outcome in self._backend.answer(self._admitted(asks, missing, taken)):
                    answer = self._settled(asks[index], outcome)
                    self._budget.release(taken.pop(index))
                    yield index, answer
            finally:
                for reserved in taken.values():
                    self._budget.release(reserved)
            if len(missing) == before:  # nothing is under way that could give back what it set aside
                raise self._budget.exhausted(before)

    def close(self) -> None:
        self._backend.close()
        self._cache.close()

    def _admitted(
        self, asks: Sequence[Ask], missing: deque[int], taken: dict[int, int]
    ) -> Iterator[tuple[int, Ask]]:
        while missing and (reserved := self._budget.reserve(asks[missing[0]])) is not None:
            index = missing.popleft()
            taken[index] = reserved
            yield index, asks[index]

    def _settled(self, ask: Ask, outcome: Outcome) -> Reply | Failure:
        answer, usage = outcome.answer, outcome.wasted
        if isinstance(answer, Reply):
            usage += Usage(answer.prompt_tokens, answer.completion_tokens)
            answer = replace(answer, cost_usd=self._budget.cost(usage))
        kept = answer if isinstance(answer, Reply) else None
        if kept is not None or usage.tokens:
            self._cache.add(ask.key, kept, usage, self._budget.cost(usage))
        return answer
