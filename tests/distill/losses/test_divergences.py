"""Divergences over buckets: formulas, limits, rounding, and nothing that is not a number."""

from __future__ import annotations

import math

import pytest
import torch
from dense_losses import dense_divergence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.losses.divergences import KINDS, TAILS, Kind, Tail, divergence, log1mexp, teacher_buckets
from distill.losses.sparse import LossSettings

TEMPERATURES = (0.5, 1.0, 3.0)


def rows(count: int = 5, buckets: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, count, buckets, generator=generator, dtype=torch.float64) * 2
    return both[0].log_softmax(1), both[1].log_softmax(1)


@pytest.mark.parametrize("x", [-1e-12, -1e-3, -0.5, -math.log(2), -1.0, -30.0, -700.0])
def test_log_of_what_is_left_of_one(x: float) -> None:
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found = log1mexp(value)
    found.backward()
    left = -math.expm1(x)
    assert found.item() == pytest.approx(math.log(left) if left < 1 else -math.exp(x), rel=1e-12)
    assert value.grad is not None
    assert value.grad.item() == pytest.approx(-math.exp(x) / left, rel=1e-9)


def test_nothing_is_left_of_one() -> None:
    assert log1mexp(torch.zeros(1)).item() == -math.inf


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_with_all_buckets_it_is_the_papers_formula(kind: Kind, temperature: float) -> None:
    teacher, student = rows()
    found = divergence(kind, teacher, student, temperature=temperature, skew=0.3, beta=0.2)
    chosen = LossSettings(kind, skew=0.3, beta=0.2)
    for row in range(len(teacher)):
        p, q = (side[row].div(temperature).softmax(0) for side in (teacher, student))
        expected = dense_divergence(p, q, chosen) * temperature**2
        assert found[row].item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_agreement_is_zero_with_a_zero_gradient(kind: Kind, tail: Tail, temperature: float) -> None:
    teacher, other = rows()
    student = teacher.clone().requires_grad_()
    found = divergence(kind, teacher, student, tail=tail, temperature=temperature)
    found.sum().backward()
    assert student.grad is not None
    assert found.abs().max() < 1e-14
    assert student.grad.abs().max() < 1e-14
    assert (divergence(kind, teacher, other, tail=tail, temperature=temperature) > 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_unused_places_count_for_nothing(kind: Kind, tail: Tail) -> None:
    teacher, student = rows()
    gap = torch.full((len(teacher), 2), -math.inf, dtype=torch.float64)
    wide = [torch.cat([gap, side], 1) for side in (teacher, student)]
    wide[1].requires_grad_()
    narrow = student.clone().requires_grad_()
    found = divergence(kind, wide[0], wide[1], tail=tail)
    expected = divergence(kind, teacher, narrow, tail=tail)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(found, expected)
    assert wide[1].grad is not None and narrow.grad is not None
    torch.testing.assert_close(wide[1].grad[:, 2:], narrow.grad)
    assert (wide[1].grad[:, :2] == 0).all()


def test_skew_zero_is_the_plain_kl() -> None:
    teacher, student = rows()
    for skewed, plain in (("skewed_forward_kl", "forward_kl"), ("skewed_reverse_kl", "reverse_kl")):
        torch.testing.assert_close(
            divergence(skewed, teacher, student, skew=0.0),  # type: ignore[arg-type]
            divergence(plain, teacher, student),  # type: ignore[arg-type]
        )


def test_jensen_shannon_tends_to_both_kls_is_symmetric_and_bounded() -> None:
    teacher, student = rows()
    little = 1e-6
    near_forward = divergence("jensen_shannon", teacher, student, beta=little) / little
    near_reverse = divergence("jensen_shannon", teacher, student, beta=1 - little) / little
    torch.testing.assert_close(near_forward, divergence("forward_kl", teacher, student), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(near_reverse, divergence("reverse_kl", teacher, student), rtol=1e-4, atol=1e-4)
    middle = divergence("jensen_shannon", teacher, student)
    torch.testing.assert_close(middle, divergence("jensen_shannon", student, teacher))
    assert (middle < math.log(2)).all()


def test_the_tail_is_what_the_named_leave() -> None:
    logprobs = torch.tensor([[0.5, 0.2, 0.1], [0.5, 0.2, 0.0]]).log()
    found = teacher_buckets(logprobs, torch.tensor([True, True])).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.2, 0.1, 0.2], [0.5, 0.2, 0.0, 0.3]]))


def test_a_row_that_names_all_tokens_has_no_tail() -> None:
    logprobs = torch.tensor([[0.6, 0.3, 0.1]]).log()
    found = teacher_buckets(logprobs, torch.tensor([False]))
    assert found[0, -1].item() == -math.inf
    torch.testing.assert_close(found[:, :-1], logprobs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("excess", [-1e-9, 0.0, 1e-7, 1e-3])
def test_probabilities_rounded_to_one_or_beyond_stay_finite(kind: Kind, excess: float) -> None:
    """A float16 store's rows may sum to a thousandth more than 1; the reverse KL divides by what is left."""
    logprobs = torch.tensor([[0.9, 0.1]]).log() + math.log1p(excess)
    teacher = teacher_buckets(logprobs, torch.tensor([True]))
    student = torch.tensor([[0.2, 0.2, 0.6]]).log().requires_grad_()
    found = divergence(kind, teacher, student)
    found.sum().backward()
    assert teacher.exp().sum().item() == pytest.approx(1, abs=1e-6)
    assert 0 < found.item() < 20
    assert student.grad is not None and student.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_a_row_that_names_nothing_is_zero(kind: Kind, tail: Tail) -> None:
    teacher = teacher_buckets(torch.full((1, 3), -math.inf), torch.tensor([True]))
    student = torch.tensor([[-math.inf] * 3 + [0.0]]).requires_grad_()
    found = divergence(kind, teacher, student, tail=tail)
    found.sum().backward()
    assert found.item() == pytest.approx(0, abs=1e-9)
    assert student.grad is not None and (student.grad.abs() < 1e-6).all()


logits = st.lists(st.floats(-80, 80, width=32), min_size=4, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    teacher=logits,
    student=logits,
    unused=st.integers(0, 3),
    kind=st.sampled_from(KINDS),
    tail=st.sampled_from(TAILS),
    temperature=st.sampled_from([0.3, 1.0, 4.0]),
    skew=st.sampled_from([0.0, 0.1, 0.9]),
    beta=st.sampled_from([0.01, 0.5, 0.99]),
)
def test_never_negative_and_always_finite(
    teacher: list[float],
    student: list[float],
    unused: int,
    kind: Kind,
    tail: Tail,
    temperature: float,
    skew: float,
    beta: float,
) -> None:
    known = torch.tensor([teacher]).log_softmax(1)[:, :-1]
    known[:, :unused] = -math.inf
    buckets = teacher_buckets(known, torch.tensor([True]))
    found_logits = torch.tensor([student], requires_grad=True)
    found = divergence(
        kind,
        buckets,
        found_logits.log_softmax(1),
        tail=tail,
        temperature=temperature,
        skew=skew,
        beta=beta,
    )
    found.sum().backward()
    assert found.item() > -1e-5 * temperature**2
    assert found.isfinite().all()
    assert found_logits.grad is not None and found_logits.grad.isfinite().all()
