"""Completion cases of held-out schemas, and whether an answer is right: for the evaluation of students.

The holes are those of the product's own benchmark (`sql_assistant.cases`): the end of a statement, a run of
its tokens, what stands behind a JOIN. Knows no model: `complete` is any function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from distill.records import Record
from distill.sqltrack import database
from distill.sqltrack.execution import Refused, same_rows
from sql_assistant import cases as product_cases
from sql_assistant.cases import KINDS, Kind, Question

Complete = Callable[[str, str, str], str]
"""(prefix, suffix, ddl) → the text for the gap. The prefix has the question above it as a comment."""


@dataclass(frozen=True, slots=True)
class HeldOutCase:
    """One hole in a right statement: prefix + missing + suffix."""

    id: str
    kind: Kind
    prefix: str
    missing: str
    suffix: str
    ddl: str
    dialect: str
    gold: str


def held_out_cases(records: Iterable[Record]) -> list[HeldOutCase]:
    """At most one case of each kind for every held-out question among `records`; the same for the same records."""
    found = []
    for record in records:
        facts = record.facts
        if record.category != "sql_question" or facts.get("split") != "held_out":
            continue
        question = Question(record.id, facts["schema"], record.instruction, (facts["sql"],))
        found += [
            HeldOutCase(
                case.id,
                case.kind,
                case.prefix,
                case.missing,
                case.suffix,
                facts["ddl"],
                facts["dialect"],
                facts["sql"],
            )
            for case in product_cases.cut([question])
        ]
    return found


def passes(case: HeldOutCase, text: str) -> bool:
    """Whether the statement with `text` in its hole gives the rows of the right one."""
    sandbox = database.load("held_out", case.ddl, case.dialect).sandbox
    right, given = sandbox.run(case.gold), sandbox.run(case.prefix + text + case.suffix)
    return not isinstance(right, Refused) and not isinstance(given, Refused) and same_rows(right, given)


def pass_at_1(cases: Sequence[HeldOutCase], complete: Complete) -> dict[str, float | int]:
    """Percent of the cases that pass, in all (`all`) and by kind, and how many cases there were (`cases`)."""
    passed = [passes(case, complete(case.prefix, case.suffix, case.ddl)) for case in cases]
    figures: dict[str, float | int] = {"cases": len(cases)}
    if cases:
        figures["all"] = round(100 * sum(passed) / len(passed), 1)
    for kind in KINDS:
        own = [right for case, right in zip(cases, passed, strict=True) if case.kind == kind]
        if own:
            figures[kind] = round(100 * sum(own) / len(own), 1)
    return figures
