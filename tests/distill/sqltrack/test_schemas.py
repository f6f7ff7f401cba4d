"""Shipped schemas first, then the teacher's that are sound and new; the last ones are held out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from distill.asking import Asking
from distill.recipe import SqlTrack
from distill.sqltrack import schemas
from distill.teachers.base import Ask, Failure, Reply
from serve.errors import Unprocessable

_DEFOG = ("academic advising atis broker car_dealership derm_treatment ewallet geography restaurants scholar "
          "yelp").split()  # fmt: skip
GOOD = """CREATE TABLE ships (id INTEGER PRIMARY KEY, name TEXT NOT NULL, built INTEGER);
CREATE TABLE crossings (id INTEGER PRIMARY KEY, ship_id INTEGER NOT NULL REFERENCES ships (id), left_at DATETIME);"""
BAD = {
    "no SQL in the answer": "I cannot help with that.",
    "does not build in SQLite": "```sql\nCREATE TABLE a (x INTEGER,,);\n```",
    "no foreign keys": "```sql\nCREATE TABLE a (x INT, y INT); CREATE TABLE b (z INT, w INT);\n```",
    "a foreign key leads nowhere": "```sql\nCREATE TABLE a (x INT, y INT REFERENCES gone (id)); "
    "CREATE TABLE b (z INT, w INT);\n```",
    "too few or too many tables": "```sql\nCREATE TABLE a (x INT PRIMARY KEY, y INT REFERENCES a (x));\n```",
    "near-duplicate": f"```sql\n{schemas.builtin('shop')}\n```",
}


def _answer(text: str, *, truncated: bool = False) -> Callable[[Ask], Reply]:
    return lambda ask: Reply(text, truncated=truncated)


def test_shipped_schemas_are_our_own() -> None:
    assert len(schemas.BUILTIN) == len(set(schemas.BUILTIN)) == 12
    everything = " ".join(schemas.BUILTIN) + "".join(map(schemas.builtin, schemas.BUILTIN))
    for name in (*_DEFOG, "bookshop", "workshop"):
        assert not re.search(rf"\b{name}\b", everything, re.I), name


def test_shipped_first_then_the_teachers_and_the_last_held_out(asking: Callable[..., Asking]) -> None:
    found, rejections = schemas.gather(
        SqlTrack(schemas=13, held_out_schemas=2), asking(_answer(f"Here:\n```sql\n{GOOD}\n```")), seed=3
    )
    assert [subject.name for subject in found[:12]] == schemas.BUILTIN
    assert found[12].base.ddl == GOOD + "\n"
    assert [subject.split for subject in found] == ["train"] * 11 + ["held_out"] * 2
    assert rejections == []


@pytest.mark.parametrize("reason", BAD)
def test_an_unsound_or_known_schema_is_rejected_with_its_reason(
    reason: str, asking: Callable[..., Asking]
) -> None:
    settings = SqlTrack(schemas=13, held_out_schemas=1)
    found, rejections = schemas.gather(settings, asking(_answer(BAD[reason])), seed=3)
    assert len(found) == 12
    assert {rejection.reason for rejection in rejections} == {reason}
    assert (
        rejections[0].record.response == BAD[reason].strip() or rejections[0].record.response == BAD[reason]
    )


def test_a_schema_that_was_cut_off_is_rejected(asking: Callable[..., Asking]) -> None:
    settings = SqlTrack(schemas=13, held_out_schemas=1)
    _, rejections = schemas.gather(settings, asking(_answer(f"```sql\n{GOOD}\n```", truncated=True)), seed=3)
    assert {rejection.reason for rejection in rejections} == {"cut off"}


def test_one_good_answer_is_not_taken_twice(asking: Callable[..., Asking]) -> None:
    settings = SqlTrack(schemas=4, builtin_schemas=False, held_out_schemas=1)
    with pytest.raises(Unprocessable, match="only 1 schemas were made"):
        schemas.gather(settings, asking(_answer(f"```sql\n{GOOD}\n```")), seed=3)


def test_a_silent_teacher_leaves_the_shipped_ones(asking: Callable[..., Asking]) -> None:
    found, rejections = schemas.gather(SqlTrack(schemas=14), asking(lambda _: Failure("timeout")), seed=3)
    assert len(found) == 12
    assert {(one.reason, one.detail) for one in rejections} == {("no answer", "timeout")}


def test_all_held_out_is_refused(asking: Callable[..., Asking]) -> None:
    with pytest.raises(Unprocessable, match="nothing would be left to train on"):
        schemas.gather(SqlTrack(schemas=1, held_out_schemas=1), asking(), seed=3)


def test_other_draws_are_asked_for_what_is_missing(asking: Callable[..., Asking]) -> None:
    asked = asking(lambda _: Failure("timeout"))
    schemas.gather(SqlTrack(schemas=14), asked, seed=3)
    keys = [ask.key for ask in asked.teacher.asked]
    assert len(keys) == len(set(keys)) == 6
    assert [ask.key for ask in schemas.preview(SqlTrack(schemas=14), seed=3)] == keys[:2]
