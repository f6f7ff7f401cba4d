"""Could a text be the beginning of a valid statement?

SQLite says so itself: its parser tells "incomplete input" from an error in the middle. For the
other dialects the text is completed with what its last words ask for (a name, BY, a bracket, END)
and parsed; one completion that parses is the proof.
"""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant import dialects, parsing, sqlite_engine, statements
from sql_assistant.dialects import Dialect

# What may follow a word, tried before the general fillers.
_AFTER_WORD = {
    "LEFT": ("JOIN x",), "RIGHT": ("JOIN x",), "FULL": ("JOIN x",), "INNER": ("JOIN x",), "CROSS": ("JOIN x",),
    "OUTER": ("JOIN x", "APPLY x"), "NATURAL": ("JOIN x",), "ASOF": ("JOIN x",), "LATERAL": ("(SELECT 1) AS x",),
    "GROUP": ("BY x", "(ORDER BY x)"), "ORDER": ("BY x",), "PARTITION": ("BY x", "(x)"),
    "IS": ("NULL",), "NOT": ("x", "NULL", "IN (1)", "LIKE 'x'", "BETWEEN 1 AND 2", "EXISTS x", "MATCHED THEN DELETE"),
    "INSERT": ("INTO x VALUES (1)",), "INTO": ("x VALUES (1)", "x FROM x"), "DELETE": ("FROM x", ""),
    "UPDATE": ("x SET x = 1", "SET x = 1"), "SET": ("x = 1",), "MERGE": ("INTO x USING x ON x = x WHEN MATCHED THEN DELETE",),
    "CREATE": ("TABLE x (x INT)",), "TABLE": ("x (x INT)", "x"), "VIEW": ("x AS SELECT 1", "x"), "DROP": ("TABLE x",),
    "ALTER": ("TABLE x ADD COLUMN x INT",), "ADD": ("COLUMN x INT",), "INDEX": ("x ON x (x)",),
    "UNION": ("SELECT 1",), "ALL": ("SELECT 1", "(SELECT 1)"), "INTERSECT": ("SELECT 1",), "EXCEPT": ("SELECT 1", "(x)"),
    "WITH": ("x AS (SELECT 1) SELECT 1", "ORDINALITY", "TIES"), "RECURSIVE": ("x AS (SELECT 1) SELECT 1",),
    "AS": ("x", "(SELECT 1)", "INT", "SELECT 1"), "OVER": ("()", "x"), "IN": ("(1)",), "EXISTS": ("(SELECT 1)", "x"),
    "VALUES": ("(1)",), "DO": ("NOTHING", "UPDATE SET x = 1"), "NULLS": ("FIRST",), "FETCH": ("FIRST 1 ROWS ONLY",),
    "CONFLICT": ("DO NOTHING", "(x) DO NOTHING"), "ON": ("x = x", "CONFLICT DO NOTHING", "DUPLICATE KEY UPDATE x = 1"),
    "DUPLICATE": ("KEY UPDATE x = 1",), "KEY": ("UPDATE x = 1", "(x)"), "FIRST": ("1 ROWS ONLY", ""), "NEXT": ("1 ROWS ONLY",),
    "ROWS": ("UNBOUNDED PRECEDING", "ONLY", "BETWEEN CURRENT ROW AND CURRENT ROW"), "RANGE": ("UNBOUNDED PRECEDING",),
    "UNBOUNDED": ("PRECEDING", "FOLLOWING"), "CURRENT": ("ROW", "ROW AND CURRENT ROW"), "BETWEEN": ("1 AND 2", "CURRENT ROW AND CURRENT ROW"),
    "FILTER": ("(WHERE x)",), "WITHIN": ("GROUP (ORDER BY x)",), "INTERVAL": ("'1' DAY",), "AT": ("TIME ZONE 'x'",),
    "TIME": ("ZONE 'x'", ""), "GROUPING": ("SETS ((x))",), "SETS": ("((x))",), "ROLLUP": ("(x)",), "CUBE": ("(x)",),
    "USING": ("(x)", "x ON x = x WHEN MATCHED THEN DELETE", "x"), "WINDOW": ("x AS ()",), "FOR": ("UPDATE", "x IN (1)"),
    "MATCHED": ("THEN DELETE",), "CASE": ("WHEN x THEN x END",), "JOIN": ("x", "x ON x"), "DISTINCT": ("x", "ON (x) x", "FROM x"),
    "OFFSET": ("1", "1 ROWS"), "LIMIT": ("1",), "TOP": ("1 x", "(1) x"), "EXPLAIN": ("SELECT 1",), "TABLESAMPLE": ("(1)", "SYSTEM (1)"),
    "REPLACE": ("INTO x VALUES (1)", "VIEW x AS SELECT 1", "(x AS x)"), "OR": ("x", "REPLACE INTO x VALUES (1)", "REPLACE VIEW x AS SELECT 1"),
    "COLLATE": ("x",), "ESCAPE": ("'x'",), "QUALIFY": ("x",), "RETURNING": ("x",), "EXCLUDE": ("(x)",), "CROSS JOIN": ("x",),
    "SIMILAR": ("TO 'x'",), "UNNEST": ("(x)",), "IF": ("NOT EXISTS x (x INT)", "EXISTS x"), "REFERENCES": ("x (x)",), "PRIMARY": ("KEY", "KEY (x)"),
    "FOREIGN": ("KEY (x) REFERENCES x (x)",), "CONSTRAINT": ("x PRIMARY KEY (x)",), "APPLY": ("(SELECT 1) AS x",), "PIVOT": ("(SUM(x) FOR x IN (1))",),
}  # fmt: skip
_FILLERS = ("", "x", "1", "= 1", "AS (SELECT 1)", "AS INT", "FROM x", "SET x = 1", "VALUES (1)", "JOIN x", "(x)", "ON x = x", "x INT", "DO NOTHING", "AND 1", "ROW", "PRECEDING", "THEN DELETE", "USING x ON x = x WHEN MATCHED THEN DELETE", "FIRST", "1 DAY", "TO 'x'", "ZONE 'x'")  # fmt: skip
_KEYWORDS = (
    "ALL ALTER AND APPLY AS ASC BETWEEN BY CASE CAST COLLATE CONFLICT CREATE CROSS CURRENT DEFAULT DELETE DESC "
    "DISTINCT DO DROP DUPLICATE ELSE END ESCAPE EXCEPT EXCLUDE EXISTS EXPLAIN FALSE FETCH FILTER FIRST FOLLOWING FOR FROM "
    "FULL GLOB GROUP GROUPING HAVING IF ILIKE IN INDEX INNER INSERT INTERSECT INTERVAL INTO IS JOIN KEY LAST LATERAL "
    "LEFT LIKE LIMIT MATCHED MERGE NATURAL NOT NOTHING NULL NULLS OFFSET ON ONLY OR ORDER OUTER OVER PARTITION "
    "PRECEDING QUALIFY RANGE RECURSIVE REPLACE RETURNING RIGHT ROLLUP ROW ROWS SELECT SET TABLE THEN TIES TO TRUE "
    "UNBOUNDED UNION UPDATE USING VALUES VIEW WHEN WHERE WINDOW WITH WITHIN ZONE"
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
    last = None
    for last in statements.pieces(text, dialect.name):
        pass
    if last is None or last.closed:
        return text
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
        verdict = sqlite_engine.parses(text)
        if verdict is not None:
            return verdict is not sqlite_engine.Verdict.BROKEN
    plain = parsing.parse(text, dialect.name)
    if not plain.issues:
        return True
    if not plain.at_end:
        return False
    return any(not parsing.parse(whole, dialect.name).issues for whole in _wholes(text, words, dialect))


def _word(text: str, piece: statements.Piece) -> str:
    return text[piece.start : piece.end].upper() if piece.kind in ("word", "symbol") else piece.kind[0]


def _wholes(text: str, words: list[str], dialect: Dialect) -> Iterator[str]:
    """The text made whole in the ways its last word suggests."""
    special = _AFTER_WORD.get(words[-1], ())
    joint = "" if words[-1] == "." else " "
    for filler in dict.fromkeys((*special, *_FILLERS)):
        more = _closing([*words, *(_filler_words(filler))])
        for tail in _tails(words):
            yield f"{text}{joint if filler else ''}{filler}{more or ''}{tail}"


def _filler_words(filler: str) -> list[str]:
    return [w for w in filler.replace("(", " ( ").replace(")", " ) ").upper().split() if w]


def _tails(words: list[str]) -> Iterator[str]:
    """What a whole statement still wants behind its brackets: WITH a query, INSERT its rows."""
    yield ""
    depth = 0
    outer = []
    for word in words:
        depth += (word == "(") - (word == ")")
        if depth == 0 or (depth == 1 and word == "("):
            outer.append(word)
    if outer[0] == "WITH" and not {"SELECT", "INSERT", "UPDATE", "DELETE", "VALUES", "MERGE"} & set(outer):
        yield " SELECT 1"
        yield " AS (SELECT 1) SELECT 1"
    elif outer[0] in ("INSERT", "REPLACE") and not {"SELECT", "VALUES"} & set(outer):
        yield " VALUES (1)"
    elif outer[0] == "UPDATE" and "SET" not in outer:
        yield " SET x = 1"
    elif outer[0] == "MERGE":
        yield " USING x ON x = x WHEN MATCHED THEN DELETE"
        yield " ON x = x WHEN MATCHED THEN DELETE"
        yield " WHEN MATCHED THEN DELETE"
        yield " THEN DELETE"
    elif depth > 0 or outer[-1:] == ["("]:
        yield " AS x"
        yield " OVER ()"
        yield " IN (1)"
        yield " DO NOTHING"
        yield " AS SELECT 1"


def _closing(words: list[str]) -> str | None:
    """What closes the brackets and CASEs left open, innermost first; None where one closes nothing."""
    stack: list[str] = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for at, word in enumerate(words):
        if word in ("(", "[", "{") or (word == "CASE" and (at == 0 or words[at - 1] != ".")):
            stack.append(word)
        elif word in ("WHEN", "THEN", "ELSE") and stack and stack[-1] in ("CASE", "WHEN", "THEN", "ELSE"):
            stack[-1] = word
        elif word == "END" and stack and stack[-1] in ("CASE", "WHEN", "THEN", "ELSE"):
            stack.pop()
        elif word == "BETWEEN":
            stack.append(word)
        elif word == "AND" and stack and stack[-1] == "BETWEEN":
            stack.pop()
        elif word in pairs:
            while stack and stack[-1] == "BETWEEN":
                stack.pop()
            if not stack or stack.pop() != pairs[word]:
                return None
        if len(stack) > parsing.MAX_DEPTH:
            return None
    closers = {
        "(": ")", "[": "]", "{": "}", "CASE": " WHEN x THEN x END", "WHEN": " THEN x END",
        "THEN": " END", "ELSE": " END", "BETWEEN": " AND 1",
    }  # fmt: skip
    return "".join(closers[word] for word in reversed(stack))
