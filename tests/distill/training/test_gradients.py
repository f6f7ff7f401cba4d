"""The gradient of a step: right, and the same however the step is split."""

from typing import Any

import pytest
import tiny_students as tiny
import torch
from torch import Tensor

from distill.examples import Example
from distill.losses.sparse import LossSettings
from distill.recipe import Distillation, Lora
from distill.training.batch import build
from distill.training.learner import Learner
from distill.training.packing import pack
from distill.training.step_plan import StepPlan

EXAMPLES = tiny.examples(14)
TEACHER = tiny.HashTeacher()
MIXED = LossSettings.of(Distillation(cross_entropy=0.3))


def learner(**how: Any) -> Learner:
    return Learner(tiny.student(**how), MIXED, real_vocabulary=tiny.REAL, compute=torch.float32).train()


def gradients(one: Learner) -> dict[str, Tensor]:
    return {name: weight.grad for name, weight in one.named_parameters() if weight.grad is not None}


def by_passes(one: Learner, passes: list[list[int]], idle: tuple[int, ...] = ()) -> dict[str, Tensor]:
    targets = sum(len(EXAMPLES[index].positions) for indices in passes for index in indices)
    for indices in passes:
        total, _ = one(build([EXAMPLES[index] for index in indices], TEACHER))
        (total / targets).backward()
    for index in idle:
        total, figures = one(build([EXAMPLES[index]], TEACHER, idle=True))
        assert float(total.detach()) == 0
        assert figures.tolist() == [0, 0, 0, 0]
        (total / targets).backward()
    return gradients(one)


def dense(student: Any, example: Example) -> Tensor:
    """The mixed loss of one example from whole logits, in float64, written out."""
    logits = student(input_ids=torch.from_numpy(example.ids).long()[None]).logits[0, :, : tiny.REAL].double()
    logprobs = logits.log_softmax(-1)
    rows = TEACHER(example)
    total = torch.zeros((), dtype=torch.float64)
    for row, position in enumerate(example.positions):
        mine = logprobs[position - 1]
        named = torch.from_numpy(rows.ids[row]).long()
        p = torch.from_numpy(rows.logprobs[row]).double().exp()
        q = mine[named].exp()
        kl = (p * (p / q).log()).sum() + (1 - p.sum()) * ((1 - p.sum()) / (1 - q.sum())).log()
        total = total + 0.7 * kl - 0.3 * mine[example.ids[position]]
    return total


def close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(
            found[name], expected[name], rtol=1e-4, atol=2e-6 * max(scale, 1), msg=name
        )


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_is_that_of_a_dense_loss_of_each_example_alone(tied: bool) -> None:
    student = tiny.student(tied=tied)
    targets = sum(len(example.positions) for example in EXAMPLES)
    for example in EXAMPLES:
        (dense(student, example) / targets).backward()
    expected = {f"student.{name}": weight.grad for name, weight in student.named_parameters()}
    found = by_passes(learner(tied=tied), [list(range(len(EXAMPLES)))])
    close(found, expected)


@pytest.mark.parametrize("limit", [24, 40, 100, 1000])
@pytest.mark.parametrize("ranks", [1, 3])
def test_the_gradient_is_the_same_for_every_split(limit: int, ranks: int) -> None:
    whole = by_passes(learner(), [list(range(len(EXAMPLES)))])
    lengths = [len(example.ids) for example in EXAMPLES]
    split = [indices for indices in pack(lengths, limit, ranks) if indices]
    close(by_passes(learner(), split, idle=(0, 5)), whole)


def test_checkpointed_activations_change_no_gradient() -> None:
    plain = by_passes(learner(), [[0, 1, 2], [3]])
    one = learner()
    one.model.activation_checkpointing_enable({"use_reentrant": False})
    close(by_passes(one, [[0, 1, 2], [3]]), plain)


def test_padded_rows_of_the_vocabulary_get_no_gradient() -> None:
    found = by_passes(learner(tied=False), [[0, 1, 2]])
    assert found["student.lm_head.weight"][: tiny.REAL].abs().sum() > 0
    assert not found["student.lm_head.weight"][tiny.REAL :].any()


def test_an_adapter_alone_gets_gradients() -> None:
    from distill.students import _with_new_adapter

    student = _with_new_adapter(tiny.student(), Lora(rank=4))
    one = Learner(student, MIXED, real_vocabulary=tiny.REAL, compute=torch.float32).train()
    found = by_passes(one, [[0, 1], [2]])
    assert len(found) == 2 * 7 * 2
    assert all("lora_" in name for name in found)


def test_bfloat16_computes_the_same_within_its_rounding() -> None:
    batch = build(EXAMPLES, TEACHER)
    exact, figures = learner()(batch)
    half = Learner(tiny.student(), MIXED, real_vocabulary=tiny.REAL, compute=torch.bfloat16)
    total, rounded = half(batch)
    assert float(total.detach()) == pytest.approx(float(exact.detach()), rel=5e-3)
    assert rounded[3] == figures[3]
    total.backward()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in half.parameters())


def test_the_plans_passes_of_all_ranks_give_the_steps_gradient() -> None:
    plan = StepPlan(EXAMPLES, epochs=1, step_tokens=90, micro_tokens=40, seed=3)
    step = plan.steps[1]
    whole = by_passes(learner(), [list(step.examples)])
    three = [each for rank in range(3) for each in plan.passes(step, rank, 3)]
    learned = [list(each.examples) for each in three if not each.idle]
    close(by_passes(learner(), learned, idle=tuple(each.examples[0] for each in three if each.idle)), whole)
