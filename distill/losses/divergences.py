"""Divergences between a teacher's and a student's distribution over K tokens and the rest.

Both come as log-probabilities of K + 1 buckets: K token ids that the teacher names and, last, the tail
with all other tokens in one. The rest of the vocabulary plays no part, so a row costs K numbers instead
of 152,000. Knows neither hidden states, vocabularies, labels nor batches.

Every divergence is a sum of pointwise terms a·log(a/b) - a + b ≥ 0 (the last two cancel where both sides
sum to 1), which makes it zero, with a zero gradient, exactly where the two agree, also when the tail is
ignored and the sides no longer sum to 1.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Kind = Literal[
    "forward_kl",
    "reverse_kl",
    "jensen_shannon",
    "total_variation",
    "skewed_forward_kl",
    "skewed_reverse_kl",
]
Tail = Literal["bucket", "renormalise", "ignore"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TAILS: tuple[Tail, ...] = get_args(Tail)

LEAST_TAIL = 1e-6
"""Least mass of a teacher's tail. What is left of 1 after K rounded numbers is not known any better, may
even be negative, and a tail of exactly 0 would make the reverse KL infinite."""
_NOTHING = -1e4
"""Stands for log 0 in arithmetic: exp gives 0, and 0 · log 0 gives 0 and not NaN."""


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, accurate at both ends (Mächler 2012, "Accurately computing log(1 − exp(−|a|))").

    Differentiable; at x = 0 it is -inf.
    """
    near = x > -math.log(2)
    # Each branch sees only arguments that it is meant for: the other's infinite slope would give 0 · inf.
    small = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, small, large)


def teacher_buckets(logprobs: Tensor, has_tail: Tensor) -> Tensor:
    """[n, K] log-probabilities (-inf where unused) to [n, K + 1], the tail last, summing to 1.

    `has_tail` [n] tells whether there are tokens besides those of the row. The tail is what the K leave of
    1, at least `LEAST_TAIL`; then all is divided by the sum, which rounding (a float16 store) may have put
    a thousandth beside 1.
    """
    named = torch.logsumexp(torch.cat([logprobs, logprobs.new_full((len(logprobs), 1), _NOTHING)], 1), 1)
    tail = log1mexp(named.clamp(max=math.log1p(-LEAST_TAIL))).clamp(min=math.log(LEAST_TAIL))
    tail = tail.masked_fill(~has_tail, -math.inf)
    return torch.log_softmax(torch.cat([logprobs, tail[:, None]], 1), 1)


def divergence(
    kind: Kind,
    teacher: Tensor,
    student: Tensor,
    *,
    tail: Tail = "bucket",
    temperature: float = 1.0,
    skew: float = 0.1,
    beta: float = 0.5,
) -> Tensor:
    """Divergence [n] of `student` from `teacher`, both [n, K + 1] bucketed log-probabilities, tail last.

    Buckets where the teacher holds -inf are unused and left out on both sides.

    With P the teacher, Q the student (0 · log 0 = 0):

    - forward_kl: KL(P‖Q); reverse_kl: KL(Q‖P).
    - jensen_shannon: β·KL(P‖M) + (1-β)·KL(Q‖M), M = βP + (1-β)Q (GKD, arXiv 2306.13649).
    - total_variation: ½ Σ|P - Q|.
    - skewed_forward_kl: KL(P‖αP + (1-α)Q); skewed_reverse_kl: KL(Q‖αQ + (1-α)P), α = `skew`
      (DistiLLM, arXiv 2402.03898).

    `tail`: "bucket" compares the tails' masses; "renormalise" compares the K alone, each side divided by
    its sum; "ignore" leaves the tails' term out and asks nothing of the mass there.

    `temperature` T tempers the buckets of both sides (log-probabilities / T, normalised), and the result
    is multiplied by T² so that its gradient keeps its size beside the cross-entropy's (Hinton et al. 2015,
    arXiv 1503.02531, section 2). The tail is tempered as one outcome: that is not the dense distribution
    tempered, which K numbers do not tell, but it is zero exactly where the buckets agree, and for K = V it
    is the dense one. Where the student gives no mass at all to a bucket, the infinite KL is finite (10⁴
    nats a unit of mass) with a gradient of zero.
    """
    used = teacher > -math.inf
    if tail == "renormalise":
        used = _without_tail(used)
    p, q = _tempered(teacher, used, temperature), _tempered(student, used, temperature)
    if tail == "ignore":
        used = _without_tail(used)
        p, q = p.masked_fill(~used, _NOTHING), q.masked_fill(~used, _NOTHING)
    match kind:
        case "forward_kl":
            terms = _term(p, q)
        case "reverse_kl":
            terms = _term(q, p)
        case "jensen_shannon":
            mixture = _mixture(p, q, beta)
            terms = beta * _term(p, mixture) + (1 - beta) * _term(q, mixture)
        case "total_variation":
            terms = _apart(p.exp(), q.exp()) / 2
        case "skewed_forward_kl":
            terms = _term(p, _mixture(p, q, skew))
        case "skewed_reverse_kl":
            terms = _term(q, _mixture(q, p, skew))
    return terms.sum(1) * temperature**2


def _without_tail(used: Tensor) -> Tensor:
    return torch.cat([used[:, :-1], torch.zeros_like(used[:, -1:])], 1)


def _tempered(logprobs: Tensor, used: Tensor, temperature: float) -> Tensor:
    """Log-probabilities at `temperature` over the used buckets; `_NOTHING` at the others."""
    # Not -inf: a row without a used bucket would become NaN.
    finite = (logprobs.clamp(min=_NOTHING) / temperature).masked_fill(~used, -1e30)
    return torch.log_softmax(finite, 1).masked_fill(~used, _NOTHING)


def _term(a: Tensor, b: Tensor) -> Tensor:
    """a·log(a/b) - a + b of log-probabilities, elementwise."""
    return a.exp() * (a - b) - a.exp() + b.exp()


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| of probabilities. What rounding can make is 0: the slope beside the kink is as steep as anywhere."""
    difference = a - b
    return torch.where(difference.abs() > 64 * torch.finfo(a.dtype).eps, difference, 0).abs()


def _mixture(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """log(weight·a + (1 - weight)·b) of log-probabilities; 0 ≤ weight < 1."""
    return torch.logaddexp(a + math.log(weight), b + math.log1p(-weight)) if weight else b
