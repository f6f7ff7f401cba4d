"""Answers that can be computed: the result agrees with the known one, and the equations on the way are true."""

from __future__ import annotations

import re

from distill.agents import invariants
from distill.agents.checkers.arithmetic import wrong_equation
from distill.agents.checkers.base import FINE, Finding
from distill.agents.constraints import CODE_BLOCK, words
from distill.records import Record

_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_RESULT = re.compile(r"=\s*\$?([-+]?[\d.,]*\d)[^=\n]*$", re.MULTILINE)
_SHORT_WORDS = 60


def check_maths(record: Record) -> Finding | None:
    """Applies to records with a known `answer`, and to all of the categories maths and logic."""
    if record.kind != "chat":
        return None
    known = record.facts.get("answer", "")
    if not known and record.category not in ("maths", "logic"):
        return None
    if known and not _agrees(record.response, known):
        return Finding(
            False,
            "wrong answer",
            f"{invariants.final_answer(record.response)[:80] or 'none'}, {known[:80]} wanted",
        )
    if found := wrong_equation(CODE_BLOCK.sub("", record.response)):
        return Finding(False, "wrong arithmetic", found[:200])
    return FINE


def _agrees(response: str, known: str) -> bool:
    """The marked result, else the last number, the last in bold, or what stands behind the last equals sign.

    A result in words has to stand in a short answer, or in the last lines of a long one.
    """
    if invariants.same_answer(invariants.final_answer(response), known):
        return True
    if invariants.is_marked(response):
        return False
    candidates = _BOLD.findall(response)[-1:] + _RESULT.findall(response)[-1:]
    if any(invariants.same_answer(one, known) for one in candidates):
        return True
    if invariants.number(known) is not None:
        return False
    end = response if len(words(response)) <= _SHORT_WORDS else "\n".join(response.strip().splitlines()[-2:])
    wanted = [word.casefold() for word in words(known)]
    found = [word.casefold() for word in words(end)]
    return any(found[at : at + len(wanted)] == wanted for at in range(len(found) - len(wanted) + 1))
