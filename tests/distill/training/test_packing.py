import itertools

import numpy as np
import pytest
import tiny_students as tiny
from hypothesis import given
from hypothesis import strategies as st

from distill.training.packing import pack
from distill.training.step_plan import StepPlan, cosine

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)


def plan(count: int = 40, **changes: float) -> StepPlan:
    settings = {"epochs": 2, "step_tokens": 120, "micro_tokens": 40, "seed": 5} | changes
    return StepPlan(tiny.examples(count), **settings)  # type: ignore[arg-type]


@given(LENGTHS, st.integers(50, 200), st.integers(1, 5))
def test_every_example_is_packed_once_within_the_limit_and_ranks_get_equally_many(
    lengths: list[int], limit: int, ranks: int
) -> None:
    bins = pack(lengths, limit, ranks)
    assert sorted(index for bin in bins for index in bin) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in bin) <= limit for bin in bins)
    assert len(bins) % ranks == 0


@given(LENGTHS)
def test_packing_is_even_and_wastes_little(lengths: list[int]) -> None:
    bins = [sum(lengths[index] for index in bin) for bin in pack(lengths, 100)]
    assert len(bins) <= -(-sum(lengths) // 100) * 2
    assert max(bins) - min(bins) <= max(lengths)


def test_an_example_over_the_limit_is_an_error() -> None:
    with pytest.raises(ValueError, match="60 tokens does not fit into 50"):
        pack([10, 60], 50)


def test_every_epoch_learns_every_example_once_in_an_order_of_its_own() -> None:
    steps = plan().steps
    order = [index for step in steps for index in step.examples]
    first, second = order[:40], order[40:]
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second
    assert [step.number for step in steps] == list(range(len(steps)))
    assert steps[-1].epoch == 2


def test_half_an_epoch_learns_half() -> None:
    assert sum(len(step.examples) for step in plan(epochs=1.5).steps) == 60
    assert sum(len(step.examples) for step in plan(epochs=0.25).steps) == 10


def test_steps_are_near_the_size_asked_for() -> None:
    tokens = [step.tokens for step in plan(200, epochs=1, step_tokens=400).steps]
    assert max(tokens) - min(tokens) < 60
    assert abs(np.mean(tokens) - 400) < 60


def test_the_steps_do_not_depend_on_micro_batches_or_ranks() -> None:
    assert plan().steps == plan(micro_tokens=64).steps
    assert plan().steps != plan(seed=6).steps


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_the_ranks_passes_together_are_the_step(ranks: int) -> None:
    one = plan()
    lengths = [len(example.ids) for example in tiny.examples(40)]
    for step in one.steps:
        passes = [one.passes(step, rank, ranks) for rank in range(ranks)]
        assert len({len(mine) for mine in passes}) == 1
        learned = [index for mine in passes for each in mine if not each.idle for index in each.examples]
        assert sorted(learned) == sorted(step.examples)
        for mine in passes:
            assert all(sum(lengths[index] for index in each.examples) <= 40 for each in mine)
            assert all(each.examples for each in mine)


def test_ranks_without_an_example_idle() -> None:
    one = plan(step_tokens=1)
    passes = [one.passes(one.steps[0], rank, 4) for rank in range(4)]
    assert sum(not each.idle for mine in passes for each in mine) == len(one.steps[0].examples) == 1


def test_targets_of_a_step_are_counted_ahead() -> None:
    examples = tiny.examples(40)
    for step in plan().steps:
        assert step.targets == sum(len(examples[index].positions) for index in step.examples)


def test_the_learning_rate_rises_and_falls_to_a_tenth() -> None:
    rates = [cosine(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == 1.0
    assert all(after <= before for before, after in itertools.pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.55, abs=0.02)
    assert rates[-1] == pytest.approx(0.1)
    assert cosine(0, 1, 1.0, 0.1) == 1.0
