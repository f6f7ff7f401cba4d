"""The student measured on examples it never learns from: cross-entropy, KL to the teacher, token agreement.

The KL is always the forward KL at temperature 1 with the tail as a bucket, whatever loss is trained with, so
that the figures of different recipes compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distill.examples import Example
from distill.losses.sparse import LossSettings
from distill.training.batch import build
from distill.training.engine import Engine, evaluating
from distill.training.job import Expecting, HeldOut, Targets
from distill.training.packing import pack


def measure(
    engine: Engine,
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
