"""Small changes to a text that almost fits: a name that the other side of the cursor waits for.

What stands right of the cursor may sort by an output that is not called so yet, or begin in the
middle of the condition of a join that is not there yet. Knows no more than the text; whether a
variant is right is for validation to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sql_assistant import statements

_NAME = r"[^\W\d]\w*"
_ALIAS = re.compile(rf"(?i)\bAS\s+({_NAME})\b")
_FIRST_QUALIFIER = re.compile(rf"\s*({_NAME})\.{_NAME}")


def outputs_called(text: str, name: str, around: str, dialect: str) -> Iterator[str]:
    """`text` with an output called `name`: by renaming its last alias that nothing around uses, by
    giving an alias to what stands before its FROM, or at its end."""
    used = {word.lower() for word in re.findall(r"\w+", around)}
    for found in reversed(list(_ALIAS.finditer(text))):
        if found[1].lower() not in used:
            yield text[: found.start(1)] + name + text[found.end(1) :]
            break
    depth = 0
    for piece in statements.pieces(text, dialect):
        mark = text[piece.start : piece.end]
        depth += (mark == "(") - (mark == ")")
        if depth <= 0 and mark.upper() == "FROM":
            yield f"{text[: piece.start].rstrip()} AS {name} {text[piece.start :]}"
            return
    yield f"{text.rstrip()} AS {name}"


def joined_to(text: str, after: str) -> Iterator[str]:
    """`text` and the JOIN in whose condition the suffix begins: its first qualifier is the table."""
    first = _FIRST_QUALIFIER.match(after)
    if first is not None:
        yield f"{text.rstrip()} JOIN {first[1]} ON"
