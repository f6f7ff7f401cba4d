"""Stage `answer`: the teacher's answers. Only answered records go on."""

from __future__ import annotations

from distill.agents import answering
from distill.pipeline import Context
from distill.stages.agent import ask_with
from distill.teachers.base import Ask


def run(context: Context) -> None:
    """Ask for every answer that is missing."""
    records = context.records()
    with ask_with(context) as asking:
        outcome = answering.run(records, context.recipe.answer, asking, seed=context.stage.seed)
    context.hand_on(outcome.records, outcome.rejections, outcome.metrics)


def preview(context: Context) -> list[Ask]:
    """What would be asked."""
    return answering.preview(context.records(), context.recipe.answer, seed=context.stage.seed)
