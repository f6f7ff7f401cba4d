"""Stage `rewrite`: other words for the same wish, and reasoning."""

from __future__ import annotations

from distill.agents import rewriting
from distill.pipeline import Context
from distill.stages.agent import ask_with
from distill.teachers.base import Ask


def run(context: Context) -> None:
    """Ask for paraphrases and chains of thought; what came in goes on beside them."""
    records = context.records()
    with ask_with(context) as asking:
        outcome = rewriting.run(records, context.recipe.rewrite, asking, seed=context.stage.seed)
    context.hand_on(outcome.records, outcome.rejections, outcome.metrics)


def preview(context: Context) -> list[Ask]:
    """What would be asked first."""
    return rewriting.preview(context.records(), context.recipe.rewrite, seed=context.stage.seed)
