"""Stage `verify`: the records that are right."""

from __future__ import annotations

from distill.agents import verification
from distill.pipeline import Context
from distill.stages.agent import ask_with
from distill.teachers.base import Ask


def run(context: Context) -> None:
    """Check, and ask the verifier where the recipe wants votes."""
    recipe = context.recipe
    records = context.records()
    with ask_with(context, recipe.verifier) as asking:
        outcome = verification.run(records, recipe.verify, asking, seed=context.stage.seed, base=context.base)
    context.hand_on(outcome.records, outcome.rejections, outcome.metrics)


def preview(context: Context) -> list[Ask]:
    """What the verifier would be asked."""
    return verification.preview(
        context.records(), context.recipe.verify, seed=context.stage.seed, base=context.base
    )
