"""Stage `kd`: the student learns the teacher's distributions (white box)."""

from __future__ import annotations

from pathlib import Path

from distill.logits.online import OnlineTargets, StoreTargets
from distill.logits.store import LogitStore
from distill.pipeline import Context
from distill.stages import learning
from distill.stages.capture import STORE
from distill.stages.fitting import fit
from distill.stages.learning import Split
from distill.students import resolve_model
from distill.training import TrainingJob


def run(context: Context) -> None:
    """Train on from stage `sft`, where the recipe has it, else from the recipe's student."""
    data = learning.split(context, context.recipe.kd)
    if context.recipe.capture.online:
        targets = OnlineTargets(
            context.scorer(),
            context.recipe.capture,
            tokenizer_hash=data.tokenizer.hash,
            seed=context.stage.seed,
        )
        try:
            fit(context, _job(context, data, targets))
        finally:
            targets.close()
        return
    store = LogitStore.open(context.run.folder("capture") / STORE, tokenizer_hash=data.tokenizer.hash)
    kept = StoreTargets(store)
    kept.require([*data.train, *data.held_out])
    fit(context, _job(context, data, kept))


def _job(context: Context, data: Split, targets: StoreTargets | OnlineTargets) -> TrainingJob:
    recipe = context.recipe
    teacher = recipe.scorer or recipe.teacher
    return TrainingJob(
        student=start(context),
        tokenizer=data.tokenizer,
        examples=data.train,
        held_out=data.held_out,
        targets=targets,
        settings=recipe.kd,
        model=recipe.student,
        seed=context.stage.seed,
        folder=context.stage.folder,
        ranks=learning.ranks(context, recipe.kd),
        hostfile=learning.hostfile(context),
        sampled=recipe.capture.draws > 0,
        transfer_teacher=resolve_model(teacher.model, context.settings) if recipe.kd.transfers else None,
    )


def start(context: Context) -> Path:
    """The weights that stage 2 begins with."""
    if "sft" in context.recipe.stages:
        return context.run.folder("sft") / "final"
    return learning.student_path(context)
