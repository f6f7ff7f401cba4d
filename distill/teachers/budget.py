"""What a teacher may spend over a whole run, tokens and US dollars, and what it has spent.

Before a question is asked its likely cost is set aside, so that the questions under way cannot together run
over the limit. Where the totals are kept, so that a restart goes on from them, is the `Ledger`'s business.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

from distill.recipe import Budget, Price
from distill.teachers.base import Ask
from distill.teachers.prompts import estimated_prompt_tokens
from serve.errors import DistilsqlError

_PER_MILLION = 1e-6


class BudgetSpent(DistilsqlError):
    """The teacher's budget does not allow another question. What was answered is kept."""

    status = 402
    type = "budget_error"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that are paid for."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens
        )


NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Spent:
    """Totals of a run."""

    tokens: int = 0
    usd: float = 0.0


class Ledger(Protocol):
    """Where the totals are kept."""

    def spent(self) -> Spent:
        """All that was spent, by earlier processes too."""


class BudgetMeter:
    """Admits questions while the budget lasts."""

    def __init__(self, limits: Budget, price: Price, ledger: Ledger) -> None:
        self._limits = limits
        self._price = price
        self._ledger = ledger
        self._reserved: dict[int, Spent] = {}
        self._numbers = itertools.count()

    def cost(self, usage: Usage) -> float:
        """US dollars."""
        return _PER_MILLION * (
            usage.prompt_tokens * self._price.prompt + usage.completion_tokens * self._price.completion
        )

    def reserve(self, ask: Ask) -> int | None:
        """Set aside what a question may cost, under a number for `release`; None when less is left."""
        usage = Usage(estimated_prompt_tokens(ask), ask.sampling.max_tokens)
        wanted = Spent(usage.tokens, self.cost(usage))
        left = self._left()
        if self._limits.tokens and wanted.tokens > left.tokens:
            return None
        if self._limits.usd and wanted.usd > left.usd:
            return None
        number = next(self._numbers)
        self._reserved[number] = wanted
        return number

    def release(self, number: int) -> None:
        """The question is over, whatever it cost. Idempotent."""
        self._reserved.pop(number, None)

    def exhausted(self, unanswered: int) -> BudgetSpent:
        """The error that says so."""
        spent, left = self._ledger.spent(), self._left()
        limits = []
        if self._limits.tokens:
            limits.append(
                f"{spent.tokens} of {self._limits.tokens} tokens are spent ({max(0, left.tokens)} left)"
            )
        if self._limits.usd:
            limits.append(
                f"${spent.usd:.4f} of ${self._limits.usd:g} are spent (${max(0.0, left.usd):.4f} left)"
            )
        return BudgetSpent(
            f"the teacher's budget does not allow the next question: {', '.join(limits)}; {unanswered} questions "
            "are not answered. What was answered is kept: raise `budget` in the recipe and run it again"
        )

    def _left(self) -> Spent:
        spent, reserved = self._ledger.spent(), list(self._reserved.values())
        return Spent(
            self._limits.tokens - spent.tokens - sum(one.tokens for one in reserved),
            self._limits.usd - spent.usd - sum(one.usd for one in reserved),
        )
