"""The figures of the Operations tab, from the event log and the engines in memory; plain data frames."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape

import pandas as pd

from serve.engines.base import Engine
from sql_assistant.events import EventLog
from sql_assistant.stats import StatsRow

SPANS = {
    "last hour": (timedelta(hours=1), 60),
    "last day": (timedelta(days=1), 900),
    "last week": (timedelta(days=7), 6 * 3600),
    "last month": (timedelta(days=30), 24 * 3600),
}
"""What can be chosen: how far back, and the seconds that one point of a chart stands for."""
DEFAULT_SPAN = "last day"
Point = tuple[datetime, float]
TIME = "time (UTC)"
LATENCY_COLUMNS = [TIME, "ms", "series"]
ACCEPTANCE_COLUMNS = [TIME, "acceptance %", "task"]
REQUEST_COLUMNS = [TIME, "requests", "task"]
_STATS_COLUMNS = {
    "requests": "requests",
    "shown": "shown",
    "accepted": "accepted",
    "acceptance": "acceptance %",
    "persisted": "stands after 30 s %",
    "valid": "valid %",
    "p50": "p50 ms",
    "p95": "p95 ms",
    "p99": "p99 ms",
    "editor": "editor p50 ms",
    "cached": "cached tokens %",
    "errors": "errors",
}


def since(span: str) -> datetime:
    """Where the span begins, now."""
    return datetime.now(UTC) - SPANS[span][0]


def charts(log: EventLog, span: str) -> tuple[pd.DataFrame | None, pd.DataFrame | None, pd.DataFrame | None]:
    """Latency (p50 and p95 of completions by model), acceptance and requests by task, over time;
    None where there is nothing to draw."""
    width = timedelta(seconds=SPANS[span][1])
    latency: dict[str, list[Point]] = {}
    acceptance: dict[str, list[Point]] = {}
    requests: dict[str, list[Point]] = {}
    for point in log.timeline(since(span), None, SPANS[span][1]):
        at = point.at.replace(tzinfo=None)
        requests.setdefault(point.task, []).append((at, point.requests))
        if point.acceptance_rate is not None:
            acceptance.setdefault(point.task, []).append((at, 100 * point.acceptance_rate))
        if point.task == "complete" and point.model:
            for rank, value in (("p50", point.p50_ms), ("p95", point.p95_ms)):
                if value is not None:
                    latency.setdefault(f"{point.model} {rank}", []).append((at, value))
    return (
        _frame(_to_their_end(latency, width), LATENCY_COLUMNS),
        _frame(_to_their_end(acceptance, width), ACCEPTANCE_COLUMNS),
        _frame(requests, REQUEST_COLUMNS),
    )


def table(log: EventLog, span: str, group_by: str) -> pd.DataFrame:
    """One row a model, task or schema; "–" where nothing was counted."""
    rows = log.stats(since(span), None, group_by)
    return pd.DataFrame(
        [[row.key or "–", *(_cell(row, name) for name in _STATS_COLUMNS)] for row in rows],
        columns=[group_by, *_STATS_COLUMNS.values()],
    )


def nothing_shown(log: EventLog, span: str) -> pd.DataFrame:
    """Why completions came back empty, the commonest reason first."""
    reasons: dict[str, int] = {}
    for row in log.stats(since(span), None, "task"):
        for reason, count in row.nothing_because.items():
            reasons[reason] = reasons.get(reason, 0) + count
    ranked = sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return pd.DataFrame(ranked, columns=["reason", "requests"])


def cards(engines: Mapping[str, Engine], default: str, log: EventLog, problem: str | None) -> str:
    """HTML: each model in memory with its queue and cache, and the event log."""
    shown = [_engine_card(name, engine, is_default=name == default) for name, engine in engines.items()]
    if not shown:
        shown.append(_card("Model", escape(problem or "loading …"), []))
    lost = log.lost
    kept = [f"{log.pending} waiting to be written", f"{lost} lost" if lost else "none lost"]
    shown.append(_card("Event log", "recording", kept, bad=lost > 0))
    return f'<div class="ops-cards">{"".join(shown)}</div>'


def _engine_card(name: str, engine: Engine, *, is_default: bool) -> str:
    status = engine.status
    used, total = status.cache_tokens_used, status.cache_tokens_total
    prompt, cached = status.prompt_tokens_total, status.cached_tokens_total
    facts = [
        f"{status.running} running, {status.waiting} of {status.queue_limit} waiting",
        f"cache {used:,} of {total:,} tokens in {status.cached_sequences} sequences",
        f"{100 * cached / prompt:.1f} % of {prompt:,} prompt tokens came from the cache"
        if prompt
        else "no prompt yet",
        f"{status.completion_tokens_total:,} tokens generated",
        f"sha256 {engine.info.sha256[:12]}…" if engine.info.sha256 else "hash unknown",
    ]
    return _card("Default model" if is_default else "Model", escape(name), facts)


def _card(title: str, value: str, facts: list[str], *, bad: bool = False) -> str:
    lines = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    mark = " ops-bad" if bad else ""
    return f'<section class="ops-card{mark}"><h3>{escape(title)}</h3><p>{value}</p><ul>{lines}</ul></section>'


def _to_their_end(series: dict[str, list[Point]], width: timedelta) -> dict[str, list[Point]]:
    """A point stands for the whole of its span of time: the last one is drawn to where that ends, or
    one alone would not be seen."""
    return {name: [*points, (points[-1][0] + width, points[-1][1])] for name, points in series.items()}


def _frame(series: dict[str, list[Point]], columns: list[str]) -> pd.DataFrame | None:
    rows = [(at, value, name) for name, points in series.items() for at, value in points]
    return pd.DataFrame(rows, columns=columns) if rows else None


def _cell(row: StatsRow, name: str) -> str:
    match name:
        case "acceptance":
            return _percent(row.acceptance_rate)
        case "persisted":
            return _percent(row.persistence_rate)
        case "valid":
            return _percent(row.valid_rate)
        case "cached":
            return _percent(row.cached_share)
        case "p50" | "p95" | "p99":
            return _number(getattr(row.latency_ms, name))
        case "editor":
            return _number(row.client_latency_ms.p50)
        case _:
            return str(getattr(row, name))


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"
