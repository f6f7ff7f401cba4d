"""The summed loss from hidden states: equal to whole distributions, and to itself however the work is cut."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from dense_losses import dense_loss, top_k
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill.losses.divergences import KINDS, TAILS, Kind, Tail
from distill.losses.sparse import LossSettings, LossSums, TeacherTargets, chunked_loss
from distill.recipe import Distillation
from serve.errors import Unprocessable

REAL, ROWS, WIDTH = 700, 720, 6
"""Real tokens (three blocks at the least width), rows of the output matrix, hidden size."""


class Problem:
    """A few targets with a teacher that knows more than K tokens."""

    def __init__(self, count: int = 5, k: int = 4, real: int = REAL, rows: int = ROWS, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.real = real
        self.hidden = draw(count, WIDTH)
        self.head = draw(rows, WIDTH)
        self.teacher_logits = (self.hidden + 0.5 * draw(count, WIDTH)) @ self.head[:real].T
        self.teacher = top_k(self.teacher_logits, k)
        self.labels = torch.randint(0, real, (count,), generator=generator)
        self.labels[0] = self.teacher.ids[0, -1]  # inside of the top K, the others hardly

    def loss(self, settings: LossSettings, chunk_tokens: int = 1, **changes: Any) -> LossSums:
        given = {
            "hidden": self.hidden,
            "head_weight": self.head,
            "labels": self.labels,
            "teacher": self.teacher,
            "real_vocabulary": self.real,
        }
        return chunked_loss(settings=settings, chunk_tokens=chunk_tokens, **{**given, **changes})

    def gradients(self, settings: LossSettings, **changes: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Total and its gradients to hidden states and matrix."""
        hidden, head = (
            changes.pop(name, own).detach().clone().requires_grad_()
            for name, own in (("hidden", self.hidden), ("head_weight", self.head))
        )
        total = self.loss(settings, hidden=hidden, head_weight=head, **changes).total
        total.backward()
        return total.detach(), hidden.grad, head.grad


def dense_gradients(problem: Problem, settings: LossSettings) -> tuple[Tensor, Tensor, Tensor]:
    hidden, head = (part.clone().requires_grad_() for part in (problem.hidden, problem.head))
    total = dense_loss(hidden, head, problem.labels, problem.teacher, settings, problem.real)
    total.backward()
    assert hidden.grad is not None and head.grad is not None
    return total.detach(), hidden.grad, head.grad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_it_is_the_dense_loss(kind: Kind, tail: Tail) -> None:
    problem = Problem()
    problem.teacher.ids[2, -2:], problem.teacher.logprobs[2, -2:] = -1, -math.inf
    settings = LossSettings(kind, tail, temperature=1.7, skew=0.2, beta=0.3, cross_entropy=0.25)
    torch.testing.assert_close(problem.gradients(settings), dense_gradients(problem, settings))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_gradcheck(kind: Kind, tail: Tail) -> None:
    problem = Problem(count=2, k=3, real=300, rows=310)
    settings = LossSettings(kind, tail, temperature=0.8, cross_entropy=0.4)
    head = problem.head[:310].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda hidden, head: problem.loss(settings, hidden=hidden, head_weight=head).total,
        (problem.hidden.requires_grad_(), head),
        fast_mode=True,
    )


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_with_k_the_whole_vocabulary_it_is_the_textbook_kl(tail: Tail, temperature: float) -> None:
    problem = Problem(real=40, rows=44, k=40)
    teacher = (problem.teacher_logits / temperature).log_softmax(1)
    student = (problem.hidden @ problem.head[:40].T / temperature).log_softmax(1)
    for kind, given, target in (("forward_kl", student, teacher), ("reverse_kl", teacher, student)):
        expected = F.kl_div(given, target, reduction="sum", log_target=True) * temperature**2
        found = problem.loss(LossSettings(kind, tail, temperature))  # type: ignore[arg-type]
        torch.testing.assert_close(found.total, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_rounded_probabilities_of_the_whole_vocabulary_make_no_tail(kind: Kind) -> None:
    """K = V from a float16 store: what rounding leaves of 1 must not become a token that nobody can say."""
    problem = Problem(real=40, rows=44, k=40)
    exact = problem.loss(LossSettings(kind)).total
    halved = TeacherTargets(problem.teacher.ids, problem.teacher.logprobs.half().float())
    rounded = problem.loss(LossSettings(kind), teacher=halved).total
    torch.testing.assert_close(rounded, exact, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("k", [4, REAL])
def test_a_student_that_is_the_teacher_has_nothing_to_learn(kind: Kind, tail: Tail, k: int) -> None:
    problem = Problem()
    teacher = top_k(problem.hidden @ problem.head[:REAL].T, k)
    settings = LossSettings(kind, tail, temperature=1.3)
    for found in problem.gradients(settings, teacher=teacher):
        torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)


def test_the_bucket_sees_mass_that_renormalising_hides() -> None:
    """Softmax over the top K as if it were all calls a student perfect whose tail is far too light."""
    problem = Problem(count=1, k=2, real=6, rows=6)
    hidden, head = torch.ones(1, 1), torch.tensor([[3.0], [2.0], [-9.0], [-9.0], [-9.0], [-9.0]])
    teacher = top_k(torch.tensor([[3.0, 2.0, 1.0, 1.0, 1.0, 1.0]]), 2)
    changes = {"hidden": hidden, "head_weight": head, "teacher": teacher}
    assert problem.loss(LossSettings(tail="renormalise"), **changes).total.item() == pytest.approx(
        0, abs=1e-6
    )
    assert problem.loss(LossSettings(tail="bucket"), **changes).total.item() > 1
    _, _, to_head = problem.gradients(LossSettings(tail="bucket"), **changes)
    assert (to_head[2:] < 0).all() and (to_head[:2] > 0).all()


def test_cross_entropy_alone_is_torchs() -> None:
    problem = Problem()
    expected = F.cross_entropy(problem.hidden @ problem.head[:REAL].T, problem.labels, reduction="sum")
    found = problem.loss(LossSettings.sft(), teacher=None)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.cross_entropy, expected)
    assert found.divergence.item() == 0
    assert torch.autograd.gradcheck(
        lambda hidden: problem.loss(LossSettings.sft(), hidden=hidden, teacher=None).total,
        problem.hidden.clone().requires_grad_(),
    )


def test_the_parts_make_the_total() -> None:
    problem = Problem()
    found = problem.loss(LossSettings(cross_entropy=0.3))
    torch.testing.assert_close(found.total, 0.7 * found.divergence + 0.3 * found.cross_entropy)
    assert not found.divergence.requires_grad and not found.cross_entropy.requires_grad


def test_agreement_counts_equal_favourites() -> None:
    problem = Problem(count=40)
    favourite = (problem.hidden @ problem.head[:REAL].T).argmax(1)
    with_teacher = (favourite == problem.teacher_logits.argmax(1)).sum()
    assert 0 < with_teacher < 40
    assert problem.loss(LossSettings()).agreement == with_teacher
    half_right = torch.where(torch.arange(40) % 2 == 0, favourite, (favourite + 1) % REAL)
    assert problem.loss(LossSettings.sft(), teacher=None, labels=half_right).agreement == 20


def test_padded_rows_have_no_probability_and_no_gradient() -> None:
    """Teacher and student pad their vocabularies differently (152064 and 151936 rows for 151665 tokens)."""
    problem = Problem()
    settings = LossSettings(cross_entropy=0.5)
    total, to_hidden, to_head = problem.gradients(settings)
    loud = problem.head.clone()
    loud[REAL:] = 50.0
    again = problem.gradients(settings, head_weight=loud)
    torch.testing.assert_close(again, (total, to_hidden, to_head))
    assert (to_head[REAL:] == 0).all()
    bare = problem.gradients(settings, head_weight=problem.head[:REAL])
    torch.testing.assert_close(bare, (total, to_hidden, to_head[:REAL]))


def test_a_teachers_padded_id_counts_with_the_tail() -> None:
    problem = Problem()
    ids, logprobs = problem.teacher.ids.clone(), problem.teacher.logprobs.clone()
    ids[:, 1] = REAL + 100
    dropped = TeacherTargets(
        ids.clone().index_fill_(1, torch.tensor([1]), -1),
        logprobs.index_fill(1, torch.tensor([1]), -math.inf),
    )
    settings = LossSettings("reverse_kl")
    torch.testing.assert_close(
        problem.gradients(settings, teacher=TeacherTargets(ids, logprobs)),
        problem.gradients(settings, teacher=dropped),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
def test_unused_places_count_for_nothing_whatever_they_hold(kind: Kind, tail: Tail) -> None:
    """-inf in the reverse KL is the classic NaN; memory that nobody initialised is worse."""
    problem = Problem()
    settings = LossSettings(kind, tail)
    count = len(problem.labels)
    expected = problem.gradients(settings)
    for garbage in (-math.inf, math.nan, 3.0, 0.0):
        padded = TeacherTargets(
            torch.cat([problem.teacher.ids, torch.full((count, 3), -1)], 1),
            torch.cat([problem.teacher.logprobs, torch.full((count, 3), garbage, dtype=torch.float64)], 1),
        )
        torch.testing.assert_close(problem.gradients(settings, teacher=padded), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_how_the_vocabulary_is_cut_changes_nothing(kind: Kind) -> None:
    problem = Problem()
    settings = LossSettings(kind, cross_entropy=0.1)
    expected = problem.gradients(settings, chunk_tokens=10**6)
    for chunk_tokens in (1, 6, 8):
        torch.testing.assert_close(problem.gradients(settings, chunk_tokens=chunk_tokens), expected)


@pytest.mark.parametrize("sizes", [(12,), (1, 11), (5, 4, 3), (1,) * 12, (12, 0)])
def test_any_split_into_micro_batches_gives_the_same_gradient(sizes: tuple[int, ...]) -> None:
    """Sums over the global count: dividing inside by each micro-batch's own count would fail this."""
    problem = Problem(count=12)
    settings = LossSettings(cross_entropy=0.2)
    expected = problem.gradients(settings)
    hidden, head = (part.clone().requires_grad_() for part in (problem.hidden, problem.head))
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        part = problem.loss(
            settings,
            hidden=hidden[rows],
            head_weight=head,
            labels=problem.labels[rows],
            teacher=TeacherTargets(problem.teacher.ids[rows], problem.teacher.logprobs[rows]),
        )
        (part.total / 12).backward()
        start += size
    assert hidden.grad is not None and head.grad is not None
    torch.testing.assert_close((hidden.grad * 12, head.grad * 12), expected[1:])


def test_only_the_rows_that_are_given_are_learned() -> None:
    problem = Problem(count=8)
    learned = torch.tensor([1, 2, 5])
    hidden = problem.hidden.clone().requires_grad_()
    problem.loss(
        LossSettings(),
        hidden=hidden[learned],
        labels=problem.labels[learned],
        teacher=TeacherTargets(problem.teacher.ids[learned], problem.teacher.logprobs[learned]),
    ).total.backward()
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [1, 2, 5]


def test_the_gradient_follows_what_the_total_is_multiplied_by() -> None:
    problem = Problem()
    _, to_hidden, to_head = problem.gradients(LossSettings())
    hidden, head = (part.clone().requires_grad_() for part in (problem.hidden, problem.head))
    total = problem.loss(LossSettings(), hidden=hidden, head_weight=head).total
    (total * 1024 / 7).backward(retain_graph=True)
    torch.testing.assert_close((hidden.grad, head.grad), (to_hidden * 1024 / 7, to_head * 1024 / 7))
    total.backward()
    torch.testing.assert_close(hidden.grad, to_hidden * (1024 / 7 + 1))


def test_a_head_tied_to_the_embedding_gets_both_gradients() -> None:
    problem = Problem()
    settings = LossSettings(cross_entropy=0.1)
    tokens = problem.labels.flip(0)
    found, expected = (problem.head.clone().requires_grad_() for _ in range(2))
    problem.loss(settings, hidden=found[tokens].tanh(), head_weight=found).total.backward()
    dense_loss(expected[tokens].tanh(), expected, problem.labels, problem.teacher, settings, REAL).backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_a_frozen_head_gets_no_gradient() -> None:
    problem = Problem()
    expected = problem.gradients(LossSettings())[1]
    hidden = problem.hidden.clone().requires_grad_()
    problem.loss(LossSettings(), hidden=hidden).total.backward()
    torch.testing.assert_close(hidden.grad, expected)
    assert problem.head.grad is None


def test_no_targets_are_a_zero_that_can_be_differentiated() -> None:
    problem = Problem(count=1)
    none = slice(0, 0)
    empty = {
        "hidden": problem.hidden[none],
        "labels": problem.labels[none],
        "teacher": TeacherTargets(problem.teacher.ids[none], problem.teacher.logprobs[none]),
    }
    total, _, to_head = problem.gradients(LossSettings(cross_entropy=0.1), **empty)
    assert total.item() == 0
    assert (to_head == 0).all()


class _Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *sizes])
        return made


def test_logits_of_all_tokens_never_exist() -> None:
    count, real = 300, 4000
    problem = Problem(count=count, real=real, rows=real)
    hidden = problem.hidden.clone().requires_grad_()
    head = problem.head.clone().requires_grad_()
    with _Largest() as whole:
        (hidden @ head.T).sum().backward()
    with _Largest() as largest:
        problem.loss(LossSettings(), hidden=hidden, head_weight=head, chunk_tokens=20).total.backward()
    assert whole.elements == count * real
    assert largest.elements <= (20 + 1) * real
    assert largest.elements >= 256 * count  # the blocks, seen by the mode


def test_evaluation_without_gradients_gives_the_same_sums() -> None:
    problem = Problem()
    hidden = problem.hidden.clone().requires_grad_()
    trained = problem.loss(LossSettings(), hidden=hidden)
    with torch.no_grad():
        evaluated = problem.loss(LossSettings(), hidden=hidden)
    assert not evaluated.total.requires_grad
    torch.testing.assert_close(evaluated.total, trained.total.detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_float32_of_the_same_numbers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count, width, real = 48, 64, 3000
    hidden, head = torch.randn(count, width).to(dtype), (torch.randn(real, width) / 4).to(dtype)
    teacher = top_k(hidden.float() @ head.float().T + torch.randn(count, real) / 2, 10)
    problem = Problem(real=real)
    changes = {"labels": teacher.ids[:, 3].contiguous(), "teacher": teacher, "chunk_tokens": 8}
    settings = LossSettings(cross_entropy=0.2)
    exact = problem.gradients(settings, hidden=hidden.float(), head_weight=head.float(), **changes)
    for other_head in (head, head.float()):
        total, *rounded = problem.gradients(settings, hidden=hidden, head_weight=other_head, **changes)
        assert total.dtype == torch.float32
        # Products rounded to bfloat16 before they are summed up would be off by 1e-3.
        torch.testing.assert_close(total, exact[0], rtol=2e-5, atol=0)
        assert [one.dtype for one in rounded] == [dtype, other_head.dtype]
        for found, expected in zip(rounded, exact[1:], strict=True):
            assert (found.float() - expected).norm() < 0.006 * expected.norm()


def test_autocast_does_not_touch_the_sums() -> None:
    problem = Problem()
    changes = {"hidden": problem.hidden.float(), "head_weight": problem.head.float()}
    expected = problem.gradients(LossSettings(), **changes)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(problem.gradients(LossSettings(), **changes), expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("scale", [30.0, 3000.0])
def test_certain_students_and_teachers_give_finite_gradients(kind: Kind, tail: Tail, scale: float) -> None:
    """Tails of mass exp(-100) and of none: float32 has neither, as 1 minus the rest."""
    problem = Problem(count=8)
    hidden, head = problem.hidden.float() * scale, problem.head.float()
    for teacher in (top_k(-hidden @ head[:REAL].T, 4), top_k(hidden @ head[:REAL].T, 4)):
        found = problem.gradients(
            LossSettings(kind, tail, cross_entropy=0.1), hidden=hidden, head_weight=head, teacher=teacher
        )
        assert all(one.isfinite().all() for one in found)


def test_a_tail_far_lighter_than_rounding_is_exact() -> None:
    """The student's tail has mass 1e-17, the teacher's 0.1: 1 minus the rest, in float32, would be 0."""
    head = torch.tensor([[40.0], [0.0], [1.0], [-1.0]])
    problem = Problem(count=1, k=1, real=4, rows=4)
    teacher = TeacherTargets(torch.tensor([[0]]), torch.tensor([[0.9]]).log())
    changes = {"head_weight": head, "teacher": teacher, "labels": torch.tensor([0])}
    total, _, to_head = problem.gradients(LossSettings(), hidden=torch.ones(1, 1), **changes)
    tail = torch.tensor([0.0, 1.0, -1.0]).double().softmax(0)
    torch.testing.assert_close(to_head[1:, 0].double(), -0.1 * tail, rtol=1e-5, atol=0)
    mass = torch.tensor([0.0, 1.0, -1.0]).double().logsumexp(0) - 40
    expected = 0.9 * math.log(0.9) + 0.1 * (math.log(0.1) - mass.item())
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_sampled_targets_are_unbiased() -> None:
    """Weighted by how likely each draw is, loss and gradient are those of the whole distribution."""
    problem = Problem(count=1, k=1, real=12, rows=12)
    p = problem.teacher_logits.softmax(1)
    hidden = problem.hidden.clone().requires_grad_()
    dense = -(p * (hidden @ problem.head.T).log_softmax(1)).sum()
    dense.backward()
    assert hidden.grad is not None
    settings = LossSettings(sampled=True)
    certain = torch.zeros(1, 1, dtype=torch.float64)
    draws = [
        problem.gradients(settings, teacher=TeacherTargets(torch.tensor([[token]]), certain))
        for token in range(12)
    ]
    mean = [
        sum(weight * part for weight, part in zip(p[0], parts, strict=True))
        for parts in list(zip(*draws, strict=True))[:2]
    ]
    torch.testing.assert_close(mean, [dense.detach(), hidden.grad])


def test_sampled_targets_have_no_tail() -> None:
    problem = Problem(count=1)
    drawn = TeacherTargets(
        torch.tensor([[7, 2, -1]]), torch.tensor([[0.75, 0.25, 0.0]], dtype=torch.float64).log()
    )
    q = (problem.hidden @ problem.head[:REAL].T).log_softmax(1)[0]
    found = problem.loss(LossSettings(sampled=True), teacher=drawn).total
    torch.testing.assert_close(found, -(0.75 * q[7] + 0.25 * q[2]))


def test_settings_come_from_the_recipe() -> None:
    recipe = Distillation(loss="skewed_reverse_kl", tail="ignore", temperature=2, skew=0.2, cross_entropy=0.3)
    assert LossSettings.of(recipe) == LossSettings("skewed_reverse_kl", "ignore", 2, 0.2, 0.5, 0.3)
    assert LossSettings.of(Distillation(), sampled=True).sampled


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "jensen_shannon", "beta": 0.0}, "always zero"),
        ({"kind": "skewed_forward_kl", "skew": 1.0}, "with itself"),
        ({"sampled": True, "temperature": 2.0}, "temperature"),
        ({"sampled": True, "kind": "reverse_kl"}, "forward_kl"),
    ],
)
def test_settings_that_would_learn_nothing_or_something_else(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(Unprocessable, match=told):
        LossSettings(**settings)


def test_targets_that_cannot_be_are_refused() -> None:
    problem = Problem()
    settings = LossSettings()
    ids, logprobs = problem.teacher.ids, problem.teacher.logprobs
    masked = problem.labels.clone()
    masked[1] = -100
    twice = ids.clone()
    twice[3, 0] = twice[3, 1]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"labels": masked}, "only the rows that are learned"),
        ({"labels": problem.labels + REAL}, "none of the 700 real tokens"),
        ({"teacher": TeacherTargets(twice, logprobs)}, "names twice"),
        ({"teacher": TeacherTargets(ids, logprobs + 2)}, "more than 1"),
        ({"teacher": TeacherTargets(ids, logprobs * math.nan)}, "not numbers"),
        ({"teacher": TeacherTargets(ids[1:], logprobs[1:])}, "do not belong together"),
        ({"hidden": problem.hidden[1:]}, "do not belong together"),
        ({"real_vocabulary": ROWS + 1}, "do not fit"),
        ({"teacher": None}, "sft"),
    ]
    for changes, told in cases:
        with pytest.raises(Unprocessable, match=told):
            problem.loss(settings, **changes)


def test_a_teacher_beside_pure_cross_entropy_is_still_reported() -> None:
    problem = Problem()
    found = problem.loss(replace(LossSettings(), cross_entropy=1.0))
    torch.testing.assert_close(found.total, found.cross_entropy)
    torch.testing.assert_close(found.divergence, problem.loss(LossSettings()).total)
