"""The training loop, SFT and distillation alike, as one process or one rank runs it.

Plain on purpose: the plan says what each step learns, a pass sums its losses, the step's sum is divided by the
step's number of targets over all ranks, and AdamW follows. Knows neither how ranks are started nor losses.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distill.losses.sparse import LossSettings
from distill.recipe import Distillation
from distill.students import load_student
from distill.training import final, held_out, memory
from distill.training.batch import Batch, build
from distill.training.checkpoints import Checkpoints, State
from distill.training.engine import Engine, PlainEngine
from distill.training.inner_states import TeacherBeside
from distill.training.job import Expecting, HeldOut, TrainingJob, TrainingResult
from distill.training.learner import Learner
from distill.training.metrics import MetricLog
from distill.training.step_plan import Step, StepPlan, cosine
from serve.errors import Unprocessable


def run(job: TrainingJob) -> TrainingResult:
    """Train in this process; where a launcher has started it as one of several, as one rank of them.

    Goes on from the newest checkpoint in the job's folder. Raises Unprocessable (a job that cannot be trained, a
    loss that is not finite, a damaged checkpoint) and Conflict (a checkpoint of another job).
    """
    job.check()
    from distill.training import ranks

    torch.manual_seed(job.seed)
    place = ranks.join(job.settings)
    learner = _learner(job, place.device, split=job.settings.zero_stage > 0)
    engine: Engine
    if job.settings.zero_stage:
        from distill.training.deepspeed_engine import DeepSpeedEngine

        engine = DeepSpeedEngine(learner, job.settings, place, half=job.model.dtype == "bfloat16")
    else:
        engine = PlainEngine(learner, job.settings, place.device)
    return TrainingRun(job, engine).run()


def _learner(job: TrainingJob, device: torch.device, *, split: bool) -> Learner:
    """The student in the types that it is trained in, see `engine`."""
    compute = torch.bfloat16 if job.model.dtype == "bfloat16" else torch.float32
    student = job.student
    if isinstance(student, (str, Path)):
        # What DeepSpeed splits it holds in float32 itself.
        held = compute if job.model.lora or split else torch.float32
        student = load_student(Path(student), dtype=held, lora=job.model.lora, device=device)
    if job.settings.gradient_checkpointing:
        student.activation_checkpointing_enable({"use_reentrant": False})
        # Asked for by the reentrant kind only; beside an adapter it would take gradients to frozen embeddings.
        student.disable_input_require_grads()
    loss = LossSettings.sft()
    if job.targets is not None:
        if not isinstance(job.settings, Distillation):
            raise Unprocessable("a training with a teacher's targets needs the settings of a Distillation")
        loss = LossSettings.of(job.settings, sampled=job.sampled)
    learner = Learner(
        student,
        loss,
        real_vocabulary=job.tokenizer.real_vocabulary,
        compute=compute,
        beside=_beside(job, student, compute, device),
    )
    return learner.train()


def _beside(
    job: TrainingJob, student: Any, compute: torch.dtype, device: torch.device
) -> TeacherBeside | None:
    """The teacher whose inner states are learned, where the settings ask for that."""
    if job.transfer_teacher is None or not isinstance(job.settings, Distillation) or not job.transfers:
        return None
    teacher = load_student(job.transfer_teacher, dtype=compute, device=device)
    return TeacherBeside.of(student, teacher, job.settings, real_vocabulary=job.tokenizer.real_vocabulary)


@dataclass
class _Clock:
    """Seconds of training proper, over all attempts."""

    before: float = 0.0
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        return self.before + self.spent


class TrainingRun:
    """One training on one rank: `run` is the whole of it."""

    def __init__(self, job: TrainingJob, engine: Engine) -> None:
        self._job = job
        self._engine = engine
        self._plan = StepPlan(
            job.examples,
            epochs=job.settings.epochs,
            step_tokens=job.settings.step_tokens,
            micro_tokens=job.settings.micro_tokens,
            seed=job.seed,
        )
        self._checkpoints = Checkpoints(job.folder / "checkpoints")
        self._clock = _Clock()
        self._log: MetricLog | None = None
        self._before: HeldOut | None = None

    def run(self) -> TrainingResult:
        job, engine, settings = self._job, self._engine, self._job.settings
        steps = self._plan.steps
        done = self._resume()
        if engine.rank == 0:
            self._log = MetricLog(job.folder, done)
        try:
            if not done:
                torch.manual_seed(job.seed + engine.rank)
                self._before = self._measure(0)
            after = self._before
            for step in steps[done:]:
                self._learn(step)
                number = step.number + 1
                last = number == len(steps)
                if last or (settings.evaluate_every and number % settings.evaluate_every == 0):
                    after = self._measure(number)
                if last or (settings.checkpoint_every and number % settings.checkpoint_every == 0):
                    self._checkpoint(number)
            if done == len(steps):
                # Killed between the last checkpoint and the result.
                after = self._measure(done)
            return self._finish(after)
        finally:
            if self._log is not None:
                self._log.close()

    def _resume(self) -> int:
        """Steps done by an earlier attempt."""
        found = self._checkpoints.latest(self._job.fingerprint, self._engine.ranks)
        if found is None:
            return 0
        path, state = found
        self._checkpoints.read(self._engine, path)
        self._clock.before = state.seconds
        self._before = state.before
        return state.steps

    def _learn(self, step: Step) -> None:
        """One optimiser step."""
        job, engine = self._job, self._engine
        began = time.monotonic()
        total = torch.zeros(5, dtype=torch.float64, device=engine.device)
        passes = self._plan.passes(step, engine.rank, engine.ranks)
        self._expect(step.number)
        done = sum(one.tokens for one in self._plan.steps[: step.number])
        for number, one in enumerate(passes):
            batch = build([job.examples[index] for index in one.examples], job.targets, idle=one.idle)
            loss, figures = engine.forward(batch.to(engine.device))
            self._check_finite(loss, step, batch)
            engine.backward(loss / step.targets, last=number == len(passes) - 1)
            total += torch.cat([loss.detach().double()[None], figures])
            if engine.rank == 0:
                job.advance(done + step.tokens * (number + 1) // len(passes), self._plan.tokens)
        rate = cosine(step.number, len(self._plan.steps), job.settings.learning_rate, job.settings.warmup)
        norm = engine.step(rate)
        if not math.isfinite(norm):
            raise self._diverged("the gradient's norm", norm, step, self._records(step))
        sums = engine.total(total)
        seconds = time.monotonic() - began
        self._clock.spent += seconds
        if self._log is not None:
            self._log.step(step.number + 1, self._figures(step, sums.tolist(), rate, norm, seconds))

    def _expect(self, number: int) -> None:
        """Tell a live teacher of this rank's examples in this step and the next."""
        if isinstance(self._job.targets, Expecting):
            for step in self._plan.steps[number : number + 2]:
                for one in self._plan.passes(step, self._engine.rank, self._engine.ranks):
                    self._job.targets.expect([self._job.examples[index] for index in one.examples])

    def _figures(
        self, step: Step, sums: list[float], rate: float, norm: float, seconds: float
    ) -> dict[str, float]:
        loss, divergence, cross_entropy, agreement, count = sums
        figures = {
            "epoch": round(step.epoch, 4),
            "loss": loss / count,
            "cross_entropy": cross_entropy / count,
            "agreement": agreement / count,
            "learning_rate": rate,
            "gradient_norm": norm,
            "targets": step.targets,
            "tokens": step.tokens,
            "tokens_done": sum(one.tokens for one in self._plan.steps[: step.number + 1]),
            "tokens_total": self._plan.tokens,
            "tokens_per_s": step.tokens / seconds,
        }
        if self._job.targets is not None:
            figures["divergence"] = divergence / count
        return figures

    def _measure(self, number: int) -> HeldOut | None:
        job = self._job
        found = held_out.measure(
            self._engine, job.held_out, job.targets, job.settings.micro_tokens, sampled=job.sampled
        )
        if found is not None and self._log is not None:
            self._log.held_out(number, found)
        return found

    def _checkpoint(self, number: int) -> None:
        state = State(
            steps=number,
            ranks=self._engine.ranks,
            fingerprint=self._job.fingerprint,
            seconds=self._clock.seconds,
            before=self._before,
        )
        self._checkpoints.write(self._engine, state)

    def _finish(self, after: HeldOut | None) -> TrainingResult:
        job, engine = self._job, self._engine
        peak = memory.peak(engine.device)
        adapter = engine.learner.model is not engine.learner.student
        half = job.model.dtype == "bfloat16" and not adapter
        weights = engine.weights(torch.bfloat16 if half else torch.float32)
        if weights is not None:
            final.save(engine.learner, weights, job.tokenizer, job.folder)
        result = TrainingResult(
            final=job.folder / final.FOLDER,
            adapter=adapter,
            steps=len(self._plan.steps),
            tokens=self._plan.tokens,
            targets=self._plan.targets,
            seconds=self._clock.seconds,
            before=self._before,
            after=after,
            peak_bytes=peak,
        )
        if engine.rank == 0:
            final.write_result(result, job.fingerprint, job.folder)
        engine.barrier()
        return result

    def _check_finite(self, loss: Any, step: Step, batch: Batch) -> None:
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged("the loss", value, step, batch.records)

    def _records(self, step: Step) -> tuple[str, ...]:
        return tuple(self._job.examples[index].record_id for index in step.examples)

    def _diverged(self, what: str, value: float, step: Step, records: tuple[str, ...]) -> Unprocessable:
        named = ", ".join(records[:8]) + (f" and {len(records) - 8} more" if len(records) > 8 else "")
        return Unprocessable(
            f"{what} became {value} in step {step.number + 1} of {len(self._plan.steps)} (records {named}). "
            "Nothing of this step was learned; the last checkpoint is kept. Lower learning_rate (now "
            f"{self._job.settings.learning_rate:g}) or clip_norm, or leave these records out, and run again",
            param="learning_rate",
        )
