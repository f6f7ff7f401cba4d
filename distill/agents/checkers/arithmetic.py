"""Finds equations of plain numbers in a text and recomputes them exactly: "12 × 3 = 36", "= 40 / 2 = 20".

On the side of finding too little: what has variables, functions or units between its numbers is left alone.
Knows no records.
"""

from __future__ import annotations

import ast
import re
from fractions import Fraction

_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_SIDE = rf"[-(\s]*(?:{_NUMBER})%?[\s)]*(?:[-+*/^]+[-(\s]*(?:{_NUMBER})%?[\s)]*)*"
_EQUATION = re.compile(rf"(?<![\w.,])({_SIDE}(?:(?:=|≈)[ \t]*{_SIDE})+)")
_LATEX = {
    r"\times": "*",
    r"\cdot": "*",
    r"\div": "/",
    r"\approx": "≈",
    "×": "*",
    "·": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
}
_LONGEST = 200
_HIGHEST_POWER = 64


def wrong_equation(text: str) -> str:
    """The first equation that is not true, as written; empty where there is none.

    A side with decimals counts as rounded to them; after ≈ whole numbers do too.
    """
    for line in _plain(text).splitlines():
        for match in _EQUATION.finditer(line):
            if _stands_alone(line, match) and (found := _wrong(match[1])):
                return found
    return ""


def _plain(text: str) -> str:
    for written, plain in _LATEX.items():
        text = text.replace(written, plain)
    text = re.sub(r"\\[()\[\]]|\\?\$|€|£|¥|\*\*(?=[\s\d])|(?<=\d)\*\*(?!\s*\d)", " ", text)
    return re.sub(r"(?<=\d)\s+[xX]\s+(?=\d)", " * ", text)


def _stands_alone(line: str, match: re.Match[str]) -> bool:
    """Nothing before or behind that makes it a part of something larger."""
    whole = match[1].rstrip()
    before, behind = line[: match.start()].rstrip(), line[match.start() + len(whole) :]
    if before.endswith(tuple("+-*/^({[√=<>\\_|")) or re.match(r"[\w(\[{^!°]", behind):
        return False
    if re.match(
        r"\s*(?:[*/^+=≈!<>(]|[-]\s*[\w(]|(?:remainder|rem|r|mod|余|余り|あまり)\b)", behind, re.IGNORECASE
    ):
        return False
    return len(whole) <= _LONGEST and whole.count("(") == whole.count(")")


def _wrong(equation: str) -> str:
    parts = re.split(r"(=|≈)", equation)
    sides, signs = parts[::2], parts[1::2]
    if not any(re.search(r"\d[\s)%]*[-+*/^]", side) for side in sides):
        return ""
    for left, sign, right in zip(sides, signs, sides[1:], strict=False):
        one, other = _value(left), _value(right)
        if one is None or other is None:
            return ""
        if abs(one - other) > _rounding(left, right, about=sign == "≈"):
            return f"{left.strip()} {sign} {right.strip()}"
    return ""


def _rounding(left: str, right: str, *, about: bool) -> Fraction:
    """How far apart the sides may be: a unit in the last decimal place that either shows."""
    places = [len(found) for side in (left, right) for found in re.findall(r"\.(\d+)", side)]
    if places:
        unit = Fraction(1, 10 ** min(places))
        return unit / 100 if re.search(r"%", left + right) else unit
    return Fraction(1) if about else Fraction(0)


def _value(side: str) -> Fraction | None:
    """None where it cannot be computed (a remainder sign, a division by zero, a high power)."""
    source = re.sub(r"(?<=\d),(?=\d{3})", "", side.strip()).replace("^", "**")
    source = re.sub(r"(\d+(?:\.\d+)?)%(?!\s*\d)", r"(\1/100)", source)
    source = re.sub(r"(?<![\d.])0+(?=\d)", "", source)
    try:
        return _computed(ast.parse(source, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None


def _computed(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as value):
            return Fraction(str(value))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_computed(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _combined(_computed(left), operator, _computed(right))
    raise ValueError("not plain arithmetic")


def _combined(left: Fraction, operator: ast.operator, right: Fraction) -> Fraction:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow() if right.denominator == 1 and 0 <= right <= _HIGHEST_POWER:
            return left ** int(right)
    raise ValueError("not plain arithmetic")
