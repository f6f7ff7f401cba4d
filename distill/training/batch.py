"""From examples to the tensors of one pass. The one place that shifts: the hidden state at t - 1 predicts the
token at position t, whose teacher row is row j of that very example. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from distill.examples import Example
from distill.losses.sparse import TeacherTargets
from distill.teachers.base import TopK
from distill.training.job import Targets
from serve.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class Batch:
    """E examples end to end in one row of T tokens, N of them learned."""

    ids: Tensor
    """int64 [1, T]"""
    places: Tensor
    """int64 [1, T]: place of each token in its own example, for the rotary embedding."""
    bounds: Tensor
    """int32 [E + 1] on the CPU or GPU: example e is ids[0, bounds[e]:bounds[e + 1]]."""
    longest: int
    rows: Tensor
    """int64 [N]: where in the row the hidden state is that predicts each label."""
    labels: Tensor
    """int64 [N]"""
    teacher: TeacherTargets | None
    """Row n is the teacher's distribution where labels[n] stands."""
    records: tuple[str, ...]
    """Whose examples these are, for error messages."""
    weight: float = 1.0
    """0 in an idle pass: nothing is counted."""

    def to(self, device: torch.device) -> Batch:
        teacher = self.teacher
        if teacher is not None:
            teacher = TeacherTargets(teacher.ids.to(device), teacher.logprobs.to(device))
        return replace(
            self,
            ids=self.ids.to(device),
            places=self.places.to(device),
            bounds=self.bounds.to(device),
            rows=self.rows.to(device),
            labels=self.labels.to(device),
            teacher=teacher,
        )


def build(examples: Sequence[Example], targets: Targets | None, *, idle: bool = False) -> Batch:
    """One pass of `examples`. Unprocessable where a teacher's rows do not belong to their example."""
    ends = np.cumsum([len(example.ids) for example in examples])
    starts = ends - [len(example.ids) for example in examples]
    rows = [start + example.positions - 1 for start, example in zip(starts, examples, strict=True)]
    labels = [example.ids[example.positions] for example in examples]
    return Batch(
        ids=_long([example.ids for example in examples])[None],
        places=_long([np.arange(len(example.ids)) for example in examples])[None],
        bounds=torch.tensor([0, *ends.tolist()], dtype=torch.int32),
        longest=max(len(example.ids) for example in examples),
        rows=_long(rows),
        labels=_long(labels),
        teacher=None if targets is None else _teacher([(one, _rows_of(one, targets)) for one in examples]),
        records=tuple(example.record_id for example in examples),
        weight=0.0 if idle else 1.0,
    )


def _long(parts: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def _rows_of(example: Example, targets: Targets) -> TopK:
    found = targets(example)
    if len(found.ids) != len(example.positions):
        raise Unprocessable(
            f"the teacher has {len(found.ids)} rows for record {example.record_id}, which has "
            f"{len(example.positions)} tokens to learn; capture it again"
        )
    return found


def _teacher(found: Sequence[tuple[Example, TopK]]) -> TeacherTargets:
    """Rows of all examples in their order; narrower ones filled up with unused places (-1, -inf)."""
    width = max(rows.ids.shape[1] for _, rows in found)
    total = sum(len(rows.ids) for _, rows in found)
    ids = np.full((total, width), -1, np.int64)
    logprobs = np.full((total, width), -np.inf, np.float32)
    start = 0
    for _, rows in found:
        count, used = rows.ids.shape
        ids[start : start + count, :used] = rows.ids
        logprobs[start : start + count, :used] = rows.logprobs
        start += count
    return TeacherTargets(torch.from_numpy(ids), torch.from_numpy(logprobs))
