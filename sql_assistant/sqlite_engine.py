"""SQLite's own verdict on a statement, from an empty database in memory with the schema's tables.

Never a user's database: the tables are made from names, hold no rows, and the statement is only
compiled (EXPLAIN). What compiling could still reach is closed: no ATTACH, no PRAGMA, no extension,
small limits, and a step budget.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from dataclasses import dataclass
from enum import Enum, auto

from sql_assistant.caches import IdentityCache
from sql_assistant.schema import Schema, Table

_MAX_STATEMENT_BYTES = 200_000
_STEP_BUDGET = 10_000
_DENIED = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA})
_BROKEN = re.compile(
    r"syntax error|unrecognized token|unknown join type|JOIN clause is required before"
    r"|clause should come (?:after|before)"
)
# Errors that say something of the statement, whatever else the user's database holds. Others
# (no such function, index, collation, constraint ...) may be right there: no opinion.
_SEMANTIC = re.compile(
    r"^(misuse of|wrong number of arguments|SELECTs to the left and right|sub-select returns"
    r"|row value misused"
    r"|\d+(?:st|nd|rd|th) (?:ORDER|GROUP) BY term|aggregate functions are not allowed|all VALUES must have"
    r"|table \S+ has \d+ columns but|\d+ values for \d+ columns|a GROUP BY clause is required"
    r"|HAVING clause on"
    r"|circular reference|duplicate WITH table name|no tables specified|multiple recursive references"
    r"|table \S+ has \d+ values for|cannot join using column|IN\(\.\.\.\) element has)"
)


class Verdict(Enum):
    """What SQLite says of a text; BROKEN is an error that more text cannot mend."""

    RIGHT = auto()
    INCOMPLETE = auto()
    BROKEN = auto()
    UNKNOWN_NAME = auto()
    AMBIGUOUS = auto()
    WRONG = auto()
    UNKNOWN_FUNCTION = auto()
    NO_OPINION = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict and SQLite's own words for it."""

    verdict: Verdict
    message: str = ""


class Engine:
    """One in-memory database shaped like a schema; safe to use from several threads."""

    def __init__(self, schema: Schema) -> None:
        self._lock = threading.Lock()
        self._db = _open()
        self.is_complete = True
        for table in schema.tables:
            if table.schema not in ("", "main"):
                self.is_complete = False
                continue
            try:
                self._db.execute(_create(table))
            except sqlite3.Error:
                # A name that SQLite reserves, or two that differ by case: its verdicts on names
                # would be about another schema, so only RIGHT and syntax are used then.
                self.is_complete = False
            self.is_complete &= bool(table.columns)
        self._db.set_authorizer(_authorize)

    def check(self, statement: str) -> Answer:
        """Compile one statement (no `;` behind it)."""
        with self._lock:
            return _compile(self._db, statement)


def grammar(text: str) -> Answer:
    """The verdict by grammar alone: RIGHT, INCOMPLETE, BROKEN or NO_OPINION."""
    answer = empty().check(text)
    if answer.verdict in (Verdict.BROKEN, Verdict.INCOMPLETE, Verdict.NO_OPINION):
        return answer
    return Answer(Verdict.RIGHT)


_ENGINES: IdentityCache[Schema, Engine] = IdentityCache(16)
_EMPTY_SCHEMA = Schema(())


def engine(schema: Schema) -> Engine:
    """The (cached) engine for a schema."""
    return _ENGINES.get(schema, Engine)


def empty() -> Engine:
    """The engine without any table: for grammar alone."""
    return engine(_EMPTY_SCHEMA)


def _open() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=0)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_STATEMENT_BYTES)
    db.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_STATEMENT_BYTES)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.set_progress_handler(lambda: 1, _STEP_BUDGET)
    return db


def _create(table: Table) -> str:
    columns = ", ".join(_quoted(column.name) for column in table.columns) or "unknown"
    return f"CREATE TABLE {_quoted(table.name)} ({columns})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _authorize(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _DENIED else sqlite3.SQLITE_OK


def _compile(db: sqlite3.Connection, statement: str) -> Answer:
    # EXPLAIN makes SQLite compile the statement and list its program instead of running it.
    sql = statement if re.match(r"\s*explain\b", statement, re.I) else f"EXPLAIN {statement}"
    try:
        db.execute(sql).close()
    except sqlite3.ProgrammingError as error:
        # Raised by Python after SQLite has compiled a statement with parameters.
        return Answer(Verdict.RIGHT if "binding" in str(error) else Verdict.NO_OPINION)
    except (sqlite3.Error, sqlite3.Warning) as error:
        return _classify(str(error), getattr(error, "sqlite_errorcode", None))
    except UnicodeEncodeError:
        return Answer(Verdict.BROKEN, "the text holds characters that cannot be encoded")
    return Answer(Verdict.RIGHT)


def _classify(message: str, code: int | None) -> Answer:
    verdict = Verdict.NO_OPINION
    if code != sqlite3.SQLITE_ERROR:
        verdict = Verdict.NO_OPINION
    elif message == "incomplete input":
        verdict = Verdict.INCOMPLETE
    elif _BROKEN.search(message):
        verdict = Verdict.BROKEN
    elif message.startswith(("no such table", "no such column")):
        verdict = Verdict.UNKNOWN_NAME
    elif message.startswith("no such function"):
        verdict = Verdict.UNKNOWN_FUNCTION
    elif message.startswith("ambiguous column name"):
        verdict = Verdict.AMBIGUOUS
    elif _SEMANTIC.match(message):
        verdict = Verdict.WRONG
    return Answer(verdict, message)
