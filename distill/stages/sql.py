"""Stage `sql`: the SQL track's records beside those that came in."""

from __future__ import annotations

from distill import sqltrack
from distill.pipeline import Context
from distill.stages.agent import ask_with
from distill.teachers.base import Ask


def run(context: Context) -> None:
    """Make schemas, statements and what is asked of them; nothing where `sql.schemas` is 0."""
    records = context.records()
    if not context.recipe.sql.schemas:
        context.hand_on(records)
        return
    with ask_with(context) as asking:
        outcome = sqltrack.run(context.recipe.sql, asking, seed=context.stage.seed)
    context.hand_on([*records, *outcome.records], outcome.rejections, outcome.metrics)


def preview(context: Context) -> list[Ask]:
    """What would be asked first."""
    return sqltrack.preview(context.recipe.sql, seed=context.stage.seed)
