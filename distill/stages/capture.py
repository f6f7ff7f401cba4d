"""Stage `capture`: the teacher's log-probabilities of what will be learned, into the logit store."""

from __future__ import annotations

from distill.logits.capture import capture
from distill.pipeline import Context
from distill.progress import bar
from distill.stages import learning

STORE = "store"


def run(context: Context) -> None:
    """Score what the store lacks; nothing where the recipe asks the teacher online."""
    settings = context.recipe.capture
    if settings.online:
        context.stage.metrics["online"] = 1
        return
    data = learning.split(context, context.recipe.kd)
    with bar("capture: examples") as advance:
        report = capture(
            [*data.train, *data.held_out],
            context.scorer(),
            context.stage.folder / STORE,
            settings,
            tokenizer_hash=data.tokenizer.hash,
            seed=context.stage.seed,
            advance=advance,
        )
    for line in report.repaired:
        context.say(f"capture: captured again: {line}")
    context.stage.metrics |= {
        "positions": report.positions,
        "positions_per_s": round(report.tokens_per_s, 2),
        "scored_tokens": report.scored_tokens,
        "bytes_per_token": round(report.bytes_per_token, 2),
        "missing_mass_mean": report.missing_mass_mean,
        "teacher_cross_entropy": report.teacher_nll_mean,
    }
