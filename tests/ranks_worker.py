"""What each of two ranks runs in the tests: several jobs in one process group, as `torchrun` would start them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_students as tiny
import torch

from distill.recipe import Distillation, Lora, Student
from distill.training import TrainingJob, ranks, train, trainer
from distill.training.deepspeed_engine import DeepSpeedEngine


def jobs(folder: Path, student: Path) -> dict[str, TrainingJob]:
    """By name; each with `zero_stage` 0, as one process runs it."""

    def job(name: str, model: Student | None = None, **changes: Any) -> TrainingJob:
        # Packs of one process and of a rank differ, so that sums are made in another order.
        settings = tiny.settings(Distillation, **{"micro_tokens": 48, "weight_decay": 0.1} | changes)
        return tiny.job(
            folder / name,
            student=student,
            settings=settings,
            model=model or Student(model="t", dtype="float32"),
        )

    lora = Student(model="t", dtype="float32", lora=Lora(rank=4))
    return {
        "whole": job("whole"),
        "single": job("single", epochs=1, step_tokens=1),
        "adapter": job("adapter", lora, gradient_checkpointing=True),
        "half": job("half", Student(model="t", dtype="bfloat16"), learning_rate=1e-30),
        "resumed": job("resumed", checkpoint_every=2),
    }


def split(job: TrainingJob, stage: int) -> TrainingJob:
    """The same job over two ranks."""
    settings = job.settings.model_copy(update={"zero_stage": stage})
    return replace(
        job, settings=settings, ranks=2, folder=job.folder.with_name(f"{job.folder.name}-zero{stage}")
    )


def _check_rotary_frequencies(job: TrainingJob) -> None:
    """Rounded to bfloat16 by DeepSpeed they would put far tokens at wrong angles."""
    learner = trainer._learner(job, torch.device("cpu"), split=True)
    exact = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    DeepSpeedEngine(learner, job.settings, ranks.join(job.settings), half=True)
    assert learner.head.dtype == torch.bfloat16
    for name, buffer in learner.named_buffers():
        assert torch.equal(buffer, exact[name]), name


class Killed(Exception):
    pass


def main(folder: Path, student: Path) -> None:
    torch.set_num_threads(1)
    for name, job in jobs(folder, student).items():
        for stage in (2, 3):
            mine = split(job, stage)
            if name == "resumed":
                _interrupt(mine)
            train(mine)
            if name == "half":
                _check_rotary_frequencies(mine)


def _interrupt(job: TrainingJob) -> None:
    """Both ranks leave behind the checkpoint of step 2."""
    checkpoint = job.folder / "checkpoints/step-00000002"

    class Interrupted(tiny.HashTeacher):
        def __call__(self, example: Any) -> Any:
            if checkpoint.exists():
                raise Killed
            return super().__call__(example)

    try:
        train(replace(job, targets=Interrupted()))
    except Killed:
        torch.distributed.barrier()
        return
    raise AssertionError("it was not interrupted")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
