"""How one position's distribution lies on disk: 5 K + 2 bytes, 52 at K = 10. Knows no files.

    values   K × 2 bytes   float16 log-probability; of a sampled distribution its count, uint16
    target       2 bytes   float16 log-probability of the token that really stands there
    ids      K × 3 bytes   24 bits; -1 (0xFFFFFF) is an unused place

(each block for all P positions of an example, one after the other). What float16 costs: its rounding is
relative, |error of ln p| ≤ |ln p| / 2048 (2⁻¹¹), so likely tokens, which decide the divergence, are kept best: no
probability is off by more than max(p |ln p|) / 2048 = 1.8e-4, a mass of 0.999 by 5e-7 only, and the divergence
of what is stored from what was captured is at most (entropy / 2048), and in practice a hundredth of that.
A fixed-point code of the same size would spread its error evenly and lose the small missing mass next to a sure
token. Ids need 18 bits for Qwen2.5; 3 bytes serve vocabularies up to 8.4 million. Counts are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.teachers.base import TopK

MAX_VOCABULARY = 0x800000
"""Ids are below it: 3 bytes with a sign, as -1 is an unused place."""
MAX_DRAWS = 0xFFFF
_LEAST = -65504.0
"""The least finite float16: a finite log-probability never becomes -inf."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """The shape of a store's rows."""

    top_k: int
    draws: int = 0
    """Above 0: counts of that many draws instead of log-probabilities."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one position."""
        return 5 * self.top_k + 2

    def pack(self, rows: TopK) -> bytes:
        """`rows` as bytes. ValueError where they are not [P, K] of ids and log-probabilities."""
        positions = len(rows.target_logprobs)
        if rows.ids.shape != (positions, self.top_k) or rows.logprobs.shape != rows.ids.shape:
            raise ValueError(
                f"rows of shape {rows.ids.shape} and {rows.logprobs.shape} for {positions} positions, "
                f"where {(positions, self.top_k)} was to come"
            )
        unused = rows.ids < 0
        if np.isnan(rows.logprobs).any() or np.isnan(rows.target_logprobs).any():
            raise ValueError("a log-probability is not a number")
        if (rows.ids >= MAX_VOCABULARY).any():
            raise ValueError(f"token id {rows.ids.max()} does not fit into 3 bytes")
        if not (np.isneginf(rows.logprobs[unused])).all():
            raise ValueError("an unused place (id -1) has a log-probability other than -inf")
        ids = np.where(unused, -1, rows.ids).astype("<u4").view(np.uint8)
        return b"".join(
            (
                self._values(rows.logprobs),
                _half(rows.target_logprobs),
                ids.reshape(positions, self.top_k, 4)[..., :3].tobytes(),
            )
        )

    def unpack(self, data: memoryview, positions: int) -> TopK:
        """The rows of `positions` positions that `data` begins with; the arrays are the caller's own."""
        places = positions * self.top_k
        target_at, ids_at = 2 * places, 2 * places + 2 * positions
        shape = (positions, self.top_k)
        wide = np.empty((places, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8, 3 * places, ids_at).reshape(places, 3)
        # The shift carries the sign along, so that -1 comes back.
        ids = wide.view("<i4")[:, 0] >> 8
        if self.draws:
            counts = np.frombuffer(data, "<u2", places).astype(np.float32)
            with np.errstate(divide="ignore"):
                logprobs = np.log(counts / np.float32(self.draws))
        else:
            logprobs = np.frombuffer(data, "<f2", places).astype(np.float32)
        targets = np.frombuffer(data, "<f2", positions, target_at).astype(np.float32)
        return TopK(ids.reshape(shape), logprobs.reshape(shape), targets)

    def rounded(self, rows: TopK) -> TopK:
        """`rows` as the store would give them back."""
        return self.unpack(memoryview(self.pack(rows)), len(rows.target_logprobs))

    def _values(self, logprobs: NDArray[np.float32]) -> bytes:
        if not self.draws:
            return _half(logprobs)
        counts = np.exp(logprobs.astype(np.float64)) * self.draws
        whole = np.rint(counts)
        if (np.abs(counts - whole) > 0.01).any() or (whole.sum(axis=1) > self.draws).any():
            raise ValueError(f"log-probabilities are not log(count / {self.draws}) of {self.draws} draws")
        packed: NDArray[np.uint16] = whole.astype("<u2")
        return packed.tobytes()


def _half(logprobs: NDArray[np.float32]) -> bytes:
    """float16; rounding of the teacher's own that went above 0 is cut off."""
    bounded = np.where(np.isneginf(logprobs), -np.inf, np.clip(logprobs, _LEAST, 0.0))
    return bounded.astype("<f2").tobytes()
