"""What an agent hands on: records, what did not come through, and figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.records import Record, Rejection


@dataclass(frozen=True, slots=True)
class Outcome:
    """An agent's result."""

    records: list[Record]
    """All that goes on, those that the agent only passed through included."""
    rejections: list[Rejection] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values."""


def tally(records: Sequence[Record], rejections: Sequence[Rejection], **more: Any) -> dict[str, Any]:
    """The figures every agent reports: how many went on and did not, why, and the categories."""
    return {
        "records": len(records),
        "rejected": len(rejections),
        "reasons": counted(rejection.reason for rejection in rejections),
        "categories": counted(record.category or "other" for record in records),
        **more,
    }


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, most frequent first, equals in alphabetical order."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def distinct(records: Iterable[Record]) -> list[Record]:
    """Without later records of the same content (the same id)."""
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.id, record)
    return list(first.values())
