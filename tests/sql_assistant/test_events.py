"""The event log keeps what it was given: actions, privacy, retention, crashes, several processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serve.errors import Conflict, DistilsqlError, NotFound, Unavailable
from serve.settings import Settings
from sql_assistant.database import Connection, Database, DatabaseUnavailable
from sql_assistant.events import EventLog, RequestRecord
from sql_assistant.ids import new_id
from sql_assistant.migrations import migrate, migrations
from sql_assistant.types import EventRequest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def rows(settings: Settings, columns: str = "*") -> list[tuple[Any, ...]]:
    with Database.open(settings).connection() as connection:
        return connection.execute(f"SELECT {columns} FROM distilsql_requests ORDER BY id")


def action(completion_id: str, name: str, **more: Any) -> EventRequest:
    return EventRequest.model_validate({"completion_id": completion_id, "action": name, **more})


def test_a_request_and_its_actions_come_back(settings: Settings) -> None:
    log = EventLog.open(settings)
    log.record_request(RequestRecord("a", "complete", model="m", total_ms=12.5, suggestions=1, valid=True))
    log.record_action(action("a", "shown", client_latency_ms=40))
    log.record_action(action("a", "partially_accepted", accepted_chars=4))
    log.record_action(action("a", "partially_accepted", accepted_chars=9))
    log.record_action(action("a", "persisted"))
    log.close()
    [(shown, partial, chars, persisted, rejected, latency)] = rows(
        settings,
        "shown_ms, partially_accepted_ms, accepted_chars, persisted_ms, rejected_ms, client_latency_ms",
    )
    assert shown and partial and persisted and rejected is None
    assert (chars, latency) == (9, 40)


def test_an_action_sent_again_counts_once_and_keeps_the_first_time(settings: Settings) -> None:
    log = EventLog.open(settings)
    log.record_request(RequestRecord("a", "complete"))
    log.record_action(action("a", "accepted", accepted_chars=7))
    log.flush()
    first = rows(settings, "accepted_ms, shown_ms, accepted_chars")
    time.sleep(0.005)
    log.record_action(action("a", "accepted", accepted_chars=7))
    log.record_action(action("a", "shown"))
    log.close()
    assert rows(settings, "accepted_ms, shown_ms, accepted_chars") == first
    assert first[0][1] is not None, "what was accepted was shown, even when that report comes late"


def test_unknown_completion_is_not_found_and_a_queued_one_is_known_at_once(settings: Settings) -> None:
    log = EventLog.open(settings)
    with pytest.raises(NotFound, match="nobody"):
        log.record_action(action("nobody", "shown"))
    for odd in ("a\0b", "\ud800"):
        with pytest.raises(NotFound):
            log.record_action(EventRequest.model_construct(completion_id=odd, action="shown"))
    for _ in range(200):
        completion_id = new_id()
        log.record_request(RequestRecord(completion_id, "complete"))
        log.record_action(action(completion_id, "shown"))
    log.close()
    again = EventLog.open(settings)
    again.record_action(action(completion_id, "accepted"))
    again.close()
    assert len(rows(settings)) == 200
    assert rows(settings, "SUM(CASE WHEN accepted_ms IS NULL THEN 0 ELSE 1 END), COUNT(shown_ms)") == [
        (1, 200)
    ]


def test_text_is_kept_as_log_text_says(tmp_path: Path) -> None:
    record = RequestRecord("a", "complete", prefix="SELECT 1", suffix="", suggestion="x\0\ud800")
    found = {}
    for mode in ("none", "hash", "full"):
        settings = Settings(home=tmp_path / mode, log_text=mode)
        log = EventLog.open(settings)
        log.record_request(record)
        log.close()
        [found[mode]] = rows(settings, "prefix, suffix, suggestion")
        raw = b"".join(path.read_bytes() for path in settings.state_dir.iterdir())
        assert (b"SELECT 1" in raw) == (mode == "full")
    assert found["none"] == (None, None, None)
    assert found["full"] == ("SELECT 1", "", "x\N{REPLACEMENT CHARACTER}?")
    assert all(len(text) == 64 for text in found["hash"])
    # The key lasts across restarts and differs between installations.
    same, other = (
        Settings(home=tmp_path / "hash", log_text="hash"),
        Settings(home=tmp_path / "b", log_text="hash"),
    )
    for settings in (same, other):
        log = EventLog.open(settings)
        log.record_request(RequestRecord("b", "complete", prefix="SELECT 1"))
        log.close()
    assert rows(same, "prefix")[0] == rows(same, "prefix")[1] != rows(other, "prefix")[0]


def test_files_are_private(settings: Settings) -> None:
    log = EventLog.open(settings)
    log.record_request(RequestRecord("a", "complete"))
    log.flush()
    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in settings.state_dir.iterdir()} == {0o600}
    log.close()


def test_old_events_are_deleted_at_the_start(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    settings = Settings(home=tmp_path, event_retention_days=7)
    log = EventLog.open(settings)
    for age in (0, 6, 8, 400):
        log.record_request(RequestRecord(f"{age:03}", "complete", at=now - timedelta(days=age)))
    log.flush()
    log.close()
    again = EventLog.open(settings)
    again.record_request(RequestRecord("new", "complete"))
    again.flush()
    wait_for(lambda: rows(settings, "id") == [("000",), ("006",), ("new",)])
    again.close()


def wait_for(condition: Any, timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_close_writes_what_is_queued_and_later_events_are_counted(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(settings)
    for number in range(5_000):
        log.record_request(RequestRecord(f"{number:05}", "complete"))
    log.close()
    log.close()
    assert len(rows(settings, "id")) == 5_000
    log.record_request(RequestRecord("late", "complete"))
    assert log.lost == 1
    assert "lost" in caplog.text
    with pytest.raises(Unavailable):
        log.record_action(action("00001", "shown"))


def test_a_locked_database_loses_nothing_and_a_full_queue_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(settings, queue_limit=10)
    log.flush()
    other = sqlite3.connect(settings.state_dir / "state.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(15):
        log.record_request(RequestRecord(f"{number:02}", "complete"))
    assert log.lost == 5
    assert "5 event(s) lost" not in caplog.text  # one line for the first, not one each
    assert "1 event(s) lost" in caplog.text
    with pytest.raises(NotFound):
        log.record_action(action("14", "shown"))
    with pytest.raises(Unavailable):
        log.record_action(action("01", "shown"))
    with pytest.raises(Unavailable, match="10 events"):
        log.flush(timeout=0.05)
    other.execute("ROLLBACK")
    other.close()
    log.flush()
    log.record_request(RequestRecord("50", "complete"))
    log.close()
    assert [row[0] for row in rows(settings, "id")] == [f"{number:02}" for number in (*range(10), 50)]


def test_one_row_that_the_database_refuses_does_not_block_the_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog.open(settings)
    log.record_request(RequestRecord("a", "complete"))
    log.record_request(RequestRecord("b", "complete", prompt_tokens=1 << 70))
    log.record_request(RequestRecord("c", "complete"))
    log.close()
    assert rows(settings, "id") == [("a",), ("c",)]
    assert log.lost == 1
    assert "refused" in caplog.text


def test_recording_does_not_wait_for_the_database(settings: Settings) -> None:
    log = EventLog.open(settings)
    other = sqlite3.connect(settings.state_dir / "state.sqlite3", isolation_level=None)
    log.flush()
    other.execute("BEGIN EXCLUSIVE")
    done = threading.Event()

    def record() -> None:
        for _ in range(1_000):
            log.record_request(RequestRecord(new_id(), "complete"))
        done.set()

    threading.Thread(target=record).start()
    assert done.wait(4), "record_request waited for the lock"
    other.execute("ROLLBACK")
    other.close()
    log.close()
    assert len(rows(settings)) == 1_000


WRITER = """
import sys
from pathlib import Path
from serve.settings import Settings
from sql_assistant.events import EventLog, RequestRecord
log = EventLog.open(Settings(home=Path(sys.argv[1])))
number = 0
while True:
    log.record_request(RequestRecord(f"{number:08}", "complete", model="m"))
    number += 1
    if number % 1000 == 0:
        log.flush()
        print(number, flush=True)
"""


def test_a_killed_writer_leaves_an_intact_database(settings: Settings) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(settings.home)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    flushed = [int(child.stdout.readline()) for _ in range(3)][-1]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with sqlite3.connect(settings.state_dir / "state.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    ids = [row[0] for row in rows(settings, "id")]
    assert len(ids) >= flushed
    assert ids == [f"{number:08}" for number in range(len(ids))], "no hole in what was written"
    log = EventLog.open(settings)
    log.record_request(RequestRecord("z", "complete"))
    log.close()
    assert len(rows(settings)) == len(ids) + 1


def _write_from_a_process(home: Path, name: str) -> None:
    log = EventLog.open(Settings(home=home))
    for number in range(500):
        log.record_request(RequestRecord(f"{name}{number}", "complete"))
        log.record_action(action(f"{name}{number}", "shown"))
        if number % 50 == 0:
            log.flush()
    log.close()
    if log.lost:
        raise SystemExit(1)


def test_two_processes_write_at_once(settings: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    assert settings.home is not None
    processes = [context.Process(target=_write_from_a_process, args=(settings.home, n)) for n in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert rows(settings, "COUNT(*), COUNT(shown_ms)") == [(1_000, 1_000)]


# -- migrations -----------------------------------------------------------------------------------


def version(connection: Connection) -> int:
    return int(connection.execute("SELECT MAX(version) FROM distilsql_version")[0][0])


def test_every_older_version_is_migrated_and_keeps_its_rows(tmp_path: Path) -> None:
    known = migrations()
    assert [migration.version for migration in known] == list(range(1, len(known) + 1))
    for reached in range(1, len(known)):
        settings = Settings(home=tmp_path / str(reached))
        settings.state_dir.mkdir(parents=True)
        with Database(settings.state_dir / "state.sqlite3").connection() as connection:
            migrate(connection, known[:reached])
            assert version(connection) == reached
            insert_plain_row(connection)
        log = EventLog.open(settings)
        log.record_action(action("old", "accepted"))
        log.close()
        with Database.open(settings).connection() as connection:
            assert version(connection) == len(known)
        assert [row.accepted for row in reopened_stats(settings)] == [1]


def insert_plain_row(connection: Connection) -> None:
    names = (
        "id, at_ms, task, status, model, dialect, prompt_tokens, cached_tokens, completion_tokens, queue_ms, "
    )
    names += "prefill_ms, decode_ms, validate_ms, total_ms, suggestions"
    now = int(time.time() * 1000)
    connection.execute(
        f"INSERT INTO distilsql_requests ({names}) VALUES ({', '.join('?' * 15)})",
        ("old", now, "complete", 200, "m", "sqlite", 1, 1, 1, 0.0, 0.0, 0.0, 0.0, 1.0, 1),
    )


def reopened_stats(settings: Settings) -> Any:
    log = EventLog.open(settings)
    try:
        return log.stats()
    finally:
        log.close()


def test_a_newer_database_is_refused_and_left_alone(settings: Settings) -> None:
    with Database.open(settings).connection() as connection:
        connection.execute("INSERT INTO distilsql_version VALUES (99, '0099_future.sql', 0)")
    with pytest.raises(Conflict, match=r"version 99 .* upgrade distilsql"):
        EventLog.open(settings)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    known = migrations()
    broken = type(known[0])(len(known) + 1, "broken.sql", ("CREATE TABLE half (a INTEGER)", "NOT SQL"))
    database = Database(tmp_path / "state.sqlite3")
    with database.connection() as connection:
        migrate(connection)
        with pytest.raises(DatabaseUnavailable):
            migrate(connection, (*known, broken))
        assert version(connection) == len(known)
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'") == []


def test_what_is_no_database_is_named(settings: Settings) -> None:
    settings.state_dir.mkdir(parents=True)
    path = settings.state_dir / "state.sqlite3"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(DistilsqlError, match=r"state\.sqlite3 is damaged or no SQLite database"):
        EventLog.open(settings)
    assert path.read_bytes().startswith(b"something else")


def test_a_url_of_another_kind_is_refused_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(DistilsqlError, match="postgresql://") as caught:
        EventLog.open(Settings(home=tmp_path, database_url="mysql://me:secret@host/db"))
    assert "secret" not in caught.value.message


def test_an_unreachable_server_is_named_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = "postgresql://me:secret@127.0.0.1:1/db"
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1, database db cannot be used") as caught:
        EventLog.open(Settings(home=tmp_path, database_url=url))
    assert "secret" not in caught.value.message + caplog.text


def test_ids_sort_by_time() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert len(first) == 32 and first < second
    assert first[12] == "7" and first[16] in "89ab"
