"""Verification: what is right stays. Deterministic checkers first, then documents, then a model's vote.

The first thing that is wrong is the reason of a rejection. Every checker that applies leaves a score
`verification/NAME`, 1 or 0; the documents leave the share of the answer's words they hold, the vote the share for it.
Knows no SQL: that checker is the SQL track's.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from distill.agents.checkers.base import Check, Finding
from distill.agents.checkers.code import check_code
from distill.agents.checkers.form import check_format, check_language
from distill.agents.checkers.maths import check_maths
from distill.agents.checkers.references import References
from distill.agents.checkers.vote import ballots, vote
from distill.agents.outcome import Outcome, distinct, tally
from distill.asking import Asking
from distill.recipe import Verification
from distill.records import Record, Rejection
from distill.teachers.base import Ask

AGENT = "verification"
_DECISIVE = (("sql", "sql"), ("maths", "answer"))
"""Checker → the fact that makes its yes a proof: the right statement, the right number."""


def run(
    records: Sequence[Record],
    settings: Verification,
    asking: Asking,
    *,
    seed: int,
    base: Path = Path(),
) -> Outcome:
    """The records that are right. `asking` is the verifier's; `base` the folder that `references` is relative to."""
    rejections: list[Rejection] = []
    figures: dict[str, dict[str, int]] = {}
    passing = _answered(records, rejections)
    for name, check in _checkers(settings):
        findings = _found(name, check, passing, settings)
        scores = [None if finding is None else float(finding.ok) for finding in findings]
        passing = _sieved(name, passing, findings, scores, figures, rejections)
    references = References(base / settings.references) if settings.references else None
    if references:
        pairs = [references.check(record) for record in passing]
        passing = _sieved(
            "grounded",
            passing,
            [pair[0] if pair else None for pair in pairs],
            [pair[1] if pair else None for pair in pairs],
            figures,
            rejections,
        )
    if settings.vote:
        asked = [record for record in passing if record.kind == "chat" and not _is_proved(record)]
        results = vote(
            asked, settings.votes, asking, seed=seed, references=references.text if references else None
        )
        by_id = {record.id: result for record, result in zip(asked, results, strict=True)}
        voted = [by_id.get(record.id) for record in passing]
        passing = _sieved(
            "vote",
            passing,
            [pair[0] if pair else None for pair in voted],
            [pair[1] if pair else None for pair in voted],
            figures,
            rejections,
        )
    unchecked = sum(not any(name.startswith(f"{AGENT}/") for name in record.scores) for record in passing)
    return Outcome(passing, rejections, tally(passing, rejections, checks=figures, unchecked=unchecked))


def preview(
    records: Sequence[Record], settings: Verification, *, seed: int, base: Path = Path()
) -> list[Ask]:
    """The ballots of all answered records (those that a checker rejects or proves are not asked about)."""
    if not settings.vote:
        return []
    references = References(base / settings.references).text if settings.references else None
    return [
        ask
        for record in distinct(records)
        if record.kind == "chat" and record.response
        for ask in ballots(record, settings.votes, seed, references)
    ]


def _is_proved(record: Record) -> bool:
    """A checker has computed or executed what it says, which a model's opinion could only get wrong."""
    return any(
        record.scores.get(f"{AGENT}/{name}") == 1.0 and fact in record.facts for name, fact in _DECISIVE
    )


def _answered(records: Sequence[Record], rejections: list[Rejection]) -> list[Record]:
    passing = []
    for record in distinct(records):
        if record.response:
            passing.append(record)
        else:
            rejections.append(Rejection(record=record, agent=AGENT, reason="not answered"))
    return passing


def _checkers(settings: Verification) -> list[tuple[str, Check]]:
    known: dict[str, Check] = {
        "sql": _check_sql,
        "code": partial(check_code, run=settings.run_code),
        "maths": check_maths,
        "format": check_format,
        "language": check_language,
    }
    return [(name, known[name]) for name in settings.checkers]


def _check_sql(record: Record) -> Finding | None:
    # sqlglot and a database engine: only where there are records.
    from distill.sqltrack.checker import check_sql

    return check_sql(record)


def _found(
    name: str, check: Check, records: Sequence[Record], settings: Verification
) -> list[Finding | None]:
    if name == "code" and settings.run_code:
        # The work is done by other processes.
        with ThreadPoolExecutor() as pool:
            return list(pool.map(check, records))
    return [check(record) for record in records]


def _sieved(
    name: str,
    records: Sequence[Record],
    findings: Sequence[Finding | None],
    scores: Sequence[float | None],
    figures: dict[str, dict[str, int]],
    rejections: list[Rejection],
) -> list[Record]:
    """The records that pass or that the check does not apply to, with its score."""
    passing = []
    figure = figures[name] = {"applied": 0, "failed": 0}
    for record, finding, score in zip(records, findings, scores, strict=True):
        if finding is None or score is None:
            passing.append(record)
            continue
        figure["applied"] += 1
        scored = record.scored(**{f"{AGENT}__{name}": round(score, 4)})
        if finding.ok:
            passing.append(scored)
            continue
        figure["failed"] += 1
        rejections.append(Rejection(record=scored, agent=AGENT, reason=finding.reason, detail=finding.detail))
    return passing
