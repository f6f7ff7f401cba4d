"""How an inserted text meets what stands on both sides of it: no doubled blank, none missing, no
word said twice. Pure string work, no grammar."""

from __future__ import annotations

from sql_assistant import statements
from sql_assistant.cursor import Place, is_word

_TIGHT_BEFORE = frozenset(",;).]:")
"""Marks that want no blank before them."""
_MIN_REPEATED_UNITS = 3


_MAY_STAND_TWICE = frozenset("END DATE TIME TIMESTAMP TEXT JSON UUID YEAR INTERVAL POINT".split())
"""Words that mean something twice in a row: two ends, or a column named as its type."""


def last_word(before: str, dialect: str) -> str:
    """The bare word that `before` ends in, upper case; "" where it ends in something else."""
    last = statements.last_piece(before.rstrip(), dialect)
    return before[last.start : last.end].upper() if last is not None and last.kind == "word" else ""


def first_word(after: str, dialect: str) -> str:
    """The bare word that `after` begins with, upper case; "" where it begins with something else."""
    first = next(statements.pieces(after, dialect), None)
    return after[first.start : first.end].upper() if first is not None and first.kind == "word" else ""


def apart(left: str, right: str) -> bool:
    """Whether a blank stands between two texts put together."""
    return left[-1:].isspace() or right[:1].isspace()


def repeats(last: str, first: str) -> bool:
    """Whether two words in a row, as the functions above give them, are one said twice."""
    return bool(last) and last == first and last not in _MAY_STAND_TWICE


def lead(before: str, text: str, place: Place) -> int:
    """How many characters at the beginning of `text` are blanks that `before` ends in already."""
    if not before or before[-1] == "\n":
        # Indentation on a fresh line is kept; further empty lines are not.
        return len(text) - len(text.lstrip("\n"))
    if before[-1].isspace():
        stripped = text.lstrip(" \t")
        return len(text) - len(stripped if place == "line_comment" else text.lstrip())
    return 0


def repeated_lead(before: str, text: str, dialect: str) -> int:
    """How many characters at the beginning of `text` say again what `before` ends in: its last word,
    or the whole statement from its beginning. 0 where nothing is repeated."""
    said = [before[p.start : p.end].upper() for p in statements.pieces(before, dialect) if not p.is_comment]
    pieces = [p for p in statements.pieces(text, dialect) if not p.is_comment]
    new = [text[p.start : p.end].upper() for p in pieces]
    if not said or not new:
        return 0
    for count in range(min(len(said), len(new)), 0, -1):
        if said[-count:] == new[:count] and (count >= _MIN_REPEATED_UNITS or new[0][0].isalpha()):
            end = pieces[count - 1].end
            return end + (len(text) - end - len(text[end:].lstrip()))
    return 0


def glue(before: str, text: str) -> str:
    """`text` with the blank in front that it needs behind `before`."""
    missing = before and text and is_word(before[-1]) and is_word(text[0])
    return f" {text}" if missing else text


def close(text: str, after: str, *, blank: bool, in_word: bool = False) -> str:
    """`text` with the right blank at its end for what follows.

    `blank`: the model had one there. `in_word`: the suffix goes on with the word that `text` ends in.
    """
    bare = text.rstrip()
    if not bare or not after or after[0].isspace() or in_word:
        return bare
    touching = is_word(bare[-1]) and is_word(after[0])
    wanted = blank and after[0] not in _TIGHT_BEFORE and bare[-1] not in "(.["
    keyword_after_mark = bare[-1] in ")'\"`]" and is_word(after[0])
    return f"{bare} " if touching or wanted or keyword_after_mark else bare
