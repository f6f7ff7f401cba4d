"""The event log: what was asked, how long each part took, and what became of the suggestion.

Recording is a queue append (microseconds); one thread writes batches, retries while the database is
away, and deletes what is older than the retention. What cannot be kept is counted and logged, never
dropped in silence. Reading it back is `stats`' work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

from serve.errors import NotFound, Unavailable
from serve.settings import Settings
from sql_assistant.database import Connection, Database, DatabaseUnavailable
from sql_assistant.event_rows import (
    INSERT_REQUEST,
    UPDATE_ACTION,
    RequestRecord,
    TextKeeper,
    action_row,
    request_row,
)
from sql_assistant.stats import Moment, StatsRow, TimelinePoint, compute
from sql_assistant.stats import timeline as compute_timeline
from sql_assistant.types import EventRequest

__all__ = ["EventLog", "RequestRecord"]

logger = logging.getLogger(__name__)

_BATCH = 500
_FULL_WAIT_S = 0.05
_LONGEST_PAUSE_S = 5.0
_PURGE_EVERY_S = 24 * 3600.0
_PURGE_CHUNK = 5_000
_RECENT_IDS = 32_768


@dataclass(frozen=True, slots=True)
class _Action:
    event: EventRequest
    at: datetime


_Item = RequestRecord | _Action


class EventLog:
    """Open one a process; every method may be called from any thread."""

    def __init__(self, settings: Settings, database: Database, keep: TextKeeper, queue_limit: int) -> None:
        self._database = database
        self._keep = keep
        self._retention = timedelta(days=settings.event_retention_days)
        self._limit = queue_limit
        self._queue: deque[_Item] = deque()
        self._change = threading.Condition()
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._accepted = 0  # items ever queued
        self._done = 0  # items ever written or given up
        self._lost = 0
        self._overflowing = False
        self._closing = False
        self._abandoned = False
        self._deadline = float("inf")
        self._writer = threading.Thread(target=self._write_forever, name="event-log", daemon=True)

    @classmethod
    def open(cls, settings: Settings, *, queue_limit: int = 10_000) -> EventLog:
        """Create or migrate the database and start the writer. Raises as `Database.open` does."""
        log = cls(settings, Database.open(settings), TextKeeper.open(settings), queue_limit)
        log._writer.start()
        return log

    # -- recording ----------------------------------------------------------------------------

    def record_request(self, record: RequestRecord) -> None:
        """Queue a request's row. Takes microseconds; when the queue is full (the database is away)
        it waits 50 ms once, and then counts and logs the loss."""
        if self._put(record):
            with self._change:
                self._recent[record.id] = None
                if len(self._recent) > _RECENT_IDS:
                    self._recent.popitem(last=False)

    def record_action(self, event: EventRequest) -> None:
        """Queue what became of a suggestion; the same report sent twice counts once.

        NotFound when no request has this id; DatabaseUnavailable or Unavailable when that cannot
        be looked up or the queue is full. The look-up of an id that is not among the last 32,768 reads
        the database: call it outside an event loop's thread.
        """
        with self._change:
            known = event.completion_id in self._recent
        if not known and not self._is_stored(event.completion_id):
            raise NotFound(f"there is no completion {event.completion_id[:64]!r}", param="completion_id")
        if not self._put(_Action(event, datetime.now(UTC))):
            raise Unavailable("the event log cannot take this now; send it again", retry_after=5)

    def _is_stored(self, completion_id: str) -> bool:
        if not completion_id.isprintable():
            return False  # no id of ours, and drivers refuse NUL and lone surrogates
        with self._database.connection() as connection:
            return bool(connection.execute("SELECT 1 FROM distilsql_requests WHERE id = ?", (completion_id,)))

    def _put(self, item: _Item) -> bool:
        with self._change:
            if len(self._queue) >= self._limit and not self._overflowing and not self._closing:
                self._change.wait_for(lambda: len(self._queue) < self._limit, _FULL_WAIT_S)
            if len(self._queue) >= self._limit or self._closing:
                reason = "it is closed" if self._closing else f"{self._limit} wait for the database already"
                self._count_lost(1, reason, quiet=self._overflowing)
                self._overflowing = True
                return False
            self._overflowing = False
            self._queue.append(item)
            self._accepted += 1
            self._change.notify_all()
            return True

    def _count_lost(self, count: int, reason: str, *, quiet: bool = False) -> None:
        self._lost += count
        if not quiet or self._lost % 1_000 == 0:
            logger.error("event log: %d event(s) lost since the start: %s", self._lost, reason)

    # -- reading ------------------------------------------------------------------------------

    @property
    def lost(self) -> int:
        """Events that could not be kept since the start."""
        return self._lost

    @property
    def pending(self) -> int:
        """Events queued and not yet written."""
        return self._accepted - self._done

    def stats(self, since: Moment = None, until: Moment = None, group_by: str = "model") -> list[StatsRow]:
        """`stats.compute` over what has been written. Reads the database: run it in a thread."""
        with self._database.connection() as connection:
            return compute(connection, since, until, group_by)

    def timeline(
        self, since: Moment = None, until: Moment = None, bucket_s: int = 3600
    ) -> list[TimelinePoint]:
        """`stats.timeline` over what has been written. Reads the database: run it in a thread."""
        with self._database.connection() as connection:
            return compute_timeline(connection, since, until, bucket_s)

    # -- the end ------------------------------------------------------------------------------

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until all that was recorded before is in the database. Unavailable after `timeout` s."""
        with self._change:
            target = self._accepted
            if not self._change.wait_for(lambda: self._done >= target, timeout):
                raise Unavailable(f"{self.pending} events could not be written yet", retry_after=5)

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued and stop. Events that the database did not take within `timeout`
        seconds are counted and logged as lost. Idempotent."""
        with self._change:
            self._closing = True
            self._deadline = min(self._deadline, time.monotonic() + timeout)
            self._change.notify_all()
        # A driver's call may take a little longer than the deadline to return.
        self._writer.join(timeout + 2 * _LONGEST_PAUSE_S)
        with self._change:
            left = self.pending
            if left:
                self._done += left
                self._queue.clear()
                self._abandoned = True
                self._count_lost(left, "the database did not take them before the shutdown")

    # -- the writer thread --------------------------------------------------------------------

    def _write_forever(self) -> None:
        connection: Connection | None = None
        purge_at = time.monotonic()
        failures = 0
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: self._queue or self._closing, max(0.0, purge_at - time.monotonic())
                )
                batch = list(islice(self._queue, _BATCH))
                if not batch and self._closing:
                    break
            try:
                if connection is None:
                    connection = self._database.connect()
                if batch:
                    self._write(connection, batch)
                if time.monotonic() >= purge_at and not self._closing:
                    self._purge(connection)
                    purge_at = time.monotonic() + _PURGE_EVERY_S
            except Exception as error:  # noqa: BLE001 (the thread must outlive whatever a driver raises)
                _drop(connection)
                connection = None
                failures += 1
                # The first failure and then every tenth, so that an outage of a day is no flood.
                if failures % 10 == 1:
                    kept = f"{self.pending} events wait"
                    logger.error("event log: cannot write (%s); %s", _describe(error), kept)
                if not self._pause(failures):
                    break
            else:
                if failures:
                    logger.warning("event log: writing again, %d events wait", self.pending)
                failures = 0
        _drop(connection)

    def _pause(self, failures: int) -> bool:
        """Wait before the next attempt; False when the shutdown's deadline is over."""
        pause = min(0.1 * 2 ** min(failures, 8), _LONGEST_PAUSE_S)
        end = time.monotonic() + pause
        with self._change:
            while (left := min(end, self._deadline) - time.monotonic()) > 0:
                self._change.wait(left)
            return time.monotonic() < self._deadline

    def _write(self, connection: Connection, batch: Sequence[_Item]) -> None:
        """Write `batch` in one transaction, take it off the queue and tell who waits."""
        try:
            self._insert(connection, batch)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 (one row that no driver takes must not block the rest)
            logger.error("event log: a batch was refused (%s); writing its rows one by one", _describe(error))
            self._write_each(connection, batch)
        with self._change:
            if self._abandoned:
                return  # close() has counted them as lost
            for _ in batch:
                self._queue.popleft()
            self._done += len(batch)
            self._change.notify_all()

    def _write_each(self, connection: Connection, batch: Sequence[_Item]) -> None:
        for item in batch:
            try:
                self._insert(connection, [item])
            except DatabaseUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 (see _write)
                self._count_lost(1, f"the database refused it ({_describe(error)})")

    def _insert(self, connection: Connection, batch: Sequence[_Item]) -> None:
        with connection.transaction():
            # In order, because an action's row must exist before it is updated.
            for is_request, items in groupby(batch, key=lambda item: isinstance(item, RequestRecord)):
                if is_request:
                    rows = [
                        request_row(item, self._keep) for item in items if isinstance(item, RequestRecord)
                    ]
                    connection.execute_many(INSERT_REQUEST, rows)
                else:
                    rows = [action_row(item.event, item.at) for item in items if isinstance(item, _Action)]
                    connection.execute_many(UPDATE_ACTION, rows)

    def _purge(self, connection: Connection) -> None:
        """Delete what is older than the retention, in chunks so that others can write in between."""
        before = int((datetime.now(UTC) - self._retention).timestamp() * 1000)
        while not self._closing:
            with connection.transaction():
                gone = connection.execute(
                    "DELETE FROM distilsql_requests WHERE id IN "
                    "(SELECT id FROM distilsql_requests WHERE at_ms < ? LIMIT ?) RETURNING 1",
                    (before, _PURGE_CHUNK),
                )
            if len(gone) < _PURGE_CHUNK:
                return


def _drop(connection: Connection | None) -> None:
    if connection is not None:
        try:
            connection.close()
        except Exception as error:  # noqa: BLE001 (it is broken already, which was logged)
            logger.debug("event log: closing a connection failed (%s)", _describe(error))


def _describe(error: Exception) -> str:
    """The error without a driver's quotes of the data."""
    return error.message if isinstance(error, DatabaseUnavailable) else type(error).__name__
