"""The deterministic check of an answer in SQL, for verification: is it right for its schema, and does it do
what the known right statement does.
"""

from __future__ import annotations

import re

from distill.agents.checkers.base import Finding
from distill.records import Record
from distill.sqltrack import database
from distill.sqltrack.execution import Refused, same_rows
from serve.errors import DistilsqlError

_FENCED = re.compile(r"```(?:\w*\n)?(.*?)(?:```|\Z)", re.DOTALL)


def check_sql(record: Record) -> Finding | None:
    """None for a record without `facts["ddl"]` or an answer. Else whether the statement parses, resolves
    against that DDL, runs on synthetic rows (the same for the same DDL) and gives the rows of
    `facts["sql"]`, where that is given.
    """
    ddl = record.facts.get("ddl")
    if not ddl or not record.response:
        return None
    try:
        known = database.load(record.facts.get("schema", "given"), ddl, record.facts.get("dialect", "sqlite"))
    except DistilsqlError as error:
        return Finding(False, "unreadable DDL", error.message)
    sql = statement_of(record)
    if sql is None:
        return Finding(False, "no statement in the answer")
    result = known.judge(sql)
    if isinstance(result, Refused):
        invalid = result.reason.startswith("invalid")
        return Finding(False, "invalid statement" if invalid else "statement does not run", result.reason)
    gold = record.facts.get("sql")
    if not gold:
        return Finding(True)
    right = known.judge(gold)
    if isinstance(right, Refused):
        return Finding(False, "the known statement does not run", right.reason)
    return (
        Finding(True) if same_rows(right, result) else Finding(False, "other rows than the known statement")
    )


def statement_of(record: Record) -> str | None:
    """The whole statement that a record's answer gives: the block of a chat, the filled gap of a cut."""
    if record.kind == "chat":
        fenced = _FENCED.search(record.response)
        return (fenced[1] if fenced else record.response).strip() or None
    before = record.facts.get("statement_prefix", record.prompt)
    return before + record.completion + record.suffix
