"""The data report's figures, as plain JSON values. Knows no HTML and no run folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distill.agents import answering
from distill.agents.constraints import words
from distill.agents.outcome import counted
from distill.agents.prompt_files import derived_seed
from distill.records import Record, Rejection

_EDGES = (0, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560)
_SAMPLES_PER_CATEGORY = 2
_SAMPLES_PER_REASON = 2
_SHOWN_CHARS = 1200


@dataclass(frozen=True, slots=True)
class StageData:
    """What a stage has made."""

    name: str
    records: Sequence[Record]
    """All that it hands on."""
    rejections: Sequence[Rejection] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0


def figures(stages: Sequence[StageData], *, title: str) -> dict[str, Any]:
    """Everything that the report shows. The last stage's records are the data set."""
    final = stages[-1].records if stages else []
    return {
        "title": title,
        "records": len(final),
        "rejected": sum(len(stage.rejections) for stage in stages),
        "tokens": {
            "prompt": sum(stage.prompt_tokens for stage in stages),
            "completion": sum(stage.completion_tokens for stage in stages),
        },
        "cost_usd": round(sum(stage.cost_usd for stage in stages), 6),
        "stages": _stages(stages),
        "categories": _balance(stages),
        "languages": counted(record.language or "unknown" for record in final),
        "kinds": counted(record.kind for record in final),
        "sources": counted(_sources(stages)),
        "lengths": {
            "instruction words": histogram([len(words(record.instruction)) for record in final]),
            "response words": histogram([len(words(record.response)) for record in final if record.response]),
        },
        "scores": _scores(final),
        "samples": _samples(final),
        "rejected_samples": _rejected_samples(stages),
    }


def _stages(stages: Sequence[StageData]) -> list[dict[str, Any]]:
    """For each: what came in, what of it went on unchanged, what is new, what was rejected and why."""
    rows = []
    before: set[str] = set()
    for stage in stages:
        ids = {record.id for record in stage.records}
        rows.append(
            {
                "name": stage.name,
                "received": len(before),
                "passed_on": len(before & ids),
                "made": len(ids - before),
                "records": len(stage.records),
                "rejected": len(stage.rejections),
                "reasons": counted(rejection.reason for rejection in stage.rejections),
                "prompt_tokens": stage.prompt_tokens,
                "completion_tokens": stage.completion_tokens,
                "cost_usd": round(stage.cost_usd, 6),
                "metrics": stage.metrics,
            }
        )
        before = ids
    return rows


def _sources(stages: Sequence[StageData]) -> list[str]:
    """What made the last stage's records; of an answered instruction, what made the instruction."""
    known = {record.id: record for stage in stages for record in stage.records}
    found = []
    for record in stages[-1].records if stages else ():
        origin = record
        while origin.source == answering.AGENT and origin.parents and origin.parents[0] in known:
            origin = known[origin.parents[0]]
        found.append(origin.source)
    return found


def _balance(stages: Sequence[StageData]) -> dict[str, dict[str, int]]:
    """Category → stage → records."""
    table: dict[str, dict[str, int]] = defaultdict(lambda: {stage.name: 0 for stage in stages})
    for stage in stages:
        for category, count in counted(record.category or "other" for record in stage.records).items():
            table[category][stage.name] = count
    return dict(sorted(table.items()))


def histogram(values: Sequence[int]) -> list[dict[str, int | None]]:
    """Counts in [from, to) with doubling widths, up to the largest value; the last one is open (`to` is None)."""
    bins: list[dict[str, int | None]] = []
    for low, high in zip(_EDGES, (*_EDGES[1:], None), strict=True):
        count = sum(low <= value and (high is None or value < high) for value in values)
        bins.append({"from": low, "to": high, "count": count})
    while len(bins) > 1 and not bins[-1]["count"]:
        bins.pop()
    return bins


def _scores(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Score → mean, least, most, and how many records have it."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for name, value in record.scores.items():
            found[name].append(value)
    return {
        name: {
            "records": len(values),
            "mean": round(sum(values) / len(values), 4),
            "least": round(min(values), 4),
            "most": round(max(values), 4),
        }
        for name, values in sorted(found.items())
    }


def _samples(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Some of each category, the same ones each time."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: derived_seed(0, record.id)):
        groups[record.category or "other"].append(record)
    return [_shown(record) for name in sorted(groups) for record in groups[name][:_SAMPLES_PER_CATEGORY]]


def _rejected_samples(stages: Sequence[StageData]) -> list[dict[str, Any]]:
    chosen = []
    for stage in stages:
        groups: dict[str, list[Rejection]] = defaultdict(list)
        for rejection in stage.rejections:
            groups[rejection.reason].append(rejection)
        for reason in sorted(groups):
            some = sorted(groups[reason], key=lambda one: derived_seed(0, one.record.id, one.detail))
            chosen += [
                {**_shown(one.record), "stage": stage.name, "reason": reason, "detail": one.detail}
                for one in some[:_SAMPLES_PER_REASON]
            ]
    return chosen


def _shown(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "category": record.category or "other",
        "source": record.source,
        "language": record.language,
        "instruction": _cut(record.instruction, end=record.kind != "chat"),
        "response": _cut(record.response),
        "suffix": _cut(record.suffix),
    }


def _cut(text: str, *, end: bool = False) -> str:
    """At a cursor it is the text's end that counts."""
    if len(text) <= _SHOWN_CHARS:
        return text
    return f"… {text[-_SHOWN_CHARS:]}" if end else f"{text[:_SHOWN_CHARS]} …"
