"""Asking a teacher so that nothing is asked twice: replies go into the stage's journal as they come.

Knows nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from distill.runs import Journal
from distill.teachers.base import Ask, Failure, Generator, Reply

Advance = Callable[[int, int], None]
"""Told how many are done, of how many."""


@dataclass
class Asking:
    """A teacher, a journal, and what was spent."""

    teacher: Generator
    journal: Journal
    advance: Advance = lambda done, total: None
    prompt_tokens: int = field(default=0, init=False)
    completion_tokens: int = field(default=0, init=False)
    cost_usd: float = field(default=0.0, init=False)
    failures: int = field(default=0, init=False)

    def ask(self, asks: Sequence[Ask]) -> dict[str, Reply | Failure]:
        """The answers by `Ask.key`; only those that the journal lacks are asked.

        A failure is remembered for this attempt only: the next attempt asks again. What was spent counts
        all attempts, as their replies are in the journal.
        """
        wanted = {ask.key: ask for ask in asks}
        answers: dict[str, Reply | Failure] = {}
        for key in wanted:
            if known := self.journal.get(key):
                answers[key] = self._spent(Reply(**known))
        missing = [ask for key, ask in wanted.items() if key not in answers]
        if missing:
            self.advance(len(answers), len(wanted))
            for index, answer in self.teacher.generate(missing):
                key = missing[index].key
                if isinstance(answer, Reply):
                    self.journal.add(key, asdict(answer))
                    self._spent(answer)
                else:
                    self.failures += 1
                answers[key] = answer
                self.advance(len(answers), len(wanted))
        return answers

    def _spent(self, reply: Reply) -> Reply:
        if not reply.cached:
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens
            self.cost_usd += reply.cost_usd
        return reply
