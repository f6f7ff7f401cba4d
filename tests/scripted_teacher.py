"""A teacher whose replies a test writes: a function from a question to a reply, a failure or plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from distill.asking import Asking
from distill.runs import Journal
from distill.teachers.base import Ask, Failure, Reply

Script = Callable[[Ask], str | Reply | Failure]


class ScriptedTeacher:
    """Answers in reverse order, as a real one may finish in any."""

    name = "scripted"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.asked: list[Ask] = []

    def generate(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply | Failure]]:
        for index in reversed(range(len(asks))):
            self.asked.append(asks[index])
            said = self._script(asks[index])
            yield index, Reply(said, 10, 5) if isinstance(said, str) else said

    def close(self) -> None:
        pass


@contextmanager
def asking(folder: Path, script: Script) -> Iterator[tuple[Asking, ScriptedTeacher]]:
    """An `Asking` with its journal in `folder`, and the teacher behind it."""
    teacher = ScriptedTeacher(script)
    with Journal(folder / "journal.jsonl") as journal:
        yield Asking(teacher, journal), teacher


def last(ask: Ask) -> str:
    """What was asked last."""
    return ask.messages[-1].content


def between(text: str, tag: str) -> str:
    """The last <tag>...</tag> of a prompt that holds something of the user's, the form at its end aside."""
    parts = text.split(f"<{tag}>\n")[1:-1]
    return parts[-1].split(f"\n</{tag}>")[0]


def never(ask: Ask) -> str:
    """For agents that must not ask."""
    raise AssertionError(f"asked: {ask}")
