"""The same event log and schema store on a real PostgreSQL server."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from databases import PostgresServer, postgres_server, postgres_url

from serve.errors import NotFound
from serve.settings import Settings
from sql_assistant.database import DatabaseUnavailable
from sql_assistant.events import EventLog, RequestRecord
from sql_assistant.migrations import migrations
from sql_assistant.schema import Column, Schema, Table
from sql_assistant.schema_store import SchemaStore
from sql_assistant.types import EventRequest

__all__ = ["postgres_server", "postgres_url"]
pytestmark = pytest.mark.real


@pytest.fixture
def settings(tmp_path: Path, postgres_url: str) -> Settings:
    return Settings(home=tmp_path, database_url=postgres_url, log_text="full")


def test_events_actions_and_stats(settings: Settings) -> None:
    log = EventLog.open(settings)
    now = datetime.now(UTC)
    for number in range(1, 101):
        log.record_request(
            RequestRecord(
                f"{number:03}",
                "complete",
                at=now - timedelta(days=200 if number == 100 else 0),
                model="m",
                total_ms=number,
                valid=number % 2 == 0,
                prompt_tokens=10,
                cached_tokens=9,
                prefix="SELECT '\0'\ud800",
                nothing_because="in_string" if number > 90 else None,
            )
        )
    for number in range(1, 11):
        log.record_action(EventRequest(completion_id=f"{number:03}", action="shown", client_latency_ms=5))
    log.record_action(EventRequest(completion_id="001", action="accepted", accepted_chars=3))
    log.record_action(EventRequest(completion_id="002", action="partially_accepted", accepted_chars=1))
    log.record_action(EventRequest(completion_id="002", action="partially_accepted", accepted_chars=8))
    log.flush()
    [row] = log.stats(since=now - timedelta(days=1))
    assert (row.key, row.requests, row.shown, row.accepted, row.acceptance_rate) == ("m", 99, 10, 2, 0.2)
    assert row.latency_ms.p50 == 50 and row.client_latency_ms.p99 == 5
    assert row.cached_share == 0.9
    assert row.nothing_because == {"in_string": 9}
    assert {r.key for r in log.stats(group_by="day")} >= {now.date().isoformat()}
    assert sum(point.requests for point in log.timeline(since=now - timedelta(days=1), bucket_s=60)) == 99
    with pytest.raises(NotFound):
        log.record_action(EventRequest(completion_id="nobody", action="shown"))
    log.close()
    again = EventLog.open(settings)  # deletes the one from 200 days ago
    again.record_action(EventRequest(completion_id="003", action="persisted"))
    again.flush()
    again.close()
    with psycopg.connect(settings.database_url) as connection:
        counts = connection.execute(
            "SELECT COUNT(*), COUNT(persisted_ms), MAX(accepted_chars), MIN(prefix) FROM distilsql_requests"
        ).fetchone()
    assert counts == (99, 1, 8, "SELECT '\N{REPLACEMENT CHARACTER}'?")


def test_rows_survive_a_restart_of_the_server(
    settings: Settings, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(settings)
    log.record_request(RequestRecord("before", "complete"))
    log.flush()
    postgres_server.stop()
    try:
        for number in range(50):
            log.record_request(RequestRecord(f"during{number}", "complete"))
        log.record_action(EventRequest(completion_id="during7", action="shown"))
        with pytest.raises(DatabaseUnavailable):
            log.stats()
    finally:
        postgres_server.start()
    log.flush(timeout=30)
    assert log.lost == 0
    assert "cannot write" in caplog.text
    [row] = log.stats()
    assert (row.requests, row.shown) == (51, 1)
    log.close()


def test_closing_while_the_server_is_away_counts_the_loss(
    settings: Settings, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(settings)
    log.flush()
    postgres_server.stop()
    try:
        log.record_request(RequestRecord("a", "complete"))
        log.close(timeout=0.5)
    finally:
        postgres_server.start()
    assert log.lost == 1
    assert "1 event(s) lost" in caplog.text


def test_many_open_an_empty_database_at_once(settings: Settings) -> None:
    ids: list[str] = []

    def use() -> None:
        schema = Schema((Table("t", (Column("a"),)),), "postgres")
        ids.append(SchemaStore.open(settings).add("shop", schema).id)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6 and len(set(ids)) == 1
    [stored] = SchemaStore.open(settings).list()
    assert stored.schema.tables[0].columns == (Column("a"),)
    with psycopg.connect(settings.database_url) as connection:
        assert connection.execute("SELECT version FROM distilsql_version ORDER BY 1").fetchall() == [
            (migration.version,) for migration in migrations()
        ]
