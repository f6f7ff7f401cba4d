"""The form of an answer (the record's `constraint`), and its language."""

from __future__ import annotations

import re

from pydantic import ValidationError

from distill.agents.checkers.base import FINE, Finding
from distill.agents.constraints import Constraint, broken
from distill.agents.language import NAMES, detect
from distill.records import Record

_ASKED_FOR = re.compile(
    r"\b(?:in|into|to) (?:English|Chinese|Mandarin|Japanese)\b"
    r"|翻[译譯]|用(?:英|日|中)[文语語]|(?:英|日本|中国)語(?:で|に|へ)|訳",
    re.IGNORECASE,
)
_CODE = frozenset({"code", "sql"})


def check_format(record: Record) -> Finding | None:
    """Applies to records whose facts hold a `constraint`."""
    text = record.facts.get("constraint")
    if text is None:
        return None
    try:
        constraint = Constraint.model_validate_json(text)
    except ValidationError as error:
        return Finding(False, "unreadable constraint", f"{text[:100]}: {error.errors()[0]['msg']}")
    if problem := broken(constraint, record.response):
        return Finding(False, f"format {constraint.kind}", problem)
    return FINE


def check_language(record: Record) -> Finding | None:
    """The answer is in the language of the instruction.

    Says nothing of code, of translations, and where the instruction names a language to answer in. A known
    target (facts `language`) is checked even there.
    """
    if record.kind != "chat" or record.category.split("_")[0] in _CODE:
        return None
    wanted = record.facts.get("language", "")
    if not wanted:
        if record.category == "translation" or _ASKED_FOR.search(record.instruction):
            return None
        wanted = record.language or detect(record.instruction)
    found = detect(record.response)
    if not wanted or not found:
        return None
    if found != wanted:
        return Finding(False, "wrong language", f"{NAMES[found]}, {NAMES.get(wanted, wanted)} wanted")
    return FINE
