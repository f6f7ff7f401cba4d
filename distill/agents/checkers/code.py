"""Python in an answer: parses, and, where that is allowed, runs and passes the record's tests.

The tests are Python source in the facts (`tests`), run behind the answer's code. Knows no other language.
"""

from __future__ import annotations

import ast
import re
import warnings

from distill.agents.checkers import sandbox
from distill.agents.checkers.base import FINE, Finding
from distill.records import Record

_BLOCK = re.compile(r"```[ \t]*([\w+-]*)[^\n`]*\n(.*?)```", re.DOTALL)
_PYTHON = frozenset({"python", "py", "python3"})
_NOT_THE_ANSWERS_FAULT = ("EOFError", "ModuleNotFoundError", "ImportError")
"""It asks for input, or for a package that is not installed here; with tests it does fail."""


def check_code(record: Record, *, run: bool = False) -> Finding | None:
    """None where the answer holds no Python, unless the record has tests."""
    tests = record.facts.get("tests", "")
    blocks = python_blocks(record)
    if not blocks:
        return Finding(False, "no code", "the record has tests") if tests else None
    for block in blocks:
        if problem := _syntax(block):
            return Finding(False, "code does not parse", problem)
    if not run:
        return FINE
    ran = sandbox.run("\n\n".join([*blocks, tests]))
    if ran.ok or (not tests and ran.error.startswith(_NOT_THE_ANSWERS_FAULT)):
        return FINE
    return Finding(False, "tests fail" if tests else "code fails", ran.error)


def python_blocks(record: Record) -> list[str]:
    """Fenced Python in the answer, and in category `code` unlabelled blocks that read like it."""
    if record.kind != "chat":
        return []
    found = []
    for label, source in _BLOCK.findall(record.response):
        unlabelled = not label and record.category == "code" and _reads_like_python(source)
        if (label.lower() in _PYTHON or unlabelled) and ">>>" not in source:
            found.append(source)
    return found


def _reads_like_python(source: str) -> bool:
    return bool(
        re.search(r"^(?:def |class |import |from \w+ import |for .+:$|if .+:$|print\()", source, re.MULTILINE)
    )


def _syntax(source: str) -> str:
    with warnings.catch_warnings():
        # Such as an invalid escape sequence in a string: no reason to reject.
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return str(error)
    return ""
