"""What the event log says in sum: acceptance, validity and exact latency percentiles.

Counts are made by the database; percentiles in numpy over the rows of the time span, because SQLite
has none and both databases should give the same figure. Rates are None where nothing was counted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from serve.errors import InvalidRequest
from sql_assistant.database import Connection, Row

Moment = datetime | str | None
"""A point in time: aware or naive (UTC) datetime, ISO 8601 text, or None for no bound."""

_DAY_MS = 86_400_000
GROUPS = {"model": "model", "schema": "schema_id", "task": "task", "day": f"at_ms / {_DAY_MS}"}
_PARTS = ("queue_ms", "prefill_ms", "decode_ms", "validate_ms")
_WITHIN = "at_ms >= ? AND at_ms < ?"
_ACCEPTED = "accepted_ms IS NOT NULL OR partially_accepted_ms IS NOT NULL OR persisted_ms IS NOT NULL"
# Order of the sums in `_sums`; every one is a count of rows unless it adds up a column.
_SUMS = {
    "requests": "1",
    "errors": "CASE WHEN status >= 400 THEN 1 ELSE 0 END",
    "shown": "CASE WHEN shown_ms IS NOT NULL THEN 1 ELSE 0 END",
    "not_shown": "CASE WHEN not_shown_ms IS NOT NULL AND shown_ms IS NULL THEN 1 ELSE 0 END",
    "accepted": f"CASE WHEN {_ACCEPTED} THEN 1 ELSE 0 END",
    "partially_accepted": "CASE WHEN partially_accepted_ms IS NOT NULL AND accepted_ms IS NULL "
    "THEN 1 ELSE 0 END",
    "rejected": f"CASE WHEN rejected_ms IS NOT NULL AND NOT ({_ACCEPTED}) THEN 1 ELSE 0 END",
    "persisted": "CASE WHEN persisted_ms IS NOT NULL THEN 1 ELSE 0 END",
    "valid": "CASE WHEN valid = 1 THEN 1 ELSE 0 END",
    "judged": "CASE WHEN valid IS NOT NULL THEN 1 ELSE 0 END",
    "prompt_tokens": "prompt_tokens",
    "cached_tokens": "cached_tokens",
    "completion_tokens": "completion_tokens",
}


class Percentiles(BaseModel):
    """Milliseconds, linearly interpolated between ranks; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class StatsRow(BaseModel):
    """One group. Latencies leave out requests that failed or were cancelled (status >= 400)."""

    key: str
    """The model, schema id, task or day (ISO date, UTC); "" for requests without one."""
    requests: int
    errors: int
    shown: int
    not_shown: int
    """Reported as not shown by the client, and never shown."""
    accepted: int
    """In full or in part."""
    partially_accepted: int
    """Of these, in part only."""
    rejected: int
    """Rejected and no part of it accepted."""
    persisted: int
    """Still standing after 30 seconds."""
    acceptance_rate: float | None
    """accepted / shown."""
    persistence_rate: float | None
    """persisted / accepted."""
    valid_rate: float | None
    """Of the requests whose best suggestion was validated."""
    nothing_because: dict[str, int]
    """Reason -> requests without a suggestion."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cached_share: float | None
    """cached_tokens / prompt_tokens."""
    latency_ms: Percentiles
    """The whole request on the server."""
    client_latency_ms: Percentiles
    """From the keystroke to the suggestion, as the editor measured it."""
    parts_p50_ms: dict[str, float | None]
    """queue, prefill, decode, validate."""


class TimelinePoint(BaseModel):
    """One model and task in one bucket of time."""

    at: datetime
    """The bucket's start, UTC."""
    model: str
    task: str
    requests: int
    shown: int
    accepted: int
    acceptance_rate: float | None
    p50_ms: float | None
    p95_ms: float | None


def compute(
    connection: Connection, since: Moment = None, until: Moment = None, group_by: str = "model"
) -> list[StatsRow]:
    """One row a group, sorted by key, over since <= at < until.

    InvalidRequest for an unknown `group_by` or a time that cannot be read.
    """
    if group_by not in GROUPS:
        raise InvalidRequest(
            f"cannot group by {group_by[:40]!r}; one of {', '.join(GROUPS)}", param="group_by"
        )
    span = _span(since, until)
    group = GROUPS[group_by]
    sums = _sums(connection, [group], span)
    reasons: dict[object, dict[str, int]] = defaultdict(dict)
    for key, reason, count in connection.execute(
        f"SELECT {group}, nothing_because, COUNT(*) FROM distilsql_requests "  # noqa: S608
        f"WHERE {_WITHIN} AND nothing_because IS NOT NULL GROUP BY 1, 2 ORDER BY 3 DESC, 2",
        span,
    ):
        reasons[key][reason] = count
    columns = ("total_ms", "client_latency_ms", *_PARTS)
    values = _values(connection, [group], columns, span)
    rows = [
        _row(_label(key, group_by), total, reasons[key], values.get((key,), {}))
        for (key,), total in sums.items()
    ]
    return sorted(rows, key=lambda row: row.key)


def timeline(
    connection: Connection, since: Moment = None, until: Moment = None, bucket_s: int = 3600
) -> list[TimelinePoint]:
    """Points in order of time for charts: one a bucket of `bucket_s` seconds, model and task that
    has requests. InvalidRequest for a bucket under one second or a time that cannot be read."""
    if bucket_s < 1:
        raise InvalidRequest(f"a bucket of {bucket_s} seconds is too short; at least 1", param="bucket_s")
    span = _span(since, until)
    width = int(bucket_s) * 1000
    group = [f"at_ms / {width}", "model", "task"]
    values = _values(connection, group, ("total_ms",), span)
    points = []
    for key, total in _sums(connection, group, span).items():
        bucket, model, task = key
        latency = values.get(key, {}).get("total_ms")
        p50, p95 = _percentiles(latency, 50, 95)
        points.append(
            TimelinePoint(
                at=datetime.fromtimestamp(int(str(bucket)) * bucket_s, UTC),
                model=str(model),
                task=str(task),
                requests=total["requests"],
                shown=total["shown"],
                accepted=total["accepted"],
                acceptance_rate=_rate(total["accepted"], total["shown"]),
                p50_ms=p50,
                p95_ms=p95,
            )
        )
    return sorted(points, key=lambda point: (point.at, point.model, point.task))


def moment(value: Moment, param: str) -> datetime | None:
    """`value` as an aware datetime. InvalidRequest (about `param`) where it cannot be read."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        # A "+" that was not escaped in a URL arrives as a blank.
        text = re.sub(r"(?<=\d) (?=\d\d:?\d\d$)", "+", value.strip()) if "T" in value else value.strip()
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidRequest(
                f"{param} is {text[:40]!r}; it has to be ISO 8601, such as 2026-11-03T10:00:00Z", param=param
            ) from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _span(since: Moment, until: Moment) -> tuple[int, int]:
    start, end = moment(since, "since"), moment(until, "until")
    first = 0 if start is None else _ms(start)
    last = 1 << 62 if end is None else _ms(end)
    if first > last:
        raise InvalidRequest("since is later than until", param="since")
    return first, last


def _ms(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _label(key: object, group_by: str) -> str:
    if group_by == "day":
        return datetime.fromtimestamp(int(str(key)) * _DAY_MS / 1000, UTC).date().isoformat()
    return "" if key is None else str(key)


def _sums(connection: Connection, group: list[str], span: tuple[int, int]) -> dict[Row, dict[str, int]]:
    sums = ", ".join(f"SUM({expression})" for expression in _SUMS.values())
    numbers = ", ".join(str(at + 1) for at in range(len(group)))
    rows = connection.execute(
        f"SELECT {', '.join(group)}, {sums} FROM distilsql_requests WHERE {_WITHIN} "  # noqa: S608
        f"GROUP BY {numbers}",
        span,
    )
    width = len(group)
    return {row[:width]: {n: int(v) for n, v in zip(_SUMS, row[width:], strict=True)} for row in rows}


def _values(
    connection: Connection, group: list[str], columns: tuple[str, ...], span: tuple[int, int]
) -> dict[Row, dict[str, NDArray[np.float64]]]:
    """Group -> column -> its values, [rows], NaN where there is none. Only answered requests."""
    chunks: dict[Row, list[NDArray[np.float64]]] = defaultdict(list)
    width = len(group)
    for rows in connection.stream(
        f"SELECT {', '.join(group)}, {', '.join(columns)} FROM distilsql_requests "  # noqa: S608
        f"WHERE {_WITHIN} AND status < 400",
        span,
    ):
        by_group: dict[Row, list[Row]] = defaultdict(list)
        for row in rows:
            by_group[row[:width]].append(row[width:])
        for key, values in by_group.items():
            chunks[key].append(np.array(values, dtype=np.float64))
    found = {}
    for key, arrays in chunks.items():
        joined = np.concatenate(arrays)
        found[key] = {name: joined[:, at] for at, name in enumerate(columns)}
    return found


def _row(
    key: str, total: Mapping[str, int], reasons: dict[str, int], values: Mapping[str, NDArray[np.float64]]
) -> StatsRow:
    return StatsRow(
        key=key,
        acceptance_rate=_rate(total["accepted"], total["shown"]),
        persistence_rate=_rate(total["persisted"], total["accepted"]),
        valid_rate=_rate(total["valid"], total["judged"]),
        cached_share=_rate(total["cached_tokens"], total["prompt_tokens"]),
        nothing_because=reasons,
        latency_ms=_summary(values.get("total_ms")),
        client_latency_ms=_summary(values.get("client_latency_ms")),
        parts_p50_ms={
            part.removesuffix("_ms"): next(iter(_percentiles(values.get(part), 50))) for part in _PARTS
        },
        **{name: total[name] for name in _SUMS if name not in ("valid", "judged")},
    )


def _summary(values: NDArray[np.float64] | None) -> Percentiles:
    p50, p95, p99 = _percentiles(values, 50, 95, 99)
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _percentiles(values: NDArray[np.float64] | None, *ranks: int) -> Iterable[float | None]:
    known = None if values is None else values[~np.isnan(values)]
    if known is None or not len(known):
        return [None] * len(ranks)
    return [round(float(value), 3) for value in np.percentile(known, ranks)]


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None
