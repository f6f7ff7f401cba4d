"""What the losses must equal: whole distributions in float64, probabilities instead of logarithms, row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.losses.sparse import LossSettings, TeacherTargets


def dense_loss(
    hidden: Tensor,
    head: Tensor,
    labels: Tensor,
    teacher: TeacherTargets,
    settings: LossSettings,
    real_vocabulary: int,
) -> Tensor:
    """Σ (1-w)·divergence + w·cross-entropy in float64."""
    logits = hidden.double() @ head[:real_vocabulary].double().T
    total = logits.new_zeros(())
    for row in range(len(labels)):
        q = logits[row].softmax(0)
        places = [
            place
            for place, token in enumerate(teacher.ids[row].tolist())
            if 0 <= token < real_vocabulary and teacher.logprobs[row, place] > -torch.inf
        ]
        named = teacher.logprobs[row, places].double().exp()
        found = q[teacher.ids[row, places]]
        if len(places) < real_vocabulary:
            named = torch.cat([named, (1 - named.sum())[None]])
            found = torch.cat([found, (1 - found.sum())[None]])
        total = total + (1 - settings.cross_entropy) * bucket_loss(
            named, found, settings, has_tail=len(places) < real_vocabulary
        )
        total = total - settings.cross_entropy * q[labels[row]].log()
    return total


def bucket_loss(p: Tensor, q: Tensor, settings: LossSettings, *, has_tail: bool) -> Tensor:
    """Divergence of two lists of probabilities, the tail's last."""
    if settings.tail == "renormalise" and has_tail:
        p, q, has_tail = p[:-1], q[:-1], False
    p, q = p ** (1 / settings.temperature), q ** (1 / settings.temperature)
    p, q = p / p.sum(), q / q.sum()
    if settings.tail == "ignore" and has_tail:
        p, q = p[:-1], q[:-1]
    return dense_divergence(p, q, settings) * settings.temperature**2


def dense_divergence(p: Tensor, q: Tensor, settings: LossSettings) -> Tensor:
    """The formulas of the papers, each KL completed for sides that do not sum to 1."""

    def kl(a: Tensor, b: Tensor) -> Tensor:
        return (torch.where(a > 0, a * (a / b).log(), 0) - a + b).sum()

    skew, beta = settings.skew, settings.beta
    middle = beta * p + (1 - beta) * q
    found: Tensor = {
        "forward_kl": lambda: kl(p, q),
        "reverse_kl": lambda: kl(q, p),
        "jensen_shannon": lambda: beta * kl(p, middle) + (1 - beta) * kl(q, middle),
        "total_variation": lambda: (p - q).abs().sum() / 2,
        "skewed_forward_kl": lambda: kl(p, skew * p + (1 - skew) * q),
        "skewed_reverse_kl": lambda: kl(q, (1 - skew) * p + skew * q),
    }[settings.kind]()
    return found


def top_k(logits: Tensor, k: int) -> TeacherTargets:
    """The k likeliest tokens of a teacher with these logits [N, V]."""
    logprobs, ids = logits.log_softmax(1).topk(k)
    return TeacherTargets(ids, logprobs)
