"""What a checker says of a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distill.records import Record


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict of a checker that applies to a record."""

    ok: bool
    reason: str = ""
    """Why not: a short, stable phrase that the data report counts by."""
    detail: str = ""
    """What exactly, for the person who reads the rejections."""


Check = Callable[[Record], Finding | None]
"""None where the checker has nothing to say about a record."""

FINE = Finding(True)
