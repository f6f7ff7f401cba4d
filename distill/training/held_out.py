"""The student measured on examples it never learns from: cross-entropy, KL to the teacher, token agreement.

The KL is always the forward KL at temperature 1 with the tail as a bucket, whatever loss is trained with, so
that the figures of different recipes compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.examples import Example
from distill.losses.sparse import LossSettings
from distill.training.batch import build
from distill.training.engine import Measuring, evaluating
from distill.training.job import Expecting, HeldOut, Targets
from distill.training.learner import Learner
from distill.training.packing import pack


def measure_student(
    student: Any,
    examples: Sequence[Example],
    targets: Targets | None,
    micro_tokens: int,
    *,
    real_vocabulary: int,
    dtype: str,
    sampled: bool = False,
) -> HeldOut | None:
    """A loaded student outside of any training; `dtype` is `bfloat16` or `float32`."""
    compute = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    learner = Learner(student, LossSettings.sft(), real_vocabulary=real_vocabulary, compute=compute)
    return measure(_Alone(learner), examples, targets, micro_tokens, sampled=sampled)


class _Alone:
    """One process that only measures."""

    rank = 0
    ranks = 1

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.device = learner.head.device

    def forward(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.learner(*arguments)
        return found

    def total(self, values: Tensor) -> Tensor:
        return values


def measure(
    engine: Measuring,
    examples: Sequence[Example],
    targets: Targets | None,
    micro_tokens: int,
    *,
    sampled: bool = False,
) -> HeldOut | None:
    """Called by all ranks together; None without examples."""
    if not examples:
        return None
    lengths = [len(example.ids) for example in examples]
    shortest = min(range(len(examples)), key=lengths.__getitem__)
    bins = pack(lengths, micro_tokens, engine.ranks)[engine.rank :: engine.ranks]
    settings = LossSettings.sft() if targets is None else LossSettings(kind="forward_kl", sampled=sampled)
    figures = torch.zeros(4, dtype=torch.float64, device=engine.device)
    passes = [bin or [shortest] for bin in bins]
    if isinstance(targets, Expecting):
        for indices in passes:
            targets.expect([examples[index] for index in indices])
    with evaluating(engine):
        for bin, indices in zip(bins, passes, strict=True):
            batch = build([examples[index] for index in indices], targets, idle=not bin)
            figures += engine.forward(batch.to(engine.device), settings)[1]
    divergence, cross_entropy, agreement, count = engine.total(figures).tolist()
    return HeldOut(
        targets=int(count),
        cross_entropy=cross_entropy / count,
        kl=None if targets is None else divergence / count,
        agreement=agreement / count,
    )
