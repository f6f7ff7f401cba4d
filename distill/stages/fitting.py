"""Runs a training job as a stage: its progress, its figures, its curve."""

from __future__ import annotations

from dataclasses import replace

from distill.pipeline import Context
from distill.progress import bar
from distill.runs import file_hash
from distill.training import TrainingJob, TrainingResult, curves, train


def fit(context: Context, job: TrainingJob) -> TrainingResult:
    """Train, draw `curve.png`, and put the figures into the stage's manifest."""
    name = context.stage.name
    with bar(f"{name}: tokens") as advance:
        result = train(replace(job, advance=advance))
    curves.draw(job.folder, job.folder / "curve.png", title=f"{context.recipe.name}, {name}")
    metrics: dict[str, float | None] = {
        "steps": result.steps,
        "tokens": result.tokens,
        "targets": result.targets,
        "tokens_per_s": round(result.tokens / max(result.seconds, 1e-9), 2),
        "peak_bytes": result.peak_bytes,
    }
    for when, measured in (("before", result.before), ("after", result.after)):
        if measured is not None:
            metrics |= {
                f"cross_entropy_{when}": measured.cross_entropy,
                f"kl_{when}": measured.kl,
                f"agreement_{when}": measured.agreement,
            }
    context.stage.metrics |= metrics
    context.stage.outputs |= {
        f"final/{path.name}": file_hash(path) for path in sorted(result.final.iterdir()) if path.is_file()
    }
    return result
