"""The verdict on an answer in SQL, and completion cases of held-out schemas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from distill.agents.outcome import Outcome
from distill.records import Record, chat
from distill.sqltrack import cases
from distill.sqltrack.checker import check_sql
from distill.sqltrack.questions import Statement, record

GOLD = "SELECT city, COUNT(*) FROM hotels GROUP BY city"


def test_every_record_of_the_track_passes_its_own_check(outcome: Outcome) -> None:
    failed = [finding for one in outcome.records if (finding := check_sql(one)) is None or not finding.ok]
    assert failed == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("```sql\nselect city, count(hotel_id) as n\nfrom hotels group by 1 order by n\n```", ""),
        ("SELECT city, COUNT(*) FROM hotels GROUP BY city;", ""),
        (
            "```sql\nSELECT city, SUM(stars) FROM hotels GROUP BY city\n```",
            "other rows than the known statement",
        ),
        ("```sql\nSELECT town FROM hotels\n```", "invalid statement"),
        ("```sql\nDELETE FROM hotels\n```", "statement does not run"),
        ("Sorry, I cannot.", "invalid statement"),
        ("```sql\n```", "no statement in the answer"),
    ],
)
def test_an_answer_is_judged_by_its_rows(answer: str, reason: str, hotel: Callable[..., Statement]) -> None:
    asked = record(hotel(GOLD))
    finding = check_sql(asked.answered(answer, source="test"))
    assert finding is not None and (finding.ok, finding.reason) == (not reason, reason)


def test_without_a_known_statement_it_has_to_be_right_for_the_schema(hotel: Callable[..., Statement]) -> None:
    ddl = hotel(GOLD).subject.target.ddl
    good = chat("List the guests", "SELECT full_name FROM guests", source="test", facts={"ddl": ddl})
    bad = chat("List the guests", "SELECT name FROM guests", source="test", facts={"ddl": ddl})
    verdicts = [check_sql(one) for one in (good, bad)]
    assert [verdict and verdict.ok for verdict in verdicts] == [True, False]


def test_what_is_no_sql_is_left_to_others() -> None:
    assert check_sql(chat("Why is the sky blue?", "Rayleigh", source="test")) is None


def test_unreadable_ddl_is_a_finding() -> None:
    for ddl in ("CREATE TABLE (", "CREATE TABLE t (x INT, X TEXT);"):
        finding = check_sql(chat("q", "SELECT 1", source="test", facts={"ddl": ddl}))
        assert finding is not None and finding.reason == "unreadable DDL"


def test_cases_come_from_held_out_schemas_only(outcome: Outcome) -> None:
    found = cases.held_out_cases(outcome.records)
    kinds = Counter(case.kind for case in found)
    assert kinds["tail"] == 16 and kinds["middle"] >= 8 and kinds["join"] >= 1
    trained = [one for one in outcome.records if one.facts["split"] == "train"]
    assert not {case.ddl for case in found} & {one.facts["ddl"] for one in trained}
    for case in found:
        assert case.prefix.startswith("-- ")
        assert (case.prefix + case.missing + case.suffix).split("\n", 1)[1] == case.gold


def test_a_case_passes_by_its_rows(outcome: Outcome) -> None:
    found = cases.held_out_cases(outcome.records)
    missing = {(case.prefix, case.suffix): case.missing for case in found}
    right = cases.pass_at_1(found, lambda prefix, suffix, ddl: missing[prefix, suffix])
    assert right["all"] == right["tail"] == right["middle"] == 100.0
    assert right["cases"] == len(found)
    wrong = cases.pass_at_1(found, lambda prefix, suffix, ddl: " nonsense here (")
    assert wrong["all"] == 0.0
    assert cases.pass_at_1([], lambda *_: "") == {"cases": 0}


def test_any_statement_with_the_same_rows_is_right() -> None:
    ddl = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL, b TEXT);"
    asked = chat("How many?", "x", source="s", category="sql_question",
                 facts={"ddl": ddl, "dialect": "sqlite", "schema": "t", "split": "held_out",
                        "sql": "SELECT COUNT(*) FROM t WHERE a > 10"})  # fmt: skip
    (tail,) = [case for case in cases.held_out_cases([asked]) if case.kind == "tail"]
    assert cases.passes(tail, tail.missing.replace("10", "10 AND 1 = 1"))
    assert not cases.passes(tail, tail.missing.replace("10", "60"))


def test_training_records_make_no_cases() -> None:
    assert cases.held_out_cases([Record(kind="completion", prompt="a", completion="b", source="s")]) == []
