import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny_students as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from distill.examples import Example
from distill.losses.sparse import LossSettings
from distill.recipe import Distillation, Lora, Student
from distill.students import load_student
from distill.teachers.base import TopK
from distill.tokenizer import Tokenizer
from distill.training import TrainingJob, train, trainer
from distill.training.batch import build
from distill.training.learner import Learner
from distill.training.metrics import read
from serve.errors import Conflict, Unprocessable

DISTILLATION = tiny.settings(Distillation)


def weights(folder: Path) -> dict[str, Tensor]:
    return {
        name: tensor
        for path in sorted((folder / "final").glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def same(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def steps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read(folder / "metrics.jsonl") if "loss" in line]


class Killed(Exception):
    pass


def killed_in_step(number: int, job: TrainingJob) -> None:
    """Run `job` until the optimiser step `number` (from 1) is under way."""

    def advance(done: int, _total: int) -> None:
        before = sum(line["tokens"] for line in steps(job.folder) if line["step"] < number)
        if len(steps(job.folder)) == number - 1 and done > before:
            raise Killed

    with pytest.raises(Killed):
        train(replace(job, advance=advance))


def test_sft_learns_the_text_it_is_given(tmp_path: Path) -> None:
    examples = tiny.examples(6)
    result = train(
        tiny.job(
            tmp_path, targets=None, examples=examples, held_out=examples, settings=tiny.settings(epochs=60)
        )
    )
    assert result.before is not None and result.after is not None
    assert result.before.cross_entropy > 3.5
    assert result.after.cross_entropy < 0.5
    assert result.after.agreement > 0.9
    assert result.after.kl is None
    assert result.targets == 60 * sum(len(example.positions) for example in examples)


def test_distillation_brings_the_student_near_its_teacher(tmp_path: Path) -> None:
    examples = tiny.examples(6)
    result = train(
        tiny.job(
            tmp_path, examples=examples, held_out=examples, settings=tiny.settings(Distillation, epochs=60)
        )
    )
    assert result.before is not None and result.after is not None
    assert result.before.kl is not None and result.after.kl is not None
    assert result.after.kl < 0.35 * result.before.kl
    assert result.after.agreement > 0.7


def test_no_row_is_misaligned_over_epochs_shuffles_and_accumulation(tmp_path: Path) -> None:
    """With a learning rate of nothing each step's loss is known from its examples, each computed alone."""
    settings = tiny.settings(Distillation, epochs=3, learning_rate=1e-30, micro_tokens=40)
    job = tiny.job(tmp_path, settings=settings)
    assert job.targets is not None
    loss = LossSettings.of(settings)
    reference = Learner(tiny.student(), loss, real_vocabulary=tiny.REAL, compute=torch.float32)
    alone = [float(reference(build([one], job.targets))[0].detach()) for one in job.examples]
    train(job)
    run = trainer.TrainingRun(job, None)  # type: ignore[arg-type]
    planned = run._plan.steps
    assert len({step.examples for step in planned}) == len(planned) > 6
    for step, line in zip(planned, steps(tmp_path), strict=True):
        expected = sum(alone[index] for index in step.examples) / step.targets
        assert line["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_final_folder_is_a_student_for_transformers(tmp_path: Path) -> None:
    job = tiny.job(tmp_path)
    result = train(job)
    loaded = AutoModelForCausalLM.from_pretrained(str(result.final))
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = job.student.set_attn_implementation("sdpa") or job.student(ids).logits
        torch.testing.assert_close(loaded(ids).logits, expected, rtol=1e-5, atol=1e-6)
    assert loaded.config.tie_word_embeddings
    assert loaded.config.use_cache
    assert Tokenizer.load(result.final).hash == job.tokenizer.hash
    assert not result.adapter


def test_a_bfloat16_student_is_saved_as_such(tmp_path: Path) -> None:
    result = train(tiny.job(tmp_path, model=Student(model="tiny", dtype="bfloat16")))
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.bfloat16}
    assert json.loads((result.final / "config.json").read_text())["dtype"] == "bfloat16"


def test_updates_too_small_for_bfloat16_are_not_lost(tmp_path: Path) -> None:
    """40 steps of 2e-6 move a weight of 0.1 by less than one bfloat16 step each, and by more together."""
    folder = tiny.student_folder(tmp_path / "student")
    settings = tiny.settings(Distillation, epochs=20, learning_rate=2e-6, checkpoint_every=1)
    train(
        tiny.job(
            tmp_path / "run", student=folder, settings=settings, model=Student(model="t", dtype="bfloat16")
        )
    )
    newest = sorted((tmp_path / "run/checkpoints").iterdir())[-1]
    kept = load_file(newest / "weights.safetensors")
    began = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    moved = torch.cat([(kept[name] - began[name]).abs().flatten() for name in kept if "proj" in name])
    assert (moved > 0).float().mean() > 0.95
    assert moved.max() < 1.5e-4


@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.2)])
def test_a_resumed_training_is_the_same_bit_for_bit(tmp_path: Path, lora: Lora | None) -> None:
    folder = tiny.student_folder(tmp_path / "student")
    settings = tiny.settings(Distillation, checkpoint_every=2, evaluate_every=2, gradient_checkpointing=True)
    model = Student(model="tiny", dtype="bfloat16", lora=lora)
    straight = tiny.job(tmp_path / "straight", student=folder, settings=settings, model=model)
    train(straight)
    resumed = replace(straight, folder=tmp_path / "resumed")
    killed_in_step(4, resumed)
    killed_in_step(5, resumed)
    result = train(resumed)
    assert same(straight.folder, resumed.folder)
    assert [line["step"] for line in steps(resumed.folder)] == [1, 2, 3, 4, 5, 6]
    untimed = [
        [
            {k: v for k, v in line.items() if k != "tokens_per_s"}
            for line in read(job.folder / "metrics.jsonl")
        ]
        for job in (straight, resumed)
    ]
    assert untimed[0] == untimed[1]
    assert result.before is not None
    assert sorted(path.name for path in (resumed.folder / "checkpoints").iterdir()) == [
        "step-00000004",
        "step-00000006",
    ]


SLOW = """
import sys, time
from pathlib import Path
import tiny_students as tiny
from distill.recipe import Distillation
from distill.training import train

folder, student = Path(sys.argv[1]), Path(sys.argv[2])
settings = tiny.settings(Distillation, epochs=6, checkpoint_every=1)
train(tiny.job(folder, student=student, settings=settings, advance=lambda done, total: time.sleep(0.15)))
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bit for bit means the same number of threads: sums are cut by it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_training_killed_with_9_goes_on_bit_for_bit(tmp_path: Path) -> None:
    folder = tiny.student_folder(tmp_path / "student")
    settings = tiny.settings(Distillation, epochs=6, checkpoint_every=1)
    straight = tiny.job(tmp_path / "straight", student=folder, settings=settings)
    train(straight)
    killed = replace(straight, folder=tmp_path / "killed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((".", "tests")), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(killed.folder), str(folder)], env=environment)
    limit = time.monotonic() + 120
    while len(steps(killed.folder)) < 3 and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = len(steps(killed.folder))
    assert 3 <= done < len(steps(straight.folder))
    train(killed)
    assert same(straight.folder, killed.folder)
    assert [line["step"] for line in steps(killed.folder)] == [
        line["step"] for line in steps(straight.folder)
    ]


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first = train(tiny.job(tmp_path))
    told: list[tuple[int, int]] = []
    again = train(tiny.job(tmp_path, student=None, advance=lambda *counts: told.append(counts)))
    assert again == first
    assert told == [(first.tokens, first.tokens)]


def test_a_checkpoint_of_another_job_is_refused(tmp_path: Path) -> None:
    settings = tiny.settings(Distillation, checkpoint_every=1)
    killed_in_step(3, tiny.job(tmp_path, settings=settings))
    changed = tiny.settings(Distillation, checkpoint_every=1, learning_rate=0.5)
    with pytest.raises(
        Conflict, match=r"step-00000002 was made with other settings, examples or another student"
    ):
        train(tiny.job(tmp_path, settings=changed))
    with pytest.raises(Conflict):
        train(tiny.job(tmp_path, settings=settings, examples=tiny.examples(16, seed=3)))


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(tmp_path: Path) -> None:
    settings = tiny.settings(Distillation, checkpoint_every=1)
    job = tiny.job(tmp_path / "run", settings=settings, student=tiny.student_folder(tmp_path / "student"))
    train(replace(job, folder=tmp_path / "straight"))
    killed_in_step(4, job)
    newest = job.folder / "checkpoints/step-00000003"
    os.truncate(newest / "weights.safetensors", 1000)
    with pytest.raises(Unprocessable, match=r"step-00000003.* is missing or damaged .*delete"):
        train(job)
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    train(job)
    assert same(tmp_path / "straight", job.folder)


def test_a_loss_that_is_no_number_names_step_and_records_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Broken(tiny.HashTeacher):
        def __call__(self, example: Example) -> TopK:
            if example.record_id == "r0-7" and (tmp_path / "checkpoints").exists():
                job.student.model.norm.weight.data.fill_(float("nan"))
            return super().__call__(example)

    settings = tiny.settings(Distillation, checkpoint_every=1, learning_rate=1e-4, epochs=3)
    job = tiny.job(tmp_path, settings=settings, targets=Broken())
    with pytest.raises(
        Unprocessable, match=r"the loss became nan in step \d+ of \d+ \(records .*r0-7.*learning_rate"
    ):
        train(job)
    kept = load_file(sorted((tmp_path / "checkpoints").iterdir())[-1] / "weights.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in kept.values())


def test_lora_trains_an_adapter_and_leaves_the_base_as_it_is(tmp_path: Path) -> None:
    folder = tiny.student_folder(tmp_path / "student")
    model = Student(model="tiny", dtype="float32", lora=Lora(rank=4))
    result = train(tiny.job(tmp_path / "run", student=folder, model=model))
    assert result.adapter
    config = json.loads((result.final / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert set(weights(tmp_path / "run")) and all("lora_" in name for name in weights(tmp_path / "run"))
    assert not (result.final / "model.safetensors").exists()
    adapted = load_student(result.final, dtype="float32")
    plain = load_student(folder, dtype="float32")
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert not torch.allclose(adapted(ids).logits, plain(ids).logits, atol=1e-3)
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, load_file(folder / "model.safetensors")[name])


def test_a_second_stage_goes_on_with_the_first_ones_adapter(tmp_path: Path) -> None:
    folder = tiny.student_folder(tmp_path / "student")
    model = Student(model="tiny", dtype="float32", lora=Lora(rank=4))
    sft = train(
        tiny.job(tmp_path / "sft", student=folder, model=model, targets=None, settings=tiny.settings())
    )
    kd = train(tiny.job(tmp_path / "kd", student=sft.final, model=model))
    assert sft.after is not None and kd.before is not None
    assert kd.before.cross_entropy == pytest.approx(sft.after.cross_entropy, rel=1e-5)
    assert not same(tmp_path / "sft", tmp_path / "kd")


def test_progress_ends_with_all_tokens_and_never_goes_back(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    result = train(tiny.job(tmp_path, advance=lambda *counts: told.append(counts)))
    done = [one for one, _ in told]
    assert done == sorted(done)
    assert told[-1] == (result.tokens, result.tokens)
    assert len(told) > result.steps


def test_held_out_is_measured_at_start_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    train(tiny.job(tmp_path, settings=tiny.settings(Distillation, evaluate_every=4)))
    lines = [line for line in read(tmp_path / "metrics.jsonl") if "held_out" in line]
    assert [line["step"] for line in lines] == [0, 4, 6]
    assert all(line["held_out"]["kl"] > 0 for line in lines)


def test_a_live_teacher_hears_of_every_example_before_it_is_asked(tmp_path: Path) -> None:
    class Live(tiny.HashTeacher):
        expected: ClassVar[list[str]] = []

        def expect(self, examples: Iterable[Example]) -> None:
            self.expected.extend(example.record_id for example in examples)

        def __call__(self, example: Example) -> TopK:
            asked.append((example.record_id, len(self.expected)))
            assert example.record_id in self.expected
            return super().__call__(example)

    asked: list[tuple[str, int]] = []
    train(tiny.job(tmp_path, targets=Live()))
    # While one step is computed the teacher knows the next one's examples already.
    in_first_step = asked[4]
    assert in_first_step[1] > 4 + len(
        trainer.StepPlan(tiny.examples(16), epochs=2, step_tokens=96, micro_tokens=64, seed=17)
        .steps[0]
        .examples
    )


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny.job(tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "held_out/kl"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_a_job_that_cannot_be_trained_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unprocessable, match="there are no examples to train on"):
        train(tiny.job(tmp_path, examples=[]))
    with pytest.raises(
        Unprocessable, match=r"has \d+ tokens, and one forward pass takes 8: raise micro_tokens"
    ):
        train(tiny.job(tmp_path, settings=tiny.settings(Distillation, micro_tokens=8)))
    with pytest.raises(Unprocessable, match="no token that could be learned"):
        nothing = Example("empty", np.arange(4, dtype=np.int32), np.array([], np.int32))
        train(tiny.job(tmp_path, examples=[nothing]))
    with pytest.raises(Unprocessable, match="2 devices are asked for with zero_stage 0"):
        train(tiny.job(tmp_path, ranks=2))
    with pytest.raises(Unprocessable, match="hidden_weight needs the teacher's inner states"):
        train(tiny.job(tmp_path, settings=tiny.settings(Distillation, hidden_weight=1.0)))
    with pytest.raises(Unprocessable, match="needs the settings of a Distillation"):
        train(tiny.job(tmp_path, settings=tiny.settings()))
