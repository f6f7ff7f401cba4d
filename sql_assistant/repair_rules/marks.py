"""Punctuation: commas, brackets, quotes, operators, and characters that word processors put in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sql_assistant.repair_rules.statement import (
    CLAUSES,
    KEYWORDS,
    Broken,
    Fix,
    Token,
    delete,
    insert,
    replace,
)
from sql_assistant.types import Edit

_BOUNDARY = frozenset(
    (*CLAUSES, "AND", "OR", "ON", "AS", "JOIN", "LEFT", "INNER", "UNION", "THEN", "ELSE", "END")
)
_CONTINUES = frozenset(
    "FROM WHERE GROUP HAVING ORDER LIMIT OFFSET JOIN LEFT INNER RIGHT FULL CROSS ON AND OR UNION INTERSECT "
    "EXCEPT SET VALUES USING AS ) ,".split()
)
_OPERATORS = {
    "= =": "=",
    "> =": ">=",
    "< =": "<=",
    "< >": "<>",
    "! =": "!=",
    "= >": ">=",
    "= <": "<=",
    "= !": "!=",
    "> <": "<>",
    "& &": "AND",
}
_LOOK_ALIKES = str.maketrans(
    {
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\u200b": " ",
        "\ufeff": " ",
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u201b": "'",
        "\u00b4": "'",
        "\u2032": "'",
        "\u2013": "-",
        "\u2014": "-",
        "\u2212": "-",
        "\uff0c": ",",
        "\uff08": "(",
        "\uff09": ")",
        "\uff1b": ";",
        "\uff1d": "=",
        "\uff0a": "*",
        "\u037e": ";",
    }
)
_CURLY = re.compile("[\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033]")
_BRACKETED = re.compile(r"(?<![\w\])])\[([^\W\d][\w ]*)\]")


def look_alikes(broken: Broken) -> Iterator[Fix]:
    """Curly quotes, no-break blanks, full-width brackets: what a word processor or a chat makes of SQL."""
    explanation = "typographic characters are no SQL"
    for quote, cost in (("'", 0.3), (broken.dialect.identifier_quotes[0][0], 0.5)):
        fixed = _outside_strings(broken, lambda part, q=quote: _CURLY.sub(q, part.translate(_LOOK_ALIKES)))
        if fixed:
            yield Fix(cost, fixed, explanation)
        if not _CURLY.search(broken.text):
            return


def foreign_quotes(broken: Broken) -> Iterator[Fix]:
    """`name` or [name] where the dialect quotes names otherwise."""
    opening, closing = broken.dialect.identifier_quotes[0]
    quotes = {pair[0] for pair in broken.dialect.identifier_quotes}
    for mark, pattern in (("`", re.compile(r"`([^`\n]+)`")), ("[", _BRACKETED)):
        if mark in quotes:
            continue

        def in_dialect(match: re.Match[str]) -> str:
            return f"{opening}{match[1]}{closing}"

        fixed = _outside_strings(broken, lambda part, p=pattern: p.sub(in_dialect, part))
        if fixed:
            yield Fix(
                0.4, fixed, f"{broken.dialect.label} quotes names as {opening}name{closing}, not with {mark}"
            )


def _outside_strings(broken: Broken, change: object) -> tuple[Edit, ...]:
    """`change` (text to text) made of every part that is neither string, comment nor quoted name."""
    from sql_assistant import statements

    assert callable(change)
    edits = []
    at = 0
    kept = [
        (piece.start, piece.end)
        for piece in statements.pieces(broken.text, broken.dialect.name)
        if piece.is_comment or (piece.kind in ("string", "name") and piece.closed)
    ]
    for start, end in [*kept, (len(broken.text), len(broken.text))]:
        part = broken.text[at:start]
        changed = change(part)
        if changed != part:
            edits.append(Edit(start=at, end=start, text=changed))
        at = end
    return tuple(edits)


def operators(broken: Broken) -> Iterator[Fix]:
    """`==`, `= >`, `> =`, `! =`, `&&`: operators that SQL spells otherwise."""
    for index in (broken.at - 2, broken.at - 1, broken.at):
        first, second = broken.token(index), broken.token(index + 1)
        if first is None or second is None:
            continue
        right = _OPERATORS.get(f"{first.text} {second.text}")
        if right is None or broken.text[first.end : second.start].strip(" "):
            continue
        wrong = broken.text[first.start : second.end]
        text = broken.keyword(right) if right == "AND" else right
        edit = Edit(start=first.start, end=second.end, text=text)
        yield Fix(0.3, (edit,), f"{broken.dialect.label} writes {right}, not {wrong}")


def commas(broken: Broken) -> Iterator[Fix]:
    """`SELECT a, FROM`, `(a,, b)`, `SET a = 1, WHERE`: a comma too many."""
    for index in (broken.at, broken.at - 1, broken.at + 1):
        token = broken.token(index)
        if token is not None and token.text == ",":
            after = broken.token(index + 1)
            before = broken.upper(index - 1)
            ends = after is None or after.text in (",", ")", ";") or after.upper in KEYWORDS
            if ends or before in KEYWORDS or before == "(":
                yield Fix(0.4, (delete(broken, index),), "a comma was too much")


def missing_commas(broken: Broken) -> Iterator[Fix]:
    """`SELECT a b c`, `(a b)`, `GROUP BY a b`: commas are missing between the items of a list."""
    for index in (broken.at, broken.at - 1, broken.at - 2):
        if not 0 < index < len(broken.tokens):
            continue
        if broken.clause(index) not in ("SELECT", "GROUP", "ORDER", "VALUES", "INTO", "SET", ""):
            continue
        gaps = _gaps(broken, index)
        if gaps:
            yield Fix(
                0.7 + 0.1 * (broken.at - index),
                tuple(insert(broken.tokens[gap - 1].end, ",") for gap in gaps),
                f"{'commas were' if len(gaps) > 1 else 'a comma was'} missing",
            )
        if len(gaps) > 1 and index in gaps:
            yield Fix(0.9, (insert(broken.tokens[index - 1].end, ","),), "a comma was missing")


def _gaps(broken: Broken, index: int) -> list[int]:
    """The places around `index` where two operands stand side by side; each the right one's index."""

    def is_gap(right: int) -> bool:
        one, other = broken.token(right - 1), broken.token(right)
        return (
            one is not None
            and other is not None
            and (one.is_name or one.kind in ("string", "number") or one.text == ")")
            and (other.is_name or other.kind in ("string", "number"))
        )

    gaps: list[int] = []
    if not is_gap(index):
        return gaps
    # Neighbouring gaps count as well where an item is a column rather than an alias.
    left, right = index, index
    while is_gap(left - 1) and _is_item(broken, left - 1):
        left -= 1
    while is_gap(right + 1) and _is_item(broken, right + 1):
        right += 1
    return list(range(left, right + 1))


def _is_item(broken: Broken, index: int) -> bool:
    token = broken.tokens[index]
    return token.kind in ("string", "number") or token.text.strip('"`[]').lower() in broken.names


def inner_semicolon(broken: Broken) -> Iterator[Fix]:
    """`FROM users; WHERE id = 1`: the statement goes on behind the semicolon."""
    for index, token in enumerate(broken.tokens[:-1]):
        if token.text == ";" and broken.upper(index + 1) in _CONTINUES:
            yield Fix(0.4, (delete(broken, index),), "a semicolon cut the statement in two")


# -- brackets and quotes that do not match --------------------------------------------------------


def unclosed_bracket(broken: Broken) -> Iterator[Fix]:
    """A `(` is never closed: close it before the next clause, at the end, or elsewhere."""
    opener = broken.token(broken.at)
    if opener is None or opener.text not in ("(", "["):
        return
    closing = ")" if opener.text == "(" else "]"
    cost = 0.8
    for index in range(broken.at + 2, len(broken.tokens)):
        token = broken.tokens[index]
        if token.depth > opener.depth + 1:
            continue
        end = broken.tokens[index - 1].end
        if token.upper in _BOUNDARY or token.text in (",", ";", ")"):
            yield Fix(cost, (insert(end, closing),), "a bracket was never closed")
            cost += 0.1
        elif token.kind != "symbol":
            yield Fix(cost + 0.6, (insert(end, closing),), "a bracket was never closed")
    if broken.at + 1 < len(broken.tokens):
        end = broken.tokens[-1].end
        yield Fix(cost, (insert(end, closing),), "a bracket was never closed")
    yield Fix(2.0, (delete(broken, broken.at),), "a bracket was never closed")


def unopened_bracket(broken: Broken) -> Iterator[Fix]:
    """A `)` closes nothing: take it out, or open it behind IN, VALUES or a function's name."""
    closer = broken.token(broken.at)
    if closer is None or closer.text not in (")", "]", "}"):
        return
    cost = 0.8
    for index in range(broken.at - 1, 0, -1):
        before = broken.upper(index - 1)
        if before in ("IN", "VALUES", "USING", "EXISTS", "AS") or before in _FUNCTIONS:
            gap = " " if before in KEYWORDS and broken.text[broken.tokens[index].start - 1] != " " else ""
            yield Fix(cost, (insert(broken.tokens[index].start, f"{gap}("),), "a bracket was never opened")
            cost += 0.2
    yield Fix(1.1, (delete(broken, broken.at),), f"a {closer.text!r} closed nothing")
    if closer.text != ")":
        yield Fix(1.0, (replace(closer, ")"),), f"{closer.text!r} stood for ')'")


_FUNCTIONS = frozenset("COUNT SUM AVG MIN MAX LOWER UPPER COALESCE ROUND LENGTH CAST".split())


def apostrophe(broken: Broken) -> Iterator[Fix]:
    """'O'Brien': an apostrophe inside a string has to be doubled."""
    for token, after in zip(broken.tokens, broken.tokens[1:], strict=False):
        if token.kind == "string" and token.closed and after.start == token.end and after.kind == "word":
            quote = token.text[-1]
            yield Fix(0.5, (insert(token.end, quote),), "an apostrophe inside a string is written twice")


def unclosed_quote(broken: Broken) -> Iterator[Fix]:
    """A string or quoted name that is never closed: close it, or open it where it should start."""
    tokens = broken.tokens
    last = tokens[-1] if tokens else None
    if last is None or last.closed:
        if broken.text.rstrip() and broken.issue.message.startswith("the comment"):
            yield Fix(1.0, (insert(len(broken.text.rstrip()), " */"),), "a comment was never closed")
        return
    quote = last.text[0] if last.kind == "string" else dict(broken.dialect.identifier_quotes)[last.text[0]]
    explanation = f"a {quote} was missing"
    before = broken.token(len(tokens) - 2)
    if len(last.text.rstrip("; \n")) <= 1 and before is not None and before.kind in ("word", "number"):
        yield Fix(0.7, (insert(before.start, quote),), explanation)
    for token in tokens[::-1]:
        if token.kind != last.kind or token.text[-1] not in (quote, last.text[-1]):
            if token.kind != last.kind:
                continue
        extra = 0.0 if token is last else 0.3
        for at, cost in _ends(token, name=last.kind == "name"):
            yield Fix(cost + extra, (insert(token.start + at, quote),), explanation)
    yield Fix(1.6, (Edit(start=last.start, end=last.start + 1, text=""),), f"a {quote} opened nothing")


_STRING_END = re.compile(
    r"\s*(?:[,);]|\b(?:AND|OR|ORDER\s+BY|GROUP\s+BY|LIMIT|FROM|WHERE|HAVING|THEN|ELSE|END|AS)\b|\n|$)",
    re.IGNORECASE,
)


def _ends(token: Token, *, name: bool) -> Iterator[tuple[int, float]]:
    """Offsets in an unclosed string (or one that ran into the next) where it may have ended."""
    if name:
        match = re.match(r".\w+", token.text)
        if match:
            yield match.end(), 0.6
    cost = 0.7
    for match in _STRING_END.finditer(token.text, 1):
        at = match.start()
        if at > 1 and (token.closed is False or at < len(token.text) - 1):
            yield at, cost
            cost += 0.1
