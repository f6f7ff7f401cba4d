"""Fill-in-the-middle cuts of right statements, at the places where cursors stand.

The prompt is the product's: the dialect's line, the tables, the question as a comment (or not), and the
statement up to where token healing leaves it (`sql_assistant.healing`); the suffix is the rest as the
product passes it on. Prompt, completion and suffix put together are the whole text again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from distill.records import Record
from distill.sqltrack.questions import Statement
from sql_assistant import healing, statements
from sql_assistant.statements import Piece

Cut = Literal["tail", "middle", "join"]
_WEIGHTS: dict[Cut, int] = {"tail": 2, "middle": 3, "join": 3}
_COMMENTED = 0.65
"""Share of the prompts with the question above the statement."""
_UNHEALED = 0.12
"""Share of the cuts that stand at the cursor itself: for callers that do not heal."""
_RUN = (3, 12)
"""Tokens of a middle that ends in the midst of a clause."""
_TRIES = 8
_MIN_MID_WORD = 4
_AFTER_JOIN = frozenset(
    "JOIN LEFT RIGHT INNER CROSS FULL WHERE GROUP ORDER HAVING LIMIT UNION EXCEPT INTERSECT )".split()
)
_CLAUSES = _AFTER_JOIN | frozenset("FROM AND OR ON".split())


@dataclass(frozen=True, slots=True)
class _Hole:
    kind: Cut
    start: int
    end: int


def cuts(statement: Statement, count: int, chance: random.Random) -> list[Record]:
    """Up to `count` different cuts, of different kinds as far as the statement has them."""
    target = statement.subject.target
    pieces = [p for p in statements.pieces(statement.sql, target.dialect) if not p.is_comment]
    found: dict[str, Record] = {}
    kinds: list[Cut] = []
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        if not kinds:
            kinds = _kinds(chance)
        hole = _hole(kinds.pop(), statement.sql, pieces, chance)
        made = _record(statement, hole, chance) if hole is not None else None
        if made is not None:
            found.setdefault(made.id, made)
    return list(found.values())


def _kinds(chance: random.Random) -> list[Cut]:
    """All kinds, the weightier ones likely to come first when taken from the end."""
    return sorted(_WEIGHTS, key=lambda kind: chance.random() ** (1 / _WEIGHTS[kind]))


def _record(statement: Statement, hole: _Hole, chance: random.Random) -> Record | None:
    target, sql = statement.subject.target, statement.sql
    comment = f"-- {statement.question}\n" if chance.random() < _COMMENTED else ""
    before, start = comment + sql[: hole.start], len(comment) + hole.start
    inside_word = sql[hole.start - 1 : hole.start].isalnum() and sql[hole.start : hole.start + 1].isalnum()
    if inside_word or chance.random() >= _UNHEALED:
        kept, _ = healing.split(before)
    else:
        kept = before
    if not kept.strip():
        return None  # Nothing would say what to write.
    whole = comment + sql
    end = start - hole.start + hole.end
    completion = whole[len(kept) : end]
    if not completion.strip() or (hole.kind != "tail" and not whole[end:].strip()):
        return None
    return Record(
        kind="fim",
        prompt=target.shown + kept,
        completion=completion,
        suffix=whole[end:],
        source=f"sqltrack/fim/{hole.kind}",
        category="sql_fim",
        facts=statement.facts("fim") | {"statement_prefix": kept, "cut": hole.kind},
    )


def _hole(kind: Cut, sql: str, pieces: list[Piece], chance: random.Random) -> _Hole | None:
    if kind == "join":
        return _join(sql, pieces, chance)
    for _ in range(_TRIES):
        at = chance.randrange(0 if kind == "tail" else 1, max(2, len(pieces) - 1))
        if at >= len(pieces):
            return None
        start = _cursor(sql, pieces, at, chance)
        end = len(sql) if kind == "tail" else _end(sql, pieces, at, chance)
        if end is not None and end > start:
            return _Hole(kind, start, end)
    return None


def _cursor(sql: str, pieces: list[Piece], at: int, chance: random.Random) -> int:
    """A place at or in the piece `at`: before it (behind the blank or mark that the one before it ends
    in), within a word, or at its end."""
    piece = pieces[at]
    length = piece.end - piece.start
    place = chance.random()
    if piece.kind == "word" and length >= _MIN_MID_WORD and place < 0.3:
        return piece.start + chance.randrange(1, length)
    if place < 0.5 and at:
        return pieces[at - 1].end
    return piece.start if place < 0.85 else piece.end


def _end(sql: str, pieces: list[Piece], at: int, chance: random.Random) -> int | None:
    """Where a middle ends that begins near piece `at`: before the next clause, at the end of the line, or
    after a few tokens."""
    place = chance.random()
    if place < 0.45:
        ends = [
            pieces[n - 1].end
            for n in range(at + 2, len(pieces))
            if sql[pieces[n].start : pieces[n].end].upper() in _CLAUSES
        ]
        return chance.choice(ends[:2]) if ends else None
    if place < 0.7:
        line = sql.find("\n", pieces[at].end)
        return line if line > 0 else None
    run = at + chance.randint(*_RUN)
    return pieces[run].end if run < len(pieces) - 1 else None


def _join(sql: str, pieces: list[Piece], chance: random.Random) -> _Hole | None:
    """What stands behind one JOIN (its table and condition) or behind its ON; a tail where it is the last."""
    holes = list(joins(sql, pieces))
    if not holes:
        return None
    start, on, end = chance.choice(holes)
    if on is not None and chance.random() < 0.35:
        start = on
    return _Hole("join" if sql[end:].strip() else "tail", start, end)


def joins(sql: str, pieces: list[Piece]) -> Iterator[tuple[int, int | None, int]]:
    """Of every JOIN: where what it joins begins, where its condition begins (behind ON), where both end."""
    words = [sql[piece.start : piece.end].upper() for piece in pieces]
    for at, word in enumerate(words[:-1]):
        if word != "JOIN":
            continue
        depth, on, end = 0, None, len(words)
        for here in range(at + 1, len(words)):
            if depth == 0 and words[here] in _AFTER_JOIN:
                end = here
                break
            if depth == 0 and words[here] == "ON" and here + 1 < len(words):
                on = pieces[here + 1].start
            depth += (words[here] == "(") - (words[here] == ")")
        if end > at + 1:
            yield pieces[at + 1].start, on, pieces[end - 1].end
