"""What must survive when a text is put in other words: its numbers, its quoted text, its code, its answer.

Deterministic, and on the side of finding too little: what it reports is really gone. Knows no teacher.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from distill.agents.constraints import CODE_BLOCK

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})+(?:\.\d+)?|(?<![A-Za-z_\d.])[-+]?\d+(?:\.\d+)?")
_QUOTED = re.compile(
    r"\"([^\"\n]{1,200})\"|“([^”\n]{1,200})”|「([^」\n]{1,200})」|(?<!\w)'([^'\n]{2,200})'(?!\w)"
)
_TICKED = re.compile(r"`([^`\n]+)`")
_IDENTIFIER = re.compile(r"\b(?:[A-Za-z]\w*_\w+|[a-z]+[A-Z]\w*|[A-Za-z_]\w*(?=\(\)))")
_COUNT_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_CJK_DIGITS = dict(zip("零一二三四五六七八九十两", [*range(11), 2], strict=True))
_MARKED = re.compile(
    r"(?:^|\n)\s*(?:\*\*)?(?:####|(?:the )?(?:final )?answer\s*(?:is)?\s*[:：]"
    r"|答案\s*(?:是|为)?\s*[:：]?|(?:最終的な)?答え\s*(?:は)?\s*[:：]?)"
    r"(?:\*\*)?\s*(.+)",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{([^{}]+)\}")
_DECORATION = re.compile(r"^[\s*_`$\"'“”「」]+|[\s*_`$\"'“”「」.。!！]+$")


def numbers(text: str) -> set[Decimal]:
    """The numbers in figures; 1,000 is 1000 and 2.50 is 2.5."""
    return {value.normalize() for found in _NUMBER.findall(text) if (value := number(found)) is not None}


def number(text: str) -> Decimal | None:
    """`text` as a number; thousands separators, a percent sign and a currency sign pass. None where it is none."""
    try:
        value = Decimal(re.sub(r"[,\s$€£¥%]", "", text))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def lost(before: str, after: str, *, quotes: bool = True) -> str:
    """The first number, quoted text or code name of `before` that `after` lacks; empty where all is there.

    Numbers up to twelve may have become words. `quotes=False` where the text changes its language.
    """
    if missing := _numbers_lost(before, after):
        return missing
    kept = _even(after)
    names = {match[1] for match in _TICKED.finditer(before)} | set(_IDENTIFIER.findall(before))
    names |= {line for block in CODE_BLOCK.findall(before) for line in block.splitlines()}
    if quotes:
        names |= {next(filter(None, match.groups())) for match in _QUOTED.finditer(before)}
    return min((name.strip() for name in names if _even(name) not in kept), default="")


def gained(before: str, after: str) -> str:
    """A number that `after` has and `before` has not, in figures; empty where there is none."""
    return str(min(numbers(after) - numbers(before) - _spelled(before), default=""))


def _numbers_lost(before: str, after: str) -> str:
    missing = numbers(before) - numbers(after) - _spelled(after)
    return str(min(missing)) if missing else ""


def _spelled(text: str) -> set[Decimal]:
    found = {
        Decimal(value) for value, word in enumerate(_COUNT_WORDS) if re.search(rf"\b{word}\b", text.lower())
    }
    return {
        value.normalize()
        for value in found | {Decimal(_CJK_DIGITS[sign]) for sign in text if sign in _CJK_DIGITS}
    }


def _even(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().casefold()


def final_answer(text: str) -> str:
    """What an answer comes to: \\boxed{...}, a line "Answer: ...", else the last code block, else the last number.

    Empty where there is none of them.
    """
    if boxed := _BOXED.findall(text):
        return _bare(boxed[-1])
    if marked := _MARKED.findall(text):
        return _bare(marked[-1])
    if blocks := CODE_BLOCK.findall(text):
        return str(blocks[-1]).strip()
    found = _NUMBER.findall(text)
    return found[-1] if found else ""


def is_marked(text: str) -> bool:
    """It says which its result is: \\boxed{...}, or a line "Answer: ..."."""
    return bool(_BOXED.search(text) or _MARKED.search(text))


def _bare(text: str) -> str:
    return _DECORATION.sub("", text.strip())


def same_answer(one: str, other: str) -> bool:
    """Equal as numbers (1,000 = 1000.0, to six digits), else as text without decoration and letter case.

    A number with words around it ("42 apples") equals the bare number where it is the only one.
    """
    left, right = _value(one), _value(other)
    if left is not None and right is not None:
        return abs(left - right) <= abs(right) * Decimal("1e-6")
    return _even(_bare(one)) == _even(_bare(other))


def _value(text: str) -> Decimal | None:
    bare = _bare(text)
    if (value := number(bare)) is not None:
        return value
    fraction = re.fullmatch(r"([-+]?\d+)\s*/\s*(\d+)", bare)
    if fraction and int(fraction[2]):
        return Decimal(fraction[1]) / Decimal(fraction[2])
    found = _NUMBER.findall(bare)
    return number(found[0]) if len(found) == 1 and len(bare) <= len(found[0]) + 24 else None
