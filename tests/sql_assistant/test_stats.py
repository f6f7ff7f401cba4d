"""Figures of the event log against ones counted by hand (and by numpy on the same random rows)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.errors import InvalidRequest
from serve.settings import Settings
from sql_assistant.events import EventLog, RequestRecord
from sql_assistant.types import EventRequest

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog.open(Settings(home=tmp_path))
    yield log
    log.close()


def request(log: EventLog, completion_id: str, *actions: str, **fields: Any) -> None:
    log.record_request(RequestRecord(completion_id, **{"task": "complete", "at": NOON, **fields}))
    for name in actions:
        log.record_action(EventRequest.model_validate({"completion_id": completion_id, "action": name}))


def test_rates_and_counts(log: EventLog) -> None:
    request(log, "1", "shown", "accepted", "persisted", valid=True, prompt_tokens=100, cached_tokens=90)
    request(log, "2", "shown", "partially_accepted", "rejected", valid=True, prompt_tokens=100)
    request(log, "3", "shown", "rejected", valid=False)
    request(log, "4", "shown")
    request(log, "5", "not_shown", nothing_because="in_string")
    request(log, "6", nothing_because="in_string")
    request(log, "7", nothing_because="no_valid", status=499)
    log.flush()
    [row] = log.stats()
    assert (row.requests, row.errors, row.shown, row.not_shown) == (7, 1, 4, 1)
    assert (row.accepted, row.partially_accepted, row.rejected, row.persisted) == (2, 1, 1, 1)
    assert (row.acceptance_rate, row.persistence_rate) == (0.5, 0.5)
    assert row.valid_rate == 2 / 3
    assert row.cached_share == 0.45
    assert row.nothing_because == {"in_string": 2, "no_valid": 1}


def test_rates_are_none_where_nothing_was_counted(log: EventLog) -> None:
    request(log, "1", status=503)
    log.flush()
    [row] = log.stats()
    assert row.acceptance_rate is row.persistence_rate is row.valid_rate is row.cached_share is None
    assert row.latency_ms.p50 is row.client_latency_ms.p99 is None
    assert log.stats(until=NOON) == []


def test_groups_and_the_time_span(log: EventLog) -> None:
    request(log, "1", model="a", schema_id="sch_1", at=NOON)
    request(log, "2", model="b", task="repair", at=NOON + timedelta(hours=11, minutes=59))
    request(log, "3", model="b", schema_id="sch_1", at=NOON + timedelta(days=1))
    log.flush()

    def counts(group_by: str, **span: Any) -> dict[str, int]:
        return {row.key: row.requests for row in log.stats(group_by=group_by, **span)}

    day = NOON.date()
    assert counts("model") == {"a": 1, "b": 2}
    assert counts("schema") == {"": 1, "sch_1": 2}
    assert counts("task") == {"complete": 2, "repair": 1}
    assert counts("day") == {day.isoformat(): 2, date.fromordinal(day.toordinal() + 1).isoformat(): 1}
    # since is part of the span, until is not; other zones and date-only texts are understood.
    tomorrow = NOON + timedelta(days=1)
    assert counts("model", since=tomorrow.isoformat().replace("+00:00", "Z")) == {"b": 1}
    assert counts("model", until=tomorrow.isoformat()) == {"a": 1, "b": 1}
    elsewhere = (tomorrow + timedelta(hours=2)).replace(tzinfo=None).isoformat()
    assert counts("model", since=f"{elsewhere}+02:00") == {"b": 1}
    assert counts("model", since=f"{elsewhere} 02:00") == {"b": 1}, "an unescaped + in a URL is a blank"
    assert counts("model", since=tomorrow.date().isoformat()) == {"b": 1}


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"group_by": "model; DROP TABLE x"}, "group_by"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-13-01"}, "until"),
        ({"since": "2026-01-02", "until": "2026-01-01"}, "since"),
    ],
)
def test_what_cannot_be_read_is_refused(log: EventLog, arguments: dict[str, str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        log.stats(**arguments)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_percentiles_are_exact_and_leave_out_what_failed(log: EventLog) -> None:
    draw = random.Random(1)
    total = {"a": [], "b": []}  # type: dict[str, list[float]]
    for number in range(3_000):
        model, value = draw.choice("ab"), draw.lognormvariate(4, 1)
        failed = number % 10 == 0
        request(
            log,
            f"{number}",
            model=model,
            total_ms=value,
            prefill_ms=value / 2,
            status=499 if failed else 200,
        )
        if not failed:
            total[model].append(value)
    log.flush()
    for row in log.stats():
        expected = np.percentile(total[row.key], [50, 95, 99])
        found = [row.latency_ms.p50, row.latency_ms.p95, row.latency_ms.p99]
        assert found == pytest.approx(expected, abs=0.001)
        assert row.parts_p50_ms["prefill"] == pytest.approx(expected[0] / 2, abs=0.001)
        assert row.client_latency_ms.p50 is None


def test_timeline_has_a_point_for_each_bucket_model_and_task(log: EventLog) -> None:
    for minute, model, actions in [
        (0, "a", ["shown", "accepted"]),
        (4, "a", ["shown"]),
        (5, "a", []),
        (9, "b", []),
    ]:
        at = NOON + timedelta(minutes=minute)
        request(log, f"{minute}{model}", *actions, model=model, at=at, total_ms=10.0 * minute)
    log.flush()
    points = log.timeline(bucket_s=300)
    assert [(p.at, p.model, p.requests, p.acceptance_rate, p.p50_ms) for p in points] == [
        (NOON, "a", 2, 0.5, 20.0),
        (NOON + timedelta(minutes=5), "a", 1, None, 50.0),
        (NOON + timedelta(minutes=5), "b", 1, None, 90.0),
    ]
    with pytest.raises(InvalidRequest):
        log.timeline(bucket_s=0)
