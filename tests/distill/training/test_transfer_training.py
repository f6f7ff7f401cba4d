"""Transfer in training: a frozen teacher beside the student, whose projections are learned and thrown away."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_qwen2
import tiny_students as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill import pipeline, recipe
from distill.losses.sparse import LossSettings
from distill.recipe import Distillation, Lora, Student
from distill.students import load_student
from distill.training import TrainingJob, TrainingResult, train
from distill.training.batch import build
from distill.training.inner_states import TeacherBeside
from distill.training.learner import Learner
from distill.training.metrics import read
from serve.errors import Unprocessable
from serve.settings import Settings

EXAMPLES = tiny.examples(14)
BOTH = {"hidden_weight": 0.7, "attention_weight": 0.4}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice as wide and half as deep again as the student, with more tokens."""
    folder = tmp_path_factory.mktemp("teacher")
    tiny_qwen2.make_model(folder, layers=3)
    return folder


def job(folder: Path, teacher: Path, how: dict[str, Any], **changes: Any) -> TrainingJob:
    settings = tiny.settings(Distillation, **how)
    return tiny.job(folder, settings=settings, **{"transfer_teacher": teacher} | changes)


def beside(student: Any, teacher: Path, **how: Any) -> TeacherBeside:
    torch.manual_seed(5)
    settings = tiny.settings(Distillation, **how)
    return TeacherBeside.of(student, load_student(teacher), settings, real_vocabulary=tiny.REAL)


def learner(teacher: Path, **how: Any) -> Learner:
    student = tiny.student()
    return Learner(
        student,
        LossSettings.of(Distillation()),
        real_vocabulary=tiny.REAL,
        compute=torch.float32,
        beside=beside(student, teacher, **how),
    ).train()


def kept(job: TrainingJob) -> dict[str, Tensor]:
    """The weights of the last checkpoint."""
    return load_file(sorted((job.folder / "checkpoints").iterdir())[-1] / "weights.safetensors")


def distance(result: TrainingResult | None, job: TrainingJob, teacher: Path, how: dict[str, Any]) -> float:
    """Mean transfer loss of the job's student, as it began or with what was learned."""
    student = tiny.student() if result is None else load_student(result.final)
    found = beside(student, teacher, **how)
    learned = Learner(
        student,
        LossSettings.sft(),
        real_vocabulary=tiny.REAL,
        compute=torch.float32,
        beside=found,
    )
    if result is not None:
        prefix = "transfer."
        projections = {
            name.removeprefix(prefix): weight for name, weight in kept(job).items() if name.startswith(prefix)
        }
        found.transfer.load_state_dict(projections)
    batch = build(job.examples, None)
    with torch.no_grad():
        _, ours = found.student_states(learned.model, batch)
        return float(found.transfer(ours, found.teacher_states(batch))) / len(batch.labels)


@pytest.mark.parametrize(
    ("how", "share"), [({"hidden_weight": 2.0}, 0.5), ({"attention_weight": 2.0}, 0.6), (BOTH, 0.7)]
)
def test_the_student_comes_nearer_to_its_teachers_inner_states(
    tmp_path: Path, teacher: Path, how: dict[str, float], share: float
) -> None:
    examples = tiny.examples(6)
    asked = job(tmp_path, teacher, {"epochs": 25, **how}, examples=examples, held_out=examples)
    before = distance(None, asked, teacher, how)
    result = train(asked)
    assert distance(result, asked, teacher, how) < share * before
    assert result.before is not None and result.after is not None
    assert result.before.kl is not None and result.after.kl is not None
    assert result.after.kl < result.before.kl


def test_projections_are_learned_and_thrown_away(tmp_path: Path, teacher: Path) -> None:
    asked = job(tmp_path, teacher, {"hidden_weight": 1.0, "checkpoint_every": 1})
    result = train(asked)
    first, last = (
        load_file(path / "weights.safetensors") for path in sorted((tmp_path / "checkpoints").iterdir())
    )
    names = {f"transfer.projections.{layer}.weight" for layer in range(2)}
    assert {name for name in last if "transfer" in name} == names
    assert all(last[name].shape == (64, 32) for name in names)
    assert all((last[name] - first[name]).abs().max() > 1e-5 for name in names)
    assert not any("teacher" in name for name in last)
    final = load_file(result.final / "model.safetensors")
    assert final.keys() == load_file(tiny.student_folder(tmp_path / "s") / "model.safetensors").keys()
    for name, weight in load_student(result.final).named_parameters():
        assert torch.equal(weight, last[name])


def test_held_out_figures_are_those_without_transfer(tmp_path: Path, teacher: Path) -> None:
    plain = train(tiny.job(tmp_path / "plain"))
    both = train(job(tmp_path / "both", teacher, BOTH))
    assert plain.before is not None and both.before is not None
    assert plain.before == both.before
    losses = [
        next(line for line in read(folder / "metrics.jsonl") if "loss" in line)
        for folder in (tmp_path / "plain", tmp_path / "both")
    ]
    assert losses[0]["divergence"] == pytest.approx(losses[1]["divergence"], rel=1e-4)
    assert losses[1]["loss"] > losses[0]["loss"] + 0.1


class Killed(Exception):
    pass


@pytest.mark.parametrize(("lora", "how"), [(None, BOTH), (Lora(rank=4, dropout=0.2), {"hidden_weight": 1.0})])
def test_a_resumed_training_is_the_same_bit_for_bit(
    tmp_path: Path, teacher: Path, lora: Lora | None, how: dict[str, float]
) -> None:
    straight = job(
        tmp_path / "straight",
        teacher,
        {"checkpoint_every": 2, "gradient_checkpointing": True, **how},
        student=tiny.student_folder(tmp_path / "student"),
        model=Student(model="tiny", dtype="bfloat16", lora=lora),
    )
    train(straight)
    resumed = replace(straight, folder=tmp_path / "resumed")

    def advance(_done: int, _total: int) -> None:
        if (resumed.folder / "checkpoints/step-00000002").exists():
            raise Killed

    with pytest.raises(Killed):
        train(replace(resumed, advance=advance))
    train(resumed)
    mine, theirs = kept(straight), kept(resumed)
    assert mine.keys() == theirs.keys() and any("projections" in name for name in mine)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    figures = [
        [line["loss"] for line in read(one.folder / "metrics.jsonl") if "loss" in line]
        for one in (straight, resumed)
    ]
    assert figures[0] == figures[1] and len(figures[0]) == 6


def gradients(one: Learner, passes: list[list[int]]) -> dict[str, Tensor]:
    targets = sum(len(EXAMPLES[index].positions) for indices in passes for index in indices)
    for indices in passes:
        total, _ = one(build([EXAMPLES[index] for index in indices], tiny.HashTeacher()))
        (total / targets).backward()
    return {name: weight.grad for name, weight in one.named_parameters() if weight.grad is not None}


def test_the_gradient_is_the_same_however_a_step_is_split(teacher: Path) -> None:
    whole = gradients(learner(teacher, **BOTH), [[0, 1, 2, 3]])
    assert {"transfer.projections.0.weight", "student.model.embed_tokens.weight"} <= whole.keys()
    assert not any("teacher" in name for name in whole)
    recomputed = learner(teacher, **BOTH)
    recomputed.model.activation_checkpointing_enable({"use_reentrant": False})
    for other in (
        gradients(learner(teacher, **BOTH), [[2], [3, 0], [1]]),
        gradients(recomputed, [[0, 1], [2, 3]]),
    ):
        assert other.keys() == whole.keys()
        for name, grad in whole.items():
            torch.testing.assert_close(other[name], grad, rtol=1e-4, atol=1e-6)


def test_packed_inner_states_are_those_of_each_example_alone(teacher: Path) -> None:
    """By transformers' own eager attention, in both models: nothing is seen across examples."""
    student = tiny.student()
    found = beside(student, teacher, **BOTH)
    one = Learner(student, LossSettings.sft(), real_vocabulary=tiny.REAL, compute=torch.float32, beside=found)
    examples = EXAMPLES[:4]
    batch = build(examples, None)
    with torch.no_grad():
        packed = (found.student_states(one.model, batch)[1], found.teacher_states(batch))
    assert found.pairs == ((0, 1), (1, 2))
    for side, model in enumerate((tiny.student(), load_student(teacher))):
        model.set_attn_implementation("eager")
        start = 0
        for example in examples:
            ids = torch.from_numpy(example.ids).long()[None]
            with torch.no_grad():
                alone = model.model(ids, output_hidden_states=True, output_attentions=True)
            rows, count = torch.from_numpy(example.positions).long() - 1, len(example.positions)
            for number, layers in enumerate(found.pairs):
                layer, here = layers[side], slice(start, start + count)
                torch.testing.assert_close(
                    packed[side].hidden[number][here],
                    alone.hidden_states[layer + 1][0, rows],
                    rtol=1e-4,
                    atol=1e-5,
                )
                maps = packed[side].attention[number][here]
                expected = alone.attentions[layer][0][:, rows].transpose(0, 1)
                torch.testing.assert_close(maps[..., : len(example.ids)], expected, rtol=1e-4, atol=1e-6)
                assert not maps[..., len(example.ids) :].any()
            start += count


def test_another_teacher_is_another_job(tmp_path: Path, teacher: Path) -> None:
    asked = job(tmp_path, teacher, BOTH)
    assert asked.fingerprint != replace(asked, transfer_teacher=tmp_path).fingerprint
    without = tiny.job(tmp_path)
    assert without.fingerprint == replace(without, transfer_teacher=teacher).fingerprint


def test_what_cannot_be_transferred_says_so(tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(Unprocessable, match=r"attention_weight needs .* give the teacher's weights"):
        train(job(tmp_path, teacher, {"attention_weight": 1.0}, transfer_teacher=None))
    with pytest.raises(Unprocessable, match="in one process, which zero_stage 2 is not: set zero_stage to 0"):
        train(job(tmp_path, teacher, {"zero_stage": 2, **BOTH}))
    with pytest.raises(Unprocessable, match="a teacher with the student's vocabulary"):
        TeacherBeside.of(
            tiny.student(), tiny.student(), tiny.settings(Distillation, **BOTH), real_vocabulary=100
        )


RECIPE = """
name: inner
teacher: {{kind: transformers, model: {teacher}, device: cpu, dtype: float32}}
student: {{model: {student}, dtype: float32}}
stages: [seed, kd]
seeds: [{{file: seeds.jsonl, format: alpaca, category: general}}]
capture: {{online: true}}
kd: {{epochs: 1, hidden_weight: 1, attention_weight: 1, micro_tokens: 2048, held_out: 0.2}}
"""


def test_a_recipe_that_asks_for_it_has_its_teacher_beside_the_student(tmp_path: Path, teacher: Path) -> None:
    rows = [{"instruction": f"Say what {n} is.", "output": f"The number {n}."} for n in range(8)]
    (tmp_path / "seeds.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tiny_qwen2.make_model(tmp_path / "student", seed=3)
    text = RECIPE.format(teacher=teacher, student=tmp_path / "student")
    done = pipeline.run(
        recipe.parse(text, "inner"),
        tmp_path,
        tmp_path / "run",
        Settings(home=tmp_path / "home"),
        say=lambda _: None,
    )
    assert {"kl_before", "kl_after"} <= done["kd"].metrics.keys()
    (checkpoint,) = (tmp_path / "run/kd/checkpoints").iterdir()
    assert "transfer.projections.1.weight" in load_file(checkpoint / "weights.safetensors")
    assert not any("transfer" in name for name in load_file(tmp_path / "run/kd/final/model.safetensors"))
