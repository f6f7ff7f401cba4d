"""Could a text be the beginning of a valid statement?

SQLite says so itself: its parser tells "incomplete input" from an error in the middle. For the
other dialects the open brackets and CASEs are closed and the text is parsed: a first error behind
the text, or that something is missing at its end, means that it can go on. Where sqlglot blames the
last word itself, a few continuations of that word are tried.
"""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant import dialects, normalize, parsing, sqlite_engine, statements
from sql_assistant.dialects import Dialect
from sql_assistant.sqlite_engine import Verdict
from sql_assistant.types import Issue

# What may follow a word, tried before the general fillers.
_AFTER_WORD = {
    "LEFT": ("JOIN x",), "RIGHT": ("JOIN x",), "FULL": ("JOIN x",), "INNER": ("JOIN x",),
    "OUTER": ("JOIN x",), "CROSS": ("JOIN x", "APPLY x"), "NATURAL": ("JOIN x",), "ASOF": ("JOIN x",),
    "LATERAL": ("(SELECT 1) AS x",), "IS": ("NULL",),
    "NOT": ("NULL", "IN (1)", "LIKE 'x'", "BETWEEN 1", "EXISTS x"), "DO": ("NOTHING",),
    "INTO": ("x VALUES (1)",), "CREATE": ("TABLE x (x INT)",), "TABLE": ("x (x INT)",),
    "DROP": ("TABLE x",), "ALTER": ("TABLE x",), "ALL": ("SELECT 1", "(SELECT 1)"),
    "WITH": ("x AS (SELECT 1)", "TIES"), "AS": ("x", "(SELECT 1)", "INT", "SELECT 1"), "OVER": ("()",),
    "IN": ("(1)",), "EXISTS": ("(SELECT 1)",), "NULLS": ("FIRST",), "FETCH": ("FIRST 1 ROWS ONLY",),
    "CONFLICT": ("DO NOTHING",), "DUPLICATE": ("KEY UPDATE x = 1",), "KEY": ("UPDATE x = 1", "(x)"),
    "ON": ("CONFLICT DO NOTHING", "DUPLICATE KEY UPDATE x = 1", "x"),
    "ROWS": ("UNBOUNDED PRECEDING", "BETWEEN CURRENT ROW"), "RANGE": ("UNBOUNDED PRECEDING",),
    "UNBOUNDED": ("PRECEDING", "FOLLOWING"), "CURRENT": ("ROW",), "FILTER": ("(WHERE x)",),
    "WITHIN": ("GROUP (ORDER BY x)",), "INTERVAL": ("'1' DAY",), "AT": ("TIME ZONE 'x'",),
    "TIME": ("ZONE 'x'",), "GROUPING": ("SETS ((x))",), "WINDOW": ("x AS ()",),
    "FOR": ("UPDATE", "x IN (1)"), "SIMILAR": ("TO 'x'",), "(": ("x", "SELECT 1", "PARTITION BY x"),
    "FROM": ("x", "(SELECT 1)"), "EXCEPT": ("SELECT 1", "(x)"),
}  # fmt: skip
_FILLERS = (
    "x",
    "1",
    "= 1",
    "(x)",
    "AS x",
    "SET x = 1",
    "VALUES (1)",
    "JOIN x",
    "ON x",
    "INT",
    "FROM x",
    "BY x",
    "TO 1",
)
_KEYWORDS = (
    "ALL ALTER AND APPLY AS ASC BETWEEN BY CASE CAST COLLATE CONFLICT CREATE CROSS CURRENT DEFAULT DELETE "
    "DESC DISTINCT DO DROP DUPLICATE ELSE END ESCAPE EXCEPT EXCLUDE EXISTS EXPLAIN FALSE FETCH FILTER "
    "FIRST FOLLOWING FOR FROM FULL GLOB GROUP GROUPING HAVING IF ILIKE IN INDEX INNER INSERT INTERSECT "
    "INTERVAL INTO IS JOIN KEY LAST LATERAL LEFT LIKE LIMIT MATCHED MERGE NATURAL NOT NOTHING NULL NULLS "
    "OFFSET ON ONLY OR ORDER OUTER OVER PARTITION PRECEDING QUALIFY RANGE RECURSIVE REPLACE RETURNING "
    "RIGHT ROLLUP ROW ROWS SELECT SET TABLE THEN TIES TO TRUE UNBOUNDED UNION UPDATE USING VALUES VIEW "
    "WHEN WHERE WINDOW WITH WITHIN ZONE"
).split()  # fmt: skip


def is_prefix(sql: str, dialect: str) -> bool:
    """Whether `sql` could be the beginning of a valid statement (or is one already).

    A cut inside a word, a string or a comment counts as far as some continuation of it is right.
    TooLarge over `parsing.MAX_STATEMENT_CHARS`; Unprocessable for an unknown dialect.
    """
    known = dialects.get(dialect)
    spans = statements.split(sql, known.name)
    text = sql[slice(*spans[-1])]
    if len(spans) > 1 and statements.code_span(sql, spans[-1], known.name) is None:
        text = sql[slice(*spans[-2])]
    parsing.check_length(text)
    if "\0" in text:
        return False
    text = _closed(text, known)
    pieces = [p for p in statements.pieces(text, known.name) if not p.is_comment]
    if not pieces:
        return True
    if _can_go_on(text, pieces, known):
        return True
    last = pieces[-1]
    if last.end != len(text) or last.kind not in ("word", "symbol"):
        return False
    return any(
        _can_go_on(text[: last.start] + longer, [*pieces[:-1], _longer(last, longer)], known)
        for longer in _continuations(text[last.start : last.end])
    )


def _longer(piece: statements.Piece, text: str) -> statements.Piece:
    return statements.Piece(piece.kind, piece.start, piece.start + len(text))


def _closed(text: str, dialect: Dialect) -> str:
    """`text` with the string or name it ends in closed, and a comment it ends in dropped."""
    pieces = list(statements.pieces(text, dialect.name))
    if not pieces or pieces[-1].closed:
        return text
    last = pieces[-1]
    if last.is_comment:
        return text[: last.start]
    raw = text[last.start :]
    if raw.startswith("$"):
        return text + raw[: raw.index("$", 1) + 1]
    quote = next(c for c in raw if not c.isalpha())
    if dialect.triple_quotes and raw.lstrip("bBrR").startswith(quote * 3):
        return text + quote * 3
    return (
        text
        + ("\\" if raw.endswith("\\") and dialect.backslash_escapes else "")
        + {"[": "]"}.get(quote, quote)
    )


def _continuations(last: str) -> Iterator[str]:
    """Longer spellings of an unfinished last word or symbol."""
    if last[0].isalpha():
        yield f"{last}x"  # a longer name
        yield from (word for word in _KEYWORDS if word.startswith(last.upper()) and len(word) > len(last))
    else:
        yield from {"|": ("||",), "!": ("!=",), ":": ("::INT", ":x"), "@": ("@x",), "$": ("$1",)}.get(
            last, ()
        )


def _can_go_on(text: str, pieces: list[statements.Piece], dialect: Dialect) -> bool:
    words = [_word(text, piece) for piece in pieces]
    closing = _closing(words)
    if closing is None:
        return False
    if dialect.name == "sqlite":
        verdict = sqlite_engine.grammar(normalize.normalize(text, dialect)).verdict
        if verdict is not Verdict.NO_OPINION:
            return verdict is not Verdict.BROKEN
    fault = _fault_in(text, closing, dialect)
    if fault is None:
        return True
    if fault.end < pieces[-1].end:
        return False
    if "missing" in fault.message:
        return True
    return any(
        _fault_in(text, f" {filler}{_closing([*words, *_filler_words(filler)]) or ''}", dialect) is None
        for filler in dict.fromkeys((*_AFTER_WORD.get(words[-1], ()), *_FILLERS))
    )


def _fault_in(text: str, more: str, dialect: Dialect) -> Issue | None:
    """The first issue of text + more that lies in `text`: one in `more` only says that more is to come."""
    issues = parsing.parse(text + more, dialect.name).issues
    return issues[0] if issues and issues[0].start < len(text.rstrip()) else None


def _word(text: str, piece: statements.Piece) -> str:
    return text[piece.start : piece.end].upper() if piece.kind in ("word", "symbol") else piece.kind[0]


def _filler_words(filler: str) -> list[str]:
    return filler.replace("(", " ( ").replace(")", " ) ").upper().split()


_CLOSERS = {
    "(": ")", "[": "]", "{": "}", "CAST(": " AS INT)", "EXTRACT(": " FROM x)", "CASE": " WHEN x THEN x END",
    "WHEN": " THEN x END", "THEN": " END", "ELSE": " END", "BETWEEN": " AND 1",
}  # fmt: skip
_PAIRS = {")": "(", "]": "[", "}": "{"}
_CASES = ("CASE", "WHEN", "THEN", "ELSE")


def _closing(words: list[str]) -> str | None:
    """What closes the brackets and CASEs left open, innermost first; None where one closes nothing."""
    stack: list[str] = []
    for at, word in enumerate(words):
        top = stack[-1] if stack else ""
        before = words[at - 1] if at else ""
        if word == "(" and before in ("CAST", "TRY_CAST", "SAFE_CAST"):
            stack.append("CAST(")
        elif word == "(" and before == "EXTRACT":
            stack.append("EXTRACT(")
        elif word in ("(", "[", "{") or (word == "CASE" and before != ".") or word == "BETWEEN":
            stack.append(word)
        elif (word == "AS" and top == "CAST(") or (word == "FROM" and top == "EXTRACT("):
            stack[-1] = "("
        elif word in ("WHEN", "THEN", "ELSE", "END") and _pop_between(stack) in _CASES:
            stack.pop()
            if word != "END":
                stack.append(word)
        elif word == "AND" and top == "BETWEEN":
            stack.pop()
        elif word in _PAIRS and (not _pop_between(stack) or stack.pop()[-1] != _PAIRS[word]):
            return None
        if len(stack) > parsing.MAX_DEPTH:
            return None
    return "".join(_CLOSERS[word] for word in reversed(stack))


def _pop_between(stack: list[str]) -> str:
    """Forget a BETWEEN that got no AND (SQL Server's temporal BETWEEN ... END); the innermost opener."""
    while stack and stack[-1] == "BETWEEN":
        stack.pop()
    return stack[-1] if stack else ""
