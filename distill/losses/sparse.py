"""The loss of a student's final hidden states against K teacher log-probabilities a token, and the text.

Logits exist for one block of the vocabulary at a time: a first pass over the output matrix takes from
each block what the loss needs (the logits of the named tokens, the log-sum of all others), a second one,
in the backward pass, computes the block again and turns it into gradients. So no [N, V] tensor exists,
nothing of size V is kept between forward and backward, and the output matrix's gradient is summed over
all N tokens in float32 before it is rounded to the matrix's type, once. Compare Cut Cross-Entropy
(arXiv 2411.09009), which does it for the cross-entropy.

Everything here is a sum. Whoever calls divides by the number of targets of the whole optimiser step, over
all micro-batches and ranks; only then is the gradient the same for every way to split a batch.
Does not know batches, padding or positions: row j of `hidden` has to be the state that *predicts* target j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill.losses.divergences import Kind, Tail, divergence, teacher_buckets
from distill.losses.head_blocks import Blocks, accumulator, first_pass, second_pass
from distill.recipe import Distillation
from serve.errors import Unprocessable


@dataclass(frozen=True)
class TeacherTargets:
    """What the teacher says about N targets, at temperature 1, natural logarithms."""

    ids: Tensor
    """[N, K] int64 token ids, distinct in a row; -1 where unused."""
    logprobs: Tensor
    """[N, K] float32; -inf where unused. Of a sampled distribution log(count / draws)."""

    def to(self, device: torch.device | str) -> TeacherTargets:
        """The same on `device`."""
        return TeacherTargets(self.ids.to(device), self.logprobs.to(device))


@dataclass(frozen=True)
class LossSettings:
    """Which loss; see `divergences.divergence` for the formulas.

    Raises Unprocessable for combinations that would learn nothing or something else.
    """

    kind: Kind = "forward_kl"
    tail: Tail = "bucket"
    temperature: float = 1.0
    skew: float = 0.1
    beta: float = 0.5
    cross_entropy: float = 0.0
    """w of (1-w)·divergence + w·cross-entropy."""
    sampled: bool = False
    """The teacher's rows are draws: -Σ p̂ log q, whose expectation is the dense cross-entropy of teacher and
    student: forward KL's unbiased gradient, and its value plus the teacher's entropy."""

    def __post_init__(self) -> None:
        if self.kind.startswith("skewed") and self.skew >= 1:
            raise Unprocessable(
                "skew 1 compares a distribution with itself: choose less than 1", param="skew"
            )
        if self.kind == "jensen_shannon" and not 0 < self.beta < 1:
            raise Unprocessable(
                "jensen_shannon with beta 0 or 1 is always zero: choose a beta between, or forward_kl or reverse_kl",
                param="beta",
            )
        if self.sampled and (self.kind != "forward_kl" or self.temperature != 1):
            raise Unprocessable(
                "sampled targets (capture.draws) are unbiased for the forward KL at temperature 1 only: set "
                "`loss: forward_kl` and `temperature: 1`, or capture the top K",
                param="loss",
            )

    @classmethod
    def of(cls, settings: Distillation, *, sampled: bool = False) -> LossSettings:
        """From a recipe's `kd`; `sampled` when its `capture.draws` is set."""
        return cls(
            kind=settings.loss,
            tail=settings.tail,
            temperature=settings.temperature,
            skew=settings.skew,
            beta=settings.beta,
            cross_entropy=settings.cross_entropy,
            sampled=sampled,
        )

    @classmethod
    def sft(cls) -> LossSettings:
        """Cross-entropy with the text alone."""
        return cls(cross_entropy=1.0)


@dataclass(frozen=True)
class LossSums:
    """Sums over N targets; float32 scalars (float64 for float64 states)."""

    total: Tensor
    """Σ (1-w)·divergence + w·cross-entropy; differentiable."""
    divergence: Tensor
    cross_entropy: Tensor
    agreement: Tensor
    """Targets where the student's likeliest token is the teacher's (without a teacher: the text's)."""


def chunked_loss(
    hidden: Tensor,
    head_weight: Tensor,
    labels: Tensor,
    teacher: TeacherTargets | None,
    settings: LossSettings,
    *,
    real_vocabulary: int,
    chunk_tokens: int = 128,
) -> LossSums:
    """The summed loss of N targets.

    hidden [N, H]: the student's normed final states, each at the position *before* its target; N may be 0.
    head_weight [V, H]: the output matrix, trained, frozen or tied; rows from `real_vocabulary` on are
    padding and have no probability and no gradient. labels [N] int64: the text's tokens.
    teacher: None only for pure cross-entropy. A teacher's token that is no real id, or has no mass, counts
    with the tail.
    chunk_tokens bounds memory: about as many numbers are alive at once as in the logits of so many tokens.
    The result does not depend on it beyond rounding.

    The states may be float32, float64, bfloat16 or float16, on CPU or GPU, and the matrix may have another
    type: its rows are taken in the states'. Products of half precision are summed in float32. Under
    `torch.no_grad` only the first pass runs.

    With DeepSpeed ZeRO-3 the matrix is partitioned outside of its own module's forward. Call this function
    in the forward of a module that has done `deepspeed.zero.register_external_parameter(self, weight)`:
    DeepSpeed then gathers the matrix for that module's forward and again for its backward.

    Raises Unprocessable when labels or teacher rows are not what they have to be.
    """
    if teacher is None:
        if settings.cross_entropy < 1:
            raise Unprocessable(
                "a divergence needs a teacher's log-probabilities; without, use LossSettings.sft()"
            )
        nothing = labels.new_empty(len(labels), 0)
        teacher = TeacherTargets(nothing, nothing.float())
    _check(hidden, head_weight, labels, teacher, real_vocabulary)
    logprobs = teacher.logprobs.to(accumulator(hidden.dtype))
    used = (teacher.ids >= 0) & (teacher.ids < real_vocabulary) & (logprobs > -math.inf)
    ids = teacher.ids.masked_fill(~used, -1)
    logprobs = logprobs.masked_fill(~used, -math.inf)
    return LossSums(
        *_Loss.apply(hidden, head_weight, labels, ids, logprobs, settings, real_vocabulary, chunk_tokens)  # type: ignore[no-untyped-call]
    )


def _check(
    hidden: Tensor, head_weight: Tensor, labels: Tensor, teacher: TeacherTargets, real_vocabulary: int
) -> None:
    """Shapes and values; costs a few [N, K] operations and one synchronisation on a GPU."""
    count, places = len(labels), teacher.ids.shape
    if (
        hidden.shape != (count, head_weight.shape[1])
        or places[0] != count
        or teacher.logprobs.shape != places
    ):
        raise Unprocessable(
            f"hidden {tuple(hidden.shape)}, head {tuple(head_weight.shape)}, labels {tuple(labels.shape)}, teacher ids "
            f"{tuple(places)} and logprobs {tuple(teacher.logprobs.shape)} do not belong together"
        )
    if not 0 < real_vocabulary <= len(head_weight):
        raise Unprocessable(
            f"{real_vocabulary} real tokens do not fit an output matrix of {len(head_weight)} rows"
        )
    ordered = teacher.ids.sort(1).values
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    mass = teacher.logprobs.exp().masked_fill(teacher.ids < 0, 0).sum(1)
    faults = {
        f"a label that is none of the {real_vocabulary} real tokens (give only the rows that are learned)": (
            (labels < 0) | (labels >= real_vocabulary)
        ).any(),
        "a token id that a teacher's row names twice": repeated.any(),
        "a teacher's row whose probabilities sum to more than 1 or are not numbers": ~(mass < 1.02).all(),
    }
    for fault, found in zip(faults, torch.stack(list(faults.values())).tolist(), strict=True):
        if found:
            raise Unprocessable(f"the loss was given {fault}")


def _divergences(
    logprobs: Tensor, student: Tensor, settings: LossSettings, real_vocabulary: int
) -> tuple[Tensor, Tensor]:
    """Per target the divergence [N], and its gradient [N, K + 1] to the student's bucketed log-probabilities."""
    if settings.sampled:
        slopes = torch.cat([-logprobs.exp(), torch.zeros_like(student[:, -1:])], 1)
        return (slopes[:, :-1] * student[:, :-1].masked_fill(logprobs == -math.inf, 0)).sum(1), slopes
    has_tail = (logprobs > -math.inf).sum(1) < real_vocabulary
    with torch.enable_grad():
        leaf = student.detach().requires_grad_()
        values = divergence(
            settings.kind,
            teacher_buckets(logprobs, has_tail),
            leaf,
            tail=settings.tail,
            temperature=settings.temperature,
            skew=settings.skew,
            beta=settings.beta,
        )
        (slopes,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slopes


class _Loss(torch.autograd.Function):
    """Two passes over the blocks of the vocabulary.

    With z the logits, q the student's distribution, g the gradient to the log-probabilities of the K + 1
    buckets, G its sum and s the log-sum-exp of the tail's logits, the gradient to the logits is

        in the tail    exp(z_j - s) · (g_tail - q_tail · G)
        of bucket i    g_i - q_i · G

    as each bucket's log-probability is a log-sum-exp of logits less that of them all. Nothing there is a
    difference of nearly equal numbers, so a tail of mass 1e-30 is as exact as one of 0.5. The
    cross-entropy adds q_j everywhere and takes 1 from the label.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        ids: Tensor,
        logprobs: Tensor,
        settings: LossSettings,
        real_vocabulary: int,
        chunk_tokens: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        blocks = Blocks(hidden, weight, real_vocabulary, chunk_tokens)
        named, label, tail, most = first_pass(blocks, ids, labels)
        buckets = torch.cat([named, tail[:, None]], 1)
        normaliser = torch.logsumexp(buckets, 1)
        student = buckets - normaliser[:, None]
        cross_entropies = normaliser - label
        w = settings.cross_entropy
        if ids.shape[1]:
            divergences, slopes = _divergences(logprobs, student, settings, real_vocabulary)
            reference = named.gather(1, logprobs.argmax(1, keepdim=True)).squeeze(1)
        else:
            divergences, slopes = torch.zeros_like(tail), torch.zeros_like(student)
            reference = label
        total = ((1 - w) * divergences + w * cross_entropies).sum()
        agreement = (reference >= torch.cat([named, most[:, None]], 1).amax(1)).sum()
        sums = divergences.sum(), cross_entropies.sum(), agreement.to(total.dtype)
        ctx.save_for_backward(hidden, weight, labels, ids, student, tail, slopes)
        ctx.settings, ctx.real_vocabulary, ctx.chunk_tokens = settings, real_vocabulary, chunk_tokens
        ctx.mark_non_differentiable(*sums)
        return total, *sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, labels, ids, student, tail, slopes = ctx.saved_tensors
        w = ctx.settings.cross_entropy
        pull = w - (1 - w) * slopes.sum(1, keepdim=True)
        slopes = scale * ((1 - w) * slopes + student.exp() * pull)
        with torch.autocast(hidden.device.type, enabled=False):
            blocks = Blocks(hidden, weight, ctx.real_vocabulary, ctx.chunk_tokens)
            found = second_pass(blocks, ids, labels, tail, slopes, -w * scale, ctx.needs_input_grad[:2])
        return *found, None, None, None, None, None, None
