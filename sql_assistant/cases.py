"""Completion cases cut from questions with known right statements, and how an answer is judged.

A case is a statement with a hole: its end is missing (tail), a run of its tokens (middle), or a join
(join). An answer counts when the whole statement, run on the sample rows, gives the rows of one of
the right statements. The statements are run on databases made for it, never on a user's.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from serve.errors import NotFound, Unprocessable
from sql_assistant import statements

Kind = Literal["tail", "middle", "join"]
KINDS: tuple[Kind, ...] = ("tail", "middle", "join")
_EXECUTION_LIMIT_S = 5.0
_STEPS_BETWEEN_LOOKS = 20_000
_AFTER_JOIN = frozenset(
    "JOIN LEFT RIGHT INNER CROSS FULL WHERE GROUP ORDER HAVING LIMIT UNION EXCEPT INTERSECT )".split()
)
_MIN_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Question:
    """A wish in words, the database it is about and the statements that fulfil it."""

    id: str
    database: str
    text: str
    gold: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One hole: prefix + missing + suffix is a right statement under its question as a comment."""

    id: str
    kind: Kind
    question: Question
    prefix: str
    missing: str
    suffix: str

    def statement(self, text: str) -> str:
        """The statement with `text` in the hole."""
        return self.prefix + text + self.suffix


def load(folder: Path) -> list[Question]:
    """Read `questions.jsonl`. NotFound where there is none; Unprocessable names a bad line."""
    path = folder / "questions.jsonl"
    if not path.is_file():
        raise NotFound(f"{path} does not exist; give a folder with questions.jsonl and DATABASE.sql files")
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            questions.append(Question(row["id"], row["db"], row["question"], tuple(row["gold"])))
        except (ValueError, KeyError, TypeError) as error:
            raise Unprocessable(f"{path}, line {number}: {error}") from error
    return questions


def cut(questions: Iterable[Question], kinds: Sequence[Kind] = KINDS) -> list[Case]:
    """At most one case of each kind a question; the place follows from the question's id alone."""
    cases = []
    for question in questions:
        for kind in kinds:
            chance = random.Random(_number(f"{question.id}/{kind}"))
            hole = _HOLES[kind](question.gold[0], chance)
            if hole is None:
                continue
            start, end = hole
            gold = question.gold[0]
            prefix = f"-- {' '.join(question.text.split())}\n{gold[:start]}"
            cases.append(Case(f"{question.id}/{kind}", kind, question, prefix, gold[start:end], gold[end:]))
    return cases


def held_out(case: Case) -> bool:
    """Whether a case belongs to the half that nothing is tuned on; the same for all of a question."""
    return _number(case.question.id) % 2 == 1


def passes(case: Case, text: str, folder: Path) -> bool:
    """Whether the statement with `text` in its hole gives the rows of a right one."""
    rows = _rows(folder, case.question.database, case.statement(text))
    if rows is None:
        return False
    return any(_alike(rows, _rows(folder, case.question.database, gold)) for gold in case.question.gold)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _tail(gold: str, chance: random.Random) -> tuple[int, int] | None:
    """The end from a random token on, at a third to four fifths of the statement."""
    pieces = list(statements.pieces(gold, "sqlite"))
    if len(pieces) < _MIN_TOKENS:
        return None
    at = chance.randrange(len(pieces) // 3, max(len(pieces) // 3 + 1, len(pieces) * 4 // 5))
    return pieces[at].start, len(gold)


def _middle(gold: str, chance: random.Random) -> tuple[int, int] | None:
    """Three to twelve tokens with at least two before them and three behind."""
    pieces = list(statements.pieces(gold, "sqlite"))
    if len(pieces) < _MIN_TOKENS + 3:
        return None
    length = chance.randint(3, min(12, len(pieces) - 5))
    first = chance.randrange(2, len(pieces) - length - 2)
    return pieces[first].start, pieces[first + length - 1].end


def _join(gold: str, chance: random.Random) -> tuple[int, int] | None:
    """What stands behind one JOIN: its table and condition."""
    pieces = list(statements.pieces(gold, "sqlite"))
    words = [gold[piece.start : piece.end].upper() for piece in pieces]
    holes = []
    for at, word in enumerate(words[:-1]):
        if word != "JOIN":
            continue
        depth = 0
        for end in range(at + 1, len(words)):
            if depth == 0 and words[end] in _AFTER_JOIN:
                break
            depth += (words[end] == "(") - (words[end] == ")")
        else:
            continue  # nothing behind the join: that is a tail
        if end > at + 1:
            holes.append((pieces[at + 1].start, pieces[end - 1].end))
    return chance.choice(holes) if holes else None


_HOLES = {"tail": _tail, "middle": _middle, "join": _join}


@lru_cache(maxsize=32)
def _database(folder: Path, name: str) -> sqlite3.Connection:
    path = folder / f"{name}.sql"
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(path.read_text(encoding="utf-8"))
    connection.execute("PRAGMA query_only = ON")
    return connection


def ddl(folder: Path, name: str) -> str:
    """The CREATE statements of a database."""
    text = (folder / f"{name}.sql").read_text(encoding="utf-8")
    spans = statements.split(text, "sqlite")
    created = (text[start:end].strip() for start, end in spans)
    return ";\n".join(one for one in created if "CREATE" in one.upper().split("INSERT")[0]) + ";\n"


@lru_cache(maxsize=4096)
def _rows(folder: Path, database: str, sql: str) -> tuple[tuple[object, ...], ...] | None:
    """The rows of a query, None where it fails or takes too long."""
    connection = _database(folder, database)
    deadline = time.monotonic() + _EXECUTION_LIMIT_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        return tuple(connection.execute(sql).fetchall())
    except sqlite3.Error:
        return None
    finally:
        connection.set_progress_handler(None, 0)


def _alike(rows: Sequence[Sequence[object]], others: Sequence[Sequence[object]] | None) -> bool:
    """Equal as multisets of rows, numbers compared at six digits."""
    if others is None or len(rows) != len(others):
        return False
    return Counter(map(_comparable, rows)) == Counter(map(_comparable, others))


def _comparable(row: Sequence[object]) -> tuple[str, ...]:
    return tuple(f"{value:.6g}" if isinstance(value, (int, float)) else repr(value) for value in row)
