from typing import Any

import pytest
import tiny_students as tiny
import torch
from torch import Tensor
from transformers import AttentionInterface

from distill.losses.sparse import LossSettings
from distill.training import attention
from distill.training.batch import build
from distill.training.learner import Learner


def learner(student: Any | None = None) -> Learner:
    model = tiny.student() if student is None else student
    return Learner(model, LossSettings.sft(), real_vocabulary=tiny.REAL, compute=torch.float32)


def alone(student: Any, example: Any) -> Tensor:
    """Final hidden states by transformers' own causal attention, nothing of ours."""
    student.set_attn_implementation("eager")
    ids = torch.from_numpy(example.ids).long()[None]
    with torch.no_grad():
        return student.model(input_ids=ids).last_hidden_state[0]


def test_a_packed_example_has_the_hidden_states_it_has_alone() -> None:
    examples = tiny.examples(5)
    batch = build(examples, None)
    with torch.no_grad():
        packed = learner().hidden(batch)[0]
    for number, example in enumerate(examples):
        mine = packed[batch.bounds[number] : batch.bounds[number + 1]]
        torch.testing.assert_close(mine, alone(tiny.student(), example), rtol=1e-5, atol=1e-6)


def test_transformers_takes_our_attention_in_every_layer_without_a_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Tensor | None] = []

    def spy(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **rest: Any) -> Any:
        seen.append(mask)
        return attention.per_example(module, query, key, value, mask, **rest)

    one = learner(tiny.student(layers=3))
    AttentionInterface.register(attention.PER_EXAMPLE, spy)
    one.hidden(build(tiny.examples(3), None))
    assert seen == [None, None, None]


def test_gradients_through_shared_key_heads_are_those_of_eager_attention() -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 4, 11, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 2, 11, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    bounds = torch.tensor([0, 4, 5, 11], dtype=torch.int32)
    part = torch.tensor([0] * 4 + [1] + [2] * 6)
    seen = (part[:, None] == part) & torch.ones(11, 11, dtype=torch.bool).tril()
    scores = (query @ key.repeat_interleave(2, 1).mT * 0.3).masked_fill(~seen, -torch.inf)
    expected = (scores.softmax(-1) @ value.repeat_interleave(2, 1)).transpose(1, 2)
    found, _ = attention.per_example(
        torch.nn.Identity(), query, key, value, None, cu_seq_lens_q=bounds, scaling=0.3
    )
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference)


def test_the_bounds_are_named_as_flash_attention_wants_them() -> None:
    from inspect import signature

    from transformers.modeling_flash_attention_utils import _flash_attention_forward

    bounds = torch.tensor([0, 3], dtype=torch.int32)
    assert set(attention.bounds_arguments(bounds, 3)) <= set(signature(_flash_attention_forward).parameters)


def test_a_mask_is_refused() -> None:
    states = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="takes no attention mask"):
        attention.per_example(
            torch.nn.Identity(),
            states,
            states,
            states,
            torch.ones(1, 1, 2, 2),
            cu_seq_lens_q=torch.tensor([0, 2], dtype=torch.int32),
        )
