"""What the stages that ask a teacher share: the journal, the progress bar and the bill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from distill.asking import Asking
from distill.pipeline import Context
from distill.progress import bar
from distill.recipe import Teacher
from distill.teachers.base import Ask, Failure, Reply


@contextmanager
def ask_with(context: Context, teacher: Teacher | None = None, journal: str = "journal") -> Iterator[Asking]:
    """An `Asking` for this stage, of the recipe's teacher or another; what it spends is counted, also when
    the stage breaks off."""
    what = f"{context.stage.name}: asking"
    with context.stage.journal(journal) as kept, bar(what) as advance:
        asking = Asking(LazyTeacher(context, teacher), kept, advance)
        try:
            yield asking
        finally:
            context.spent(asking)


class LazyTeacher:
    """A teacher that is loaded at its first question: a stage whose answers are all in the journal loads none."""

    def __init__(self, context: Context, settings: Teacher | None) -> None:
        self._context = context
        self._settings = settings

    @property
    def name(self) -> str:
        """As the teacher's."""
        return self._context.teacher(self._settings).name

    def generate(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Failure]]:
        """As the teacher's."""
        return self._context.teacher(self._settings).generate(asks)

    def close(self) -> None:
        """The context closes its teachers."""
