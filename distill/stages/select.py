"""Stage `select`: the records that are worth learning. Held-out ones are not chosen among: they all stay."""

from __future__ import annotations

from collections.abc import Sequence

from distill.agents import selection
from distill.pipeline import Context
from distill.recipe import Teacher
from distill.records import Record
from distill.stages.agent import ask_with
from distill.stages.learning import HELD_OUT, student_path
from distill.teachers.base import Ask, Scorer, ScoreRequest


def run(context: Context) -> None:
    """Select under the recipe's budget."""
    records = context.records()
    chosen = [record for record in records if record.facts.get("split") != HELD_OUT]
    kept_back = [record for record in records if record.facts.get("split") == HELD_OUT]
    settings = context.recipe.select
    with ask_with(context) as asking:
        outcome = selection.run(
            chosen,
            settings,
            asking,
            seed=context.stage.seed,
            teacher=lambda some: _mean_logprobs(context, context.scorer(), some),
            student=lambda some: _under_student(context, some),
        )
    metrics = outcome.metrics | {"held_out": len(kept_back)}
    context.hand_on([*outcome.records, *kept_back], outcome.rejections, metrics)


def preview(context: Context) -> list[Ask]:
    """What the judge would be asked."""
    return selection.preview(context.records(), context.recipe.select, seed=context.stage.seed)


def _under_student(context: Context, records: Sequence[Record]) -> list[float]:
    from distill.teachers.factory import open_scorer

    path = student_path(context)
    teacher = Teacher(kind="llamacpp" if path.is_file() else "transformers", model=str(path))
    scorer = open_scorer(teacher)
    try:
        return _mean_logprobs(context, scorer, records)
    finally:
        scorer.close()


def _mean_logprobs(context: Context, scorer: Scorer, records: Sequence[Record]) -> list[float]:
    """Mean log-probability of each response's tokens; 0 for one that is too long, which is then of no difficulty."""
    from distill.examples import Example, encode
    from distill.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(student_path(context))
    encoded = [encode(record, tokenizer, context.recipe.sft.max_tokens) for record in records]
    found = [0.0] * len(records)
    examples = [(at, one) for at, one in enumerate(encoded) if isinstance(one, Example)]
    requests = [ScoreRequest(one.ids, one.positions) for _, one in examples]
    for index, rows in scorer.score(requests, 1):
        found[examples[index][0]] = float(rows.target_logprobs.mean())
    return found
