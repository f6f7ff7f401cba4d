"""Selection: what is worth learning, and of that a diverse subset under the budget.

Measures every record (`quality`), can let the teacher grade it, and can weigh in its difficulty: the mean
log-probability of the answer's tokens under the teacher minus that under the student, in nats a token (the
model-fit difference: what is likely to the teacher and not to the student is what there is to learn).
Knows no models: scorers are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, Field

from distill.agents import diversity, quality
from distill.agents.outcome import Outcome, counted, distinct, tally
from distill.agents.prompt_files import prompt, question
from distill.agents.reading import ask_for, reads
from distill.agents.similarity import signatures
from distill.asking import Asking
from distill.recipe import Selection
from distill.records import Record, Rejection
from distill.teachers.base import Ask
from serve.errors import InvalidRequest

AGENT = "selection"
Scored = Callable[[Sequence[Record]], list[float]]
"""Mean log-probability of each record's response tokens, in nats, in the order of the records."""
_JUDGE_TOKENS = 64
_FIM_CONTEXT = 400
_PRIOR = 0.5


class _Grade(BaseModel):
    quality: float = Field(ge=1, le=5)
    generality: float = Field(ge=1, le=5)


def run(
    records: Sequence[Record],
    settings: Selection,
    asking: Asking,
    *,
    seed: int,
    teacher: Scored | None = None,
    student: Scored | None = None,
) -> Outcome:
    """The records kept, in their old order, with scores `selection/...`.

    `teacher` and `student` are needed where `settings.difficulty` is on; InvalidRequest else.
    """
    rejections: list[Rejection] = []
    measured = [_measured(record) for record in distinct(records)]
    passing = _sieved(measured, settings, rejections)
    if settings.judge:
        passing = _judged(passing, settings, asking, seed, rejections)
    if settings.difficulty:
        passing = _with_difficulty(passing, teacher, student)
    kept = _within_budget(passing, settings, rejections)
    metrics = tally(
        kept,
        rejections,
        duplicates=len(records) - len(measured),
        ungraded=sum("selection/grade" not in record.scores for record in passing) if settings.judge else 0,
        categories_before=counted(record.category or "other" for record in measured),
        means=_means(kept),
    )
    return Outcome(kept, rejections, metrics)


def preview(records: Sequence[Record], settings: Selection, *, seed: int) -> list[Ask]:
    """What the judge is asked; nothing where there is none."""
    if not settings.judge:
        return []
    passing = _sieved([_measured(record) for record in distinct(records)], settings, [])
    return [_judge_ask(record, seed) for record in passing]


def _measured(record: Record) -> Record:
    text = record.response
    return record.scored(
        selection__density=round(quality.density(text), 4),
        selection__noise=round(quality.noise(text), 4),
        selection__generality=round(quality.generality(record.instruction), 4),
    )


def _sieved(records: Sequence[Record], settings: Selection, rejections: list[Rejection]) -> list[Record]:
    passing = []
    for record in records:
        density, noise = record.scores["selection/density"], record.scores["selection/noise"]
        if not record.response:
            rejections.append(_rejected(record, "not answered"))
        # A completion may be a single bracket: there is no density to speak of.
        elif record.kind == "chat" and density < settings.min_density:
            rejections.append(_rejected(record, "low density", f"{density:.3f} < {settings.min_density}"))
        elif noise > settings.max_noise:
            rejections.append(_rejected(record, "noise", f"{noise:.3f} > {settings.max_noise}"))
        else:
            passing.append(record)
    return passing


def _judge_ask(record: Record, seed: int) -> Ask:
    return question(
        prompt("judge", instruction=record.instruction, answer=record.response),
        purpose=f"{AGENT}/judge",
        temperature=0.0,
        max_tokens=_JUDGE_TOKENS,
        seed=seed,
    )


def _judged(
    records: Sequence[Record],
    settings: Selection,
    asking: Asking,
    seed: int,
    rejections: list[Rejection],
) -> list[Record]:
    """Chat records with their grade; one without a readable grade stays, ungraded. Others are not asked about."""
    chats = [record for record in records if record.kind == "chat"]
    grades = ask_for([_judge_ask(record, seed) for record in chats], reads(_Grade), asking)
    by_id = {record.id: grade.value for record, grade in zip(chats, grades, strict=True)}
    passing = []
    for record in records:
        if not (grade := by_id.get(record.id)):
            passing.append(record)
            continue
        mean = (grade.quality + grade.generality) / 2
        graded = record.scored(selection__grade=mean)
        if mean < settings.min_grade:
            rejections.append(_rejected(graded, "low grade", f"{mean:g} < {settings.min_grade:g}"))
        else:
            passing.append(graded)
    return passing


def _with_difficulty(
    records: Sequence[Record], teacher: Scored | None, student: Scored | None
) -> list[Record]:
    if teacher is None or student is None:
        raise InvalidRequest(
            "select.difficulty compares teacher and student: give a teacher that scores tokens, or switch it off"
        )
    pairs = zip(records, teacher(records), student(records), strict=True)
    return [
        record.scored(
            selection__teacher_logprob=round(of_teacher, 5),
            selection__student_logprob=round(of_student, 5),
            selection__difficulty=round(of_teacher - of_student, 5),
        )
        for record, of_teacher, of_student in pairs
    ]


def _within_budget(
    records: Sequence[Record], settings: Selection, rejections: list[Rejection]
) -> list[Record]:
    records = _with_worth(records)
    if not settings.budget or len(records) <= settings.budget:
        return records
    groups: dict[str, list[int]] = {}
    for at, record in enumerate(records):
        groups.setdefault(record.category, []).append(at)
    available = {category: len(group) for category, group in groups.items()}
    share = diversity.shares(available, settings.budget, settings.category_balance)
    chosen: set[int] = set()
    for category, group in groups.items():
        worth = np.array([max(1e-6, records[at].scores["selection/worth"]) for at in group])
        rows = signatures([_compared(records[at]) for at in group])
        chosen |= {group[at] for at in diversity.farthest_first(rows, worth, share[category])}
    rejections += [_rejected(record, "over budget") for at, record in enumerate(records) if at not in chosen]
    return [record for at, record in enumerate(records) if at in chosen]


def _with_worth(records: Sequence[Record]) -> list[Record]:
    """selection/worth: the mean of density, generality, 1 - noise, and, where there are any, grade and difficulty.

    Difficulty counts by its rank among all, as its scale depends on the models.
    """
    difficulty = [record.scores.get("selection/difficulty", 0.0) for record in records]
    order = np.argsort(np.argsort(difficulty, kind="stable"), kind="stable")
    worthy = []
    for record, rank in zip(records, order, strict=True):
        scores = record.scores
        parts = [scores["selection/density"], scores["selection/generality"], 1 - scores["selection/noise"]]
        if "selection/grade" in scores:
            parts.append((scores["selection/grade"] - 1) / 4)
        if "selection/difficulty" in scores:
            parts.append(float(rank) / (len(records) - 1) if len(records) > 1 else _PRIOR)
        worthy.append(record.scored(selection__worth=round(sum(parts) / len(parts), 5)))
    return worthy


def _compared(record: Record) -> str:
    """By what two records are alike: what they ask; at a cursor, what stands around it."""
    if record.kind == "chat":
        return record.instruction
    return f"{record.prompt[-_FIM_CONTEXT:]} {record.completion} {record.suffix[:_FIM_CONTEXT]}"


def _means(records: Sequence[Record]) -> dict[str, float]:
    names = sorted({name for record in records for name in record.scores if name.startswith(f"{AGENT}/")})
    return {
        name.partition("/")[2]: round(
            float(np.mean([record.scores[name] for record in records if name in record.scores])), 4
        )
        for name in names
    }


def _rejected(record: Record, reason: str, detail: str = "") -> Rejection:
    return Rejection(record=record, agent=AGENT, reason=reason, detail=detail)
