"""Replies on disk, so that no question is paid for twice, and what was spent: one SQLite file.

A reply and what it cost are one transaction: whoever is killed has either both or neither. Several
processes may share a file. Knows no teacher and no budget.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.teachers.base import Reply
from distill.teachers.budget import Spent, Usage
from serve.errors import DistilsqlError, Unprocessable

_VERSION = 1
_BUSY_S = 30.0
_SCHEMA = f"""
CREATE TABLE reply (
  teacher TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL, truncated INTEGER NOT NULL, cost_usd REAL NOT NULL,
  PRIMARY KEY (teacher, key)
) WITHOUT ROWID;
CREATE TABLE spent (
  teacher TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, usd REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_SPEND = """
INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (teacher) DO UPDATE SET
  prompt_tokens = prompt_tokens + excluded.prompt_tokens,
  completion_tokens = completion_tokens + excluded.completion_tokens, usd = usd + excluded.usd
"""


class ResponseCache:
    """One teacher's replies and spending in a file; without a file, its spending alone, in memory."""

    def __init__(self, path: Path | None, teacher: str) -> None:
        """`teacher` tells apart whose replies they are. Raises DistilsqlError, Unprocessable."""
        self._where = str(path or "memory")
        self._teacher = teacher
        self._keeps_replies = path is not None
        self._lock = threading.Lock()
        with self._told():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path or ":memory:", timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
        self._db.execute("COMMIT")
        if version not in (0, _VERSION):
            raise Unprocessable(
                f"{self._where} was written by another version of distilsql ({version}, this is {_VERSION}); "
                "move it away"
            )

    def get(self, key: str) -> Reply | None:
        """The reply to the question with this key, marked as cached."""
        if not self._keeps_replies:
            return None
        with self._told():
            row = self._db.execute(
                "SELECT text, prompt_tokens, completion_tokens, truncated, cost_usd FROM reply "
                "WHERE teacher = ? AND key = ?",
                (self._teacher, key),
            ).fetchone()
        return Reply(row[0], row[1], row[2], bool(row[3]), row[4], cached=True) if row else None

    def add(self, key: str, reply: Reply | None, usage: Usage, usd: float) -> None:
        """Keep a reply (None: there was none, but it cost) and count what it took. Durable on return."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if reply is not None and self._keeps_replies:
                    self._db.execute(
                        "INSERT OR REPLACE INTO reply VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (
                            self._teacher,
                            key,
                            reply.text,
                            reply.prompt_tokens,
                            reply.completion_tokens,
                            reply.truncated,
                            reply.cost_usd,
                        ),
                    )
                self._db.execute(_SPEND, (self._teacher, usage.prompt_tokens, usage.completion_tokens, usd))
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def spent(self) -> Spent:
        """Totals of this teacher over every process that used the file."""
        with self._told():
            row = self._db.execute(
                "SELECT prompt_tokens + completion_tokens, usd FROM spent WHERE teacher = ?", (self._teacher,)
            ).fetchone()
        return Spent(*row) if row else Spent()

    def close(self) -> None:
        """Idempotent."""
        self._db.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise DistilsqlError(
                    f"the reply cache {self._where} cannot be used: {error}; check the disk (space, rights), "
                    "and move the file away if it is damaged"
                ) from error
