"""Human annotation: a sample goes out as JSON lines, labels come back, and figures say how far people and agents agree.

    TASKS.jsonl          what is labelled: records, and (not shown to people) the agents' verdict
    labels-NAME.jsonl    what one person said of it; each person has a file of their own

Knows no page: `annotate_page` is one way to label, any other program that writes such lines is another.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from distill.agents.outcome import Outcome, tally
from distill.agents.prompt_files import derived_seed
from distill.records import Record, Rejection
from serve.errors import NotFound, Unprocessable
from serve.files import write_atomic

AGENT = "annotation"
Verdict = Literal["keep", "drop"]
_AGENTS = "agents"
_MAJORITY = "majority"


class Task(BaseModel):
    """One record to label."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Record
    agents: Verdict
    """What the agents made of it; people are not shown it."""
    reason: str = ""
    """Why, where they dropped it."""


class Label(BaseModel):
    """What one person said of one record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Of the record."""
    annotator: str
    label: Verdict
    comment: str = ""


Line = TypeVar("Line", bound=BaseModel)


def sample(
    records: Sequence[Record], rejections: Sequence[Rejection], count: int, *, seed: int
) -> list[Task]:
    """Up to `count` answered records in random order: half of them kept ones, half rejected, as far as there are."""
    kept = [Task(record=record, agents="keep") for record in records if record.response]
    dropped = [
        Task(record=one.record, agents="drop", reason=one.reason) for one in rejections if one.record.response
    ]

    def shuffled(tasks: Iterable[Task]) -> list[Task]:
        return sorted(tasks, key=lambda task: (derived_seed(seed, AGENT, task.record.id), task.record.id))

    ids = {task.record.id for task in kept}
    # Several agents may have rejected the same text; a kept one is no rejected one.
    once = {task.record.id: task for task in dropped if task.record.id not in ids}
    kept, dropped = shuffled({task.record.id: task for task in kept}.values()), shuffled(once.values())
    half = max(count // 2, count - len(kept))
    chosen = dropped[:half]
    return shuffled([*chosen, *kept[: count - len(chosen)]])


def export_tasks(path: Path, tasks: Iterable[Task]) -> None:
    """Write the file that is labelled."""
    _write(path, tasks)


def read_tasks(path: Path) -> list[Task]:
    """NotFound; Unprocessable names the line that is wrong."""
    return _read(path, Task)


def labels_file(tasks: Path, annotator: str) -> Path:
    """Where one person's labels for a file of tasks are."""
    return tasks.with_name(f"labels-{annotator}.jsonl")


def write_labels(path: Path, labels: Iterable[Label]) -> None:
    """Replace the file."""
    _write(path, labels)


def read_labels(path: Path) -> list[Label]:
    """NotFound; Unprocessable names the line that is wrong. A later label of the same person and record counts."""
    last = {(label.annotator, label.id): label for label in _read(path, Label)}
    return list(last.values())


def apply_labels(records: Sequence[Record], labels: Sequence[Label]) -> Outcome:
    """Drop what more than half of its annotators drop; `annotation/keep` is the share that keeps it."""
    by_id: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        by_id[label.id].append(label)
    kept: list[Record] = []
    rejections: list[Rejection] = []
    for record in records:
        mine = by_id.get(record.id, [])
        if not mine:
            kept.append(record)
            continue
        share = sum(label.label == "keep" for label in mine) / len(mine)
        scored = record.scored(annotation__keep=round(share, 4))
        if share >= 0.5:
            kept.append(scored)
        else:
            said = "; ".join(label.comment for label in mine if label.comment)
            rejections.append(
                Rejection(record=scored, agent=AGENT, reason="dropped by annotators", detail=said[:300])
            )
    return Outcome(kept, rejections, tally(kept, rejections, agreement=agreement((), labels)))


def agreement(tasks: Sequence[Task], labels: Sequence[Label]) -> list[dict[str, Any]]:
    """For each pair of annotators, of the agents with each, and of the agents with the majority: how often they agree.

    {"between": [one, other], "items", "agree": share, "kappa": Cohen's or None}; agents come first. A record on which
    the annotators are split has no majority.
    """
    by_person: dict[str, dict[str, str]] = defaultdict(dict)
    for label in labels:
        by_person[label.annotator][label.id] = label.label
    people = sorted(by_person)
    pairs = []
    agents = {task.record.id: str(task.agents) for task in tasks}
    if agents:
        pairs += [((_AGENTS, person), agents, by_person[person]) for person in people]
        if len(people) > 1:
            pairs.append(((_AGENTS, _MAJORITY), agents, _majority(by_person)))
    pairs += [
        ((one, other), by_person[one], by_person[other]) for one, other in itertools.combinations(people, 2)
    ]
    figures = []
    for names, left, right in pairs:
        both = sorted(left.keys() & right.keys())
        ratings = [(left[key], right[key]) for key in both]
        share = sum(a == b for a, b in ratings) / len(ratings) if ratings else None
        figures.append(
            {
                "between": list(names),
                "items": len(both),
                "agree": None if share is None else round(share, 4),
                "kappa": cohens_kappa(ratings),
            }
        )
    return figures


def _majority(by_person: dict[str, dict[str, str]]) -> dict[str, str]:
    votes: dict[str, list[int]] = defaultdict(list)
    for said in by_person.values():
        for key, label in said.items():
            votes[key].append(1 if label == "keep" else -1)
    return {key: "keep" if sum(cast) > 0 else "drop" for key, cast in votes.items() if sum(cast)}


def cohens_kappa(ratings: Sequence[tuple[str, str]]) -> float | None:
    """(p_o - p_e) / (1 - p_e), Cohen 1960; None where it is undefined: no items, or one label only."""
    if not ratings:
        return None
    total = len(ratings)
    observed = sum(one == other for one, other in ratings) / total
    labels = {label for pair in ratings for label in pair}
    expected = sum(
        sum(one == label for one, _ in ratings) * sum(other == label for _, other in ratings)
        for label in labels
    ) / (total * total)
    return None if expected == 1 else round((observed - expected) / (1 - expected), 4)


class Labelling:
    """One person's way through a file of tasks; every label is on the disk before the next is shown."""

    def __init__(self, tasks: Path, annotator: str) -> None:
        """Goes on where an earlier one stopped. Unprocessable for a name that cannot be part of a file name."""
        if not annotator or not annotator.replace("-", "").replace("_", "").isalnum():
            raise Unprocessable(
                f"{annotator!r} cannot be an annotator's name: use letters, digits, - and _",
                param="annotator",
            )
        self.annotator = annotator
        self.tasks = read_tasks(tasks)
        if not self.tasks:
            raise Unprocessable(f"{tasks} has no tasks")
        self.path = labels_file(tasks, annotator)
        known = read_labels(self.path) if self.path.exists() else []
        self._labels = {label.id: label for label in known}

    @property
    def done(self) -> int:
        """How many have a label."""
        return sum(task.record.id in self._labels for task in self.tasks)

    def of(self, at: int) -> Label | None:
        """The label of task `at`."""
        return self._labels.get(self.tasks[at].record.id)

    def label(self, at: int, label: Verdict, comment: str) -> None:
        """Set or replace the label of task `at`."""
        record = self.tasks[at].record
        labels = {
            **self._labels,
            record.id: Label(id=record.id, annotator=self.annotator, label=label, comment=comment.strip()),
        }
        write_labels(self.path, labels.values())
        self._labels = labels

    def first_open(self) -> int:
        """The first task without a label; the last one where all have theirs."""
        return next((at for at in range(len(self.tasks)) if not self.of(at)), len(self.tasks) - 1)


def _write(path: Path, lines: Iterable[BaseModel]) -> None:
    write_atomic(path, "".join(line.model_dump_json() + "\n" for line in lines).encode("utf-8"))


def _read(path: Path, model: type[Line]) -> list[Line]:
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found.append(model.model_validate(json.loads(line)))
            except (ValueError, ValidationError) as error:
                first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
                raise Unprocessable(
                    f"{path}, line {number} is no {model.__name__.lower()}: {first}"
                ) from error
    return found
