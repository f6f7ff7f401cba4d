"""Hidden states and attention maps as further things to learn, where a teacher computes beside the student.

A teacher of another width and depth is met half-way: learned projections take the student's states to the teacher's
width, and pairs of layers at equal relative depth are compared. Like `sparse`, everything is a sum over the learned
rows, and whoever calls divides. Knows no logits. The projections are parameters: they belong into the optimiser, and
are thrown away with the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serve.errors import Unprocessable

Measure = Literal["cosine", "mse"]
LayerPairs = tuple[tuple[int, int], ...]
"""(student's layer, teacher's layer), counted from 0."""


@dataclass(frozen=True)
class States:
    """What a model computed for N learned rows, one entry for each layer that is compared."""

    hidden: tuple[Tensor, ...] = ()
    """Each [N, H]: a layer's output at the position before the target, where the target is predicted."""
    attention: tuple[Tensor, ...] = ()
    """Each [N, heads, T]: attention of that position's query over T keys; 0 where it must not look."""


def layer_pairs(student: int, teacher: int, count: int = 4) -> LayerPairs:
    """`count` pairs at equal relative depth, the last always last with last, of models of so many layers."""
    count = min(count, student, teacher)
    ends = [((at + 1) * student / count, (at + 1) * teacher / count) for at in range(count)]
    return tuple((round(ours) - 1, round(theirs) - 1) for ours, theirs in ends)


def select(output: Any, batch: Tensor, rows: Tensor, layers: Sequence[int]) -> States:
    """Learned rows out of a transformers output.

    Run the model with `output_hidden_states=True`, for attention also `output_attentions=True` and an implementation
    that keeps maps: [B, heads, T, keys] of at least these layers, None for others. batch [N], rows [N]: example and
    position of each. Layer 0 is the first block's output. Raises Unprocessable where the output has no states.
    """
    if output.hidden_states is None:
        raise Unprocessable("hidden-state transfer needs a model that is run with output_hidden_states=True")
    hidden = tuple(output.hidden_states[layer + 1][batch, rows] for layer in layers)
    maps = output.attentions or ()
    if maps and any(maps[layer] is None for layer in layers):
        raise Unprocessable(
            "attention transfer needs an attention implementation that keeps its maps, such as 'eager'; set "
            "attention_weight to 0"
        )
    return States(hidden, tuple(maps[layer][batch, :, rows] for layer in layers) if maps else ())


class Transfer(nn.Module):
    """hidden_weight · (hidden-state distance) + attention_weight · (attention divergence), each the mean over layer
    pairs, summed over rows.

    Hidden states: "cosine" is 1 - cos (DistilBERT, arXiv 1910.01108), blind to the size of states, which in Qwen2 is
    that of a few outliers; "mse" the mean square over the width (TinyBERT, arXiv 1909.10351).
    Attention: KL(teacher‖student) of the maps averaged over heads (MiniLM, arXiv 2002.10957, compares
    head with head; the average takes any two numbers of them).
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        pairs: int,
        *,
        hidden_weight: float = 1.0,
        attention_weight: float = 0.0,
        measure: Measure = "cosine",
    ) -> None:
        super().__init__()
        self.hidden_weight, self.attention_weight = hidden_weight, attention_weight
        self.measure = measure
        self.projections = nn.ModuleList(
            nn.Linear(student_width, teacher_width, bias=False, dtype=torch.float32)
            for _ in range(pairs if hidden_weight else 0)
        )
        for projection in self.projections:
            assert isinstance(projection, nn.Linear)
            if student_width == teacher_width:
                nn.init.eye_(projection.weight)
            else:
                nn.init.orthogonal_(projection.weight)

    def forward(self, student: States, teacher: States) -> Tensor:
        """Scalar float32 sum over rows; no gradient goes to the teacher. Unprocessable for unequal layer counts."""
        total = torch.zeros((), device=next(iter((*student.hidden, *student.attention))).device)
        if self.hidden_weight:
            self._same(len(self.projections), len(student.hidden), len(teacher.hidden))
            parts = [
                self._distance(projection(ours.to(self._dtype)), theirs.detach())
                for projection, ours, theirs in zip(
                    self.projections, student.hidden, teacher.hidden, strict=True
                )
            ]
            total = total + self.hidden_weight * torch.stack(parts).mean()
        if self.attention_weight:
            self._same(len(student.attention) or 1, len(student.attention), len(teacher.attention))
            parts = [
                attention_divergence(ours, theirs.detach())
                for ours, theirs in zip(student.attention, teacher.attention, strict=True)
            ]
            total = total + self.attention_weight * torch.stack(parts).mean()
        return total

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _distance(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """Sum over rows of the distance of [N, H] states."""
        theirs = theirs.to(ours.dtype)
        if self.measure == "mse":
            return (ours - theirs).square().mean(1).sum()
        return (1 - F.cosine_similarity(ours, theirs, dim=1)).sum()

    @staticmethod
    def _same(wanted: int, ours: int, theirs: int) -> None:
        if not wanted == ours == theirs:
            raise Unprocessable(
                f"transfer compares {wanted} layers and was given {ours} of the student and {theirs} of the teacher"
            )


def attention_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ over rows of KL(teacher‖student) of [N, heads, T] attention, averaged over heads (their numbers may differ)."""
    accumulator = torch.promote_types(student.dtype, torch.float32)
    p, q = (_average(maps.to(accumulator)) for maps in (teacher, student))
    least = torch.finfo(accumulator).tiny
    logs = p.clamp(min=least).log() - q.clamp(min=least).log()
    return (p * logs).sum()


def _average(maps: Tensor) -> Tensor:
    """[N, T] summing to 1: half-precision maps do so only nearly."""
    mean = maps.mean(1)
    return mean / mean.sum(1, keepdim=True)
