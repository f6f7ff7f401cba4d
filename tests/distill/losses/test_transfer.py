"""Transfer of hidden states and attention maps: formulas, sums, rows, and what may learn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from distill.losses.transfer import (
    States,
    Transfer,
    attention_divergence,
    layer_pairs,
    select,
)
from serve.errors import Unprocessable


def states(count: int, width: int, heads: int, keys: int = 6, seed: int = 0) -> States:
    """Two layers of random states; key 4 and later are out of sight."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, count, heads, keys, generator=generator)
    maps[..., 4:] = -torch.inf
    return States(
        tuple(torch.randn(2, count, width, generator=generator)),
        tuple(maps.softmax(-1)),
    )


def rows(of: States, chosen: slice) -> States:
    return States(tuple(one[chosen] for one in of.hidden), tuple(one[chosen] for one in of.attention))


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (24, 28, ((5, 6), (11, 13), (17, 20), (23, 27))),
        (24, 80, ((5, 19), (11, 39), (17, 59), (23, 79))),
        (2, 28, ((0, 13), (1, 27))),
    ],
)
def test_layers_are_paired_by_depth(student: int, teacher: int, expected: Any) -> None:
    assert layer_pairs(student, teacher) == expected


def test_hidden_states_are_projected_and_compared() -> None:
    student, teacher = states(5, 4, 2), states(5, 6, 3, seed=1)
    expected = {"mse": 0.0, "cosine": 0.0}
    module = Transfer(4, 6, 2, hidden_weight=0.5)
    for layer in range(2):
        ours = student.hidden[layer] @ module.projections[layer].weight.T  # type: ignore[operator]
        theirs = teacher.hidden[layer]
        expected["mse"] += ((ours - theirs) ** 2).sum().item() / 6 / 2
        cosine = (ours * theirs).sum(1) / ours.norm(dim=1) / theirs.norm(dim=1)
        expected["cosine"] += (1 - cosine).sum().item() / 2
    for measure, value in expected.items():
        module.measure = measure  # type: ignore[assignment]
        assert module(student, teacher).item() == pytest.approx(0.5 * value, rel=1e-5)


def test_attention_of_other_numbers_of_heads_is_compared_by_its_average() -> None:
    student, teacher = states(5, 4, 2), states(5, 6, 3, seed=1)
    p, q = teacher.attention[0].mean(1)[:, :4], student.attention[0].mean(1)[:, :4]
    expected = (p * (p / q).log()).sum()
    torch.testing.assert_close(attention_divergence(student.attention[0], teacher.attention[0]), expected)


@pytest.mark.parametrize("measure", ["mse", "cosine"])
def test_a_student_that_is_the_teacher_has_nothing_to_learn(measure: Any) -> None:
    same = states(5, 4, 2)
    module = Transfer(4, 4, 2, attention_weight=1.0, measure=measure)
    mine = States(
        *(tuple(one.clone().requires_grad_() for one in part) for part in (same.hidden, same.attention))
    )
    total = module(mine, same)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-5)
    for one in mine.hidden:
        assert one.grad is not None and one.grad.abs().max() < 1e-5
    for one in mine.attention:
        # Attention sums to 1: only differences between the keys' slopes can move it.
        assert one.grad is not None and one.grad[..., :4].std(-1).max() < 1e-5


def test_rows_add_up_however_they_are_split() -> None:
    student, teacher = states(5, 4, 2), states(5, 6, 3, seed=1)
    module = Transfer(4, 6, 2, attention_weight=0.3)
    whole = module(student, teacher)
    parts = [module(rows(student, part), rows(teacher, part)) for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_the_projections_learn_and_the_teacher_does_not() -> None:
    student, teacher = states(5, 4, 2), states(5, 6, 3, seed=1)
    ours = States(tuple(one.requires_grad_() for one in student.hidden))
    theirs = States(tuple(one.requires_grad_() for one in teacher.hidden))
    module = Transfer(4, 6, 2, measure="mse")
    assert sum(weights.numel() for weights in module.parameters()) == 2 * 4 * 6
    optimiser = torch.optim.Adam(module.parameters(), lr=0.1)
    before = module(ours, theirs)
    for _ in range(100):
        optimiser.zero_grad()
        module(ours, theirs).backward()
        optimiser.step()
    assert module(ours, theirs) < 0.5 * before
    assert all(one.grad is not None for one in ours.hidden)
    assert all(one.grad is None for one in theirs.hidden)


def test_gradcheck() -> None:
    student, teacher = states(3, 4, 2), states(3, 6, 3, seed=1)
    scores = torch.randn(3, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda scores: attention_divergence(scores.softmax(-1), teacher.attention[0].double()), scores
    )
    hidden = student.hidden[0].double().requires_grad_()
    for measure in ("mse", "cosine"):
        module = Transfer(4, 6, 1, measure=measure).double()  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(
            lambda hidden, module=module: module(States((hidden,)), States((teacher.hidden[0],))), hidden
        )


def test_keys_that_rounding_made_unseen_stay_finite() -> None:
    student = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    found = attention_divergence(student, torch.tensor([[[0.5, 0.5]]]))
    found.backward()
    assert found.isfinite() and student.grad is not None and student.grad.isfinite().all()


def test_rows_come_out_of_a_real_model() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = Qwen2ForCausalLM._from_config(config, attn_implementation="eager")
    ids = torch.randint(0, 50, (2, 7))
    output = model(ids, output_hidden_states=True, output_attentions=True)
    batch, places = torch.tensor([0, 1, 1]), torch.tensor([3, 0, 6])
    found = select(output, batch, places, (0, 1))
    torch.testing.assert_close(found.hidden[1][2], output.hidden_states[2][1, 6])
    torch.testing.assert_close(found.attention[0][0], output.attentions[0][0, :, 3])
    assert (found.attention[0][1, :, 1:] == 0).all()
    module = Transfer(16, 16, 2, attention_weight=1.0)
    assert module(found, found).item() == pytest.approx(0, abs=1e-5)


def test_what_was_not_computed_is_asked_for() -> None:
    nothing: Tensor = torch.zeros(1, dtype=torch.long)
    bare = SimpleNamespace(hidden_states=None, attentions=None)
    with pytest.raises(Unprocessable, match="output_hidden_states"):
        select(bare, nothing, nothing, (0,))
    with pytest.raises(Unprocessable, match="eager"):
        select(
            SimpleNamespace(hidden_states=(torch.zeros(1, 1, 2),) * 2, attentions=(None,)),
            nothing,
            nothing,
            (0,),
        )
    with pytest.raises(Unprocessable, match="compares 2 layers"):
        Transfer(4, 6, 2)(States((torch.zeros(1, 4),)), States((torch.zeros(1, 6),)))
    with pytest.raises(Unprocessable, match="0 of the student"):
        Transfer(4, 6, 1, hidden_weight=0, attention_weight=1)(States((torch.zeros(1, 4),)), States())
