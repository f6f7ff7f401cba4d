"""Stage `sft`: the student learns the teacher's texts (black box)."""

from __future__ import annotations

from distill.pipeline import Context
from distill.stages import learning
from distill.stages.fitting import fit
from distill.training import TrainingJob


def run(context: Context) -> None:
    """Train from the recipe's student."""
    recipe = context.recipe
    data = learning.split(context, recipe.sft)
    job = TrainingJob(
        student=learning.student_path(context),
        tokenizer=data.tokenizer,
        examples=data.train,
        held_out=data.held_out,
        targets=None,
        settings=recipe.sft,
        model=recipe.student,
        seed=context.stage.seed,
        folder=context.stage.folder,
        ranks=learning.ranks(context, recipe.sft),
        hostfile=learning.hostfile(context),
    )
    fit(context, job)
