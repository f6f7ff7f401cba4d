"""Stage `expand`: new instructions from the seeds."""

from __future__ import annotations

from distill.agents import expansion
from distill.pipeline import Context
from distill.stages.agent import ask_with
from distill.teachers.base import Ask


def run(context: Context) -> None:
    """Ask for wordings and new instructions; the seeds go on beside them."""
    records = context.records()
    with ask_with(context) as asking:
        outcome = expansion.run(records, context.recipe.expand, asking, seed=context.stage.seed)
    context.hand_on(outcome.records, outcome.rejections, outcome.metrics)


def preview(context: Context) -> list[Ask]:
    """What would be asked first."""
    return expansion.preview(context.records(), context.recipe.expand, seed=context.stage.seed)
