"""The two passes over an output matrix that a loss needs, with the logits of one block of tokens alive at a time.

The first takes from each block what the loss needs, the second computes the block again and turns it into
gradients. Block logits lie as [block, N], vocabulary first. Knows buckets and slopes, but no divergence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The type that sums are kept in for states of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Blocks:
    """The logits [R, N] of N states for the R real tokens, a block of tokens at a time in one buffer."""

    def __init__(self, hidden: Tensor, weight: Tensor, real_vocabulary: int, chunk_tokens: int) -> None:
        self.hidden, self.weight = hidden, weight
        self.accumulator = accumulator(hidden.dtype)
        self.end = real_vocabulary
        # A block costs its logits and, where types differ, a copy of its rows of the matrix.
        width = chunk_tokens * real_vocabulary // max(1, sum(hidden.shape))
        self.width = min(real_vocabulary, max(256, width))
        self.buffer = hidden.new_empty(self.width + 1, len(hidden), dtype=self.accumulator)

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(first token, logits [block, N], the same with one more row that scatters may write rubbish to)."""
        for start in range(0, self.end if len(self.hidden) else 0, self.width):
            rows = self.rows(start)
            self._multiply(rows, self.buffer[: len(rows)])
            yield start, self.buffer[: len(rows)], self.buffer[: len(rows) + 1]

    def rows(self, start: int) -> Tensor:
        """[block, H] of the matrix in the states' type, as autocast would have it."""
        return self.weight[start : min(start + self.width, self.end)].to(self.hidden.dtype)

    def _multiply(self, rows: Tensor, out: Tensor) -> None:
        if rows.dtype == out.dtype:
            torch.mm(rows, self.hidden.T, out=out)
        elif rows.is_cuda:
            out.copy_(torch.mm(rows, self.hidden.T, out_dtype=out.dtype))
        else:
            # A processor's product is summed in float32 but rounded to half precision, which for logits is
            # some hundredths. A second product that starts from minus the first sums to what was rounded off:
            # as exact as a product of float32 copies, and much faster.
            rounded = torch.mm(rows, self.hidden.T)
            out.copy_(rounded).add_(torch.addmm(rounded, rows, self.hidden.T, beta=-1))


def _slots(ids: Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
    """Rows [K, N] of a block's buffer where `ids` [N, K] lie (the rubbish row for the others), and which do."""
    local = ids.T - start
    inside = (local >= 0) & (local < size)
    return torch.where(inside, local, size), inside


def first_pass(blocks: Blocks, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits of the named tokens [N, K] (-inf where unused), of the labels [N]; the tail's log-sum and max [N]."""
    count = len(labels)
    named = blocks.buffer.new_full(ids.T.shape, -math.inf)
    label, most = blocks.buffer.new_zeros(1, count), blocks.buffer.new_full((count,), -math.inf)
    mass = blocks.buffer.new_zeros(count)
    for start, logits, padded in blocks:
        padded[-1] = 0
        slots, inside = _slots(labels[:, None], start, len(logits))
        label = torch.where(inside, padded.gather(0, slots), label)
        slots, inside = _slots(ids, start, len(logits))
        named = torch.where(inside, padded.gather(0, slots), named)
        padded.scatter_(0, slots, -math.inf)
        more = torch.maximum(most, logits.amax(0))
        origin = more.masked_fill(more == -math.inf, 0)  # all of the tail so far may be -inf
        mass = mass * (most - origin).exp() + logits.sub_(origin).exp_().sum(0)
        most = more
    tail = mass.log() + most.masked_fill(most == -math.inf, 0)
    return named.T, label[0], tail, most


def second_pass(
    blocks: Blocks,
    ids: Tensor,
    labels: Tensor,
    tail: Tensor,
    slopes: Tensor,
    label_slope: Tensor,
    wanted: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to hidden and matrix, from those to the buckets' logits [N, K + 1] and what labels have besides."""
    hidden, weight = blocks.hidden, blocks.weight
    to_hidden = hidden.new_zeros(hidden.shape, dtype=blocks.accumulator) if wanted[0] else None
    to_weight = torch.zeros_like(weight) if wanted[1] else None
    for start, logits, padded in blocks:
        # At named tokens exp may overflow, and is NaN where there is no tail; those are overwritten.
        logits.sub_(tail).exp_().mul_(slopes[:, -1])
        slots, _ = _slots(ids, start, len(logits))
        padded.scatter_(0, slots, slopes[:, :-1].T)
        slots, inside = _slots(labels[:, None], start, len(logits))
        padded.scatter_add_(0, slots, label_slope * inside)
        slope = logits.to(hidden.dtype)
        if to_hidden is not None:
            to_hidden += slope.T @ blocks.rows(start)
        if to_weight is not None:
            to_weight[start : start + len(logits)] = slope @ hidden
    return to_hidden, to_weight
