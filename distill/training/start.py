"""`train`: the one way in. Decides where a training runs; the loop is `trainer`."""

from __future__ import annotations

from distill.training.job import TrainingJob, TrainingResult


def train(job: TrainingJob) -> TrainingResult:
    """Train the student of `job`, in this process or, with a ZeRO stage and several ranks, through DeepSpeed's
    launcher.

    A finished training of the same job is not done again; an interrupted one goes on from its newest checkpoint.
    In a process that a launcher (DeepSpeed's, torchrun) has started already it runs as that rank. Raises
    Unprocessable, Conflict and Unavailable, see `trainer.run` and `launcher.launch`.
    """
    from distill.training import launcher
    from distill.training.final import read_result
    from distill.training.ranks import launched

    if not launched():
        job.check()
        if (result := read_result(job.folder, job.fingerprint)) is not None:
            job.advance(result.tokens, result.tokens)
            return result
        if job.ranks > 1:
            return launcher.launch(job)
    from distill.training.trainer import run

    return run(job)
