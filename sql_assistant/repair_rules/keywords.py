"""Keywords that are misspelt, stuck to their neighbour, missing, or there twice."""

from __future__ import annotations

from collections.abc import Iterator

from sql_assistant.repair_rules.likeness import distance
from sql_assistant.repair_rules.statement import (
    KEYWORDS,
    SET_OPERATIONS,
    Broken,
    Fix,
    Token,
    delete,
    insert,
    insert_word,
    replace,
)

_MORE_KEYWORDS = KEYWORDS | {"ILIKE", "QUALIFY", "TOP", "ROWS", "ONLY", "FIRST", "NEXT", "KEY", "CONSTRAINT"}
_GLUED = (
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "JOIN",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "BETWEEN",
    "LIKE",
)
_GLUED_SHORT = ("AND", "OR", "ON", "BY", "AS", "IN", "SET", "INTO", "NOT")
_HEADS = frozenset({"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "MERGE"})
_JOIN_KINDS = frozenset({"LEFT", "RIGHT", "INNER", "OUTER", "CROSS", "FULL", "NATURAL"})
_DANGLING = frozenset(
    "AND OR WHERE ON HAVING NOT AS SELECT FROM JOIN DISTINCT BY SET LIMIT UNION ALL USING IN IS LIKE "
    "INNER LEFT ORDER GROUP".split()
)
_CONDITIONS = frozenset({"WHERE", "ON", "HAVING"})


def misspelt(broken: Broken) -> Iterator[Fix]:
    """SELCT, FORM, WHER: a word that is nearly a keyword, at the place where the parser fails or
    just before it (`t WHER x` fails at x, because WHER passes for an alias)."""
    for back, index in enumerate(range(broken.at, broken.at - 4, -1)):
        token = broken.token(index)
        if token is not None:
            yield from _respelt(broken, token, 0.25 * back)


def misspelt_elsewhere(broken: Broken) -> Iterator[Fix]:
    """DISTINT, INNR, NUL: a misspelt keyword that the parser took for a name, so that a name is
    unknown now, here or elsewhere."""
    for index, token in enumerate(broken.tokens):
        yield from _respelt(broken, token, 0.3 if index == broken.at else 1.0)


def _respelt(broken: Broken, token: Token, extra: float) -> Iterator[Fix]:
    if token.kind != "word" or token.upper in _MORE_KEYWORDS or len(token.text) < 2:
        return
    if token.text.lower() in broken.names:
        extra += 1.0
    bound = 1 if len(token.text) <= 4 else 2
    for word in sorted(_MORE_KEYWORDS):
        far = distance(token.upper, word, bound)
        if far <= bound and min(len(word), len(token.text)) > far:
            same_letters = 0.2 * (sorted(word) != sorted(token.upper))
            text = word.lower() if token.text.islower() else word
            yield Fix(
                0.3 + 0.3 * far + same_letters + extra,
                (replace(token, text),),
                f"{token.text} is a misspelt {word}",
            )


def glued(broken: Broken) -> Iterator[Fix]:
    """FROMusers, WHEREid, GROUPBY, usersWHERE: a blank is missing."""
    for token in broken.tokens:
        if token.kind != "word" or token.upper in _MORE_KEYWORDS or token.text.lower() in broken.names:
            continue
        for word in (*_GLUED, *_GLUED_SHORT):
            for at in (len(word), len(token.text) - len(word)):
                first, second = token.upper[:at], token.upper[at:]
                if not first or not second or word not in (first, second):
                    continue
                rest = second if word == first else first
                known = rest in KEYWORDS or rest.lower() in broken.names
                if known or (word in _GLUED and word == first and broken.schema is None):
                    yield Fix(
                        0.6,
                        (insert(token.start + at, " "),),
                        f"a blank is missing in {token.text}",
                    )


def missing_partner(broken: Broken) -> Iterator[Fix]:
    """GROUP city, INSERT users, LEFT orders: the second word of a pair is missing."""
    for index in (broken.at, broken.at + 1, broken.at - 1):
        before, here = broken.upper(index - 1), broken.upper(index)
        word = ""
        if before in ("GROUP", "ORDER", "PARTITION") and here != "BY":
            word = "BY"
        elif before == "INSERT" and here != "INTO":
            word = "INTO"
        elif before == "DELETE" and here != "FROM":
            word = "FROM"
        elif before in _JOIN_KINDS and here not in (*_JOIN_KINDS, "JOIN", "("):
            word = "JOIN"
        elif before == "IS" and here == "NOT" and broken.upper(index + 1) not in ("NULL", "DISTINCT"):
            index, word = index + 1, "NULL"
        if word:
            yield Fix(
                0.5, (insert_word(broken, index, broken.keyword(word)),), f"{word} was missing after {before}"
            )


def missing_head(broken: Broken) -> Iterator[Fix]:
    """`name FROM users`: SELECT is missing."""
    words = [token.upper for token in broken.tokens]
    if words and words[0] not in _HEADS and "FROM" in words:
        yield Fix(1.5, (insert_word(broken, 0, broken.keyword("SELECT")),), "SELECT was missing")


def missing_from(broken: Broken) -> Iterator[Fix]:
    """`SELECT name users WHERE`: FROM is missing before the name of a table."""
    for index, token in enumerate(broken.tokens):
        if index < 2 or not token.is_name or token.text.strip('"`[]').lower() not in broken.table_names:
            continue
        level = [broken.upper(i) for i in broken.level(index)]
        if "SELECT" in level and "FROM" not in level and broken.upper(index + 1) not in (".", "("):
            edits = [insert_word(broken, index, broken.keyword("FROM"))]
            if broken.upper(index - 1) == ",":
                edits.append(delete(broken, index - 1))
            yield Fix(0.9, tuple(edits), f"FROM was missing before {token.text}")


def missing_word(broken: Broken) -> Iterator[Fix]:
    """WHERE, ON, AND, SET, VALUES, THEN or END is missing where the parser fails or just before."""
    words = [token.upper for token in broken.tokens]
    for index in (broken.at, broken.at - 1, broken.at - 2, broken.at - 3):
        if not 0 < index <= len(broken.tokens):
            continue
        for word, cost in _candidates(broken, index, words):
            around = (broken.upper(index - 1), broken.upper(index))
            if any(near and distance(near, word, 2) <= 2 and near != word for near in around):
                continue  # It is there, misspelt.
            yield Fix(
                cost + 0.1 * (broken.at - index),
                (insert_word(broken, index, broken.keyword(word)),),
                f"{word} was missing",
            )


def _candidates(broken: Broken, index: int, words: list[str]) -> Iterator[tuple[str, float]]:
    clause = broken.clause(index)
    before = broken.upper(index - 1)
    here = broken.token(index)
    level = [words[i] for i in broken.level(min(index, len(words) - 1))]
    if before in KEYWORDS - {"END", "NULL", "TRUE", "FALSE", "ASC", "DESC", "ALL"} or before in (",", "("):
        starts = False
    else:
        starts = here is not None and here.upper not in KEYWORDS - {"NOT", "EXISTS", "CASE", "NULL"}
    if "CASE" in words and words.count("CASE") > words.count("END"):
        yield "END", 0.7
        if starts and words.count("WHEN") > words.count("THEN"):
            yield "THEN", 0.6
    if not starts:
        return
    if clause == "JOIN":
        yield "ON", 0.6
    if clause in ("FROM", "ON", "JOIN", "SET", "USING") and "WHERE" not in level:
        yield "WHERE", 1.0
    if clause in _CONDITIONS and before != "NOT":
        yield "AND", 1.0
    if words[0] == "UPDATE" and "SET" not in words:
        yield "SET", 0.6
    if words[0] in ("INSERT", "REPLACE") and not {"VALUES", "SELECT"} & set(words) and words[index] == "(":
        yield "VALUES", 0.6
    if clause == "SELECT" and here is not None and here.kind in ("word", "name") and before != ".":
        yield "AS", 2.0


def superfluous(broken: Broken) -> Iterator[Fix]:
    """SELECT SELECT, `AND ORDER BY`, `WHERE` with nothing behind it, DELETE * FROM: a word too many.

    Names and literals are never taken out: they are what the statement means.
    """
    for index in (broken.at, broken.at - 1, broken.at + 1):
        token = broken.token(index)
        if token is None:
            continue
        after = broken.token(index + 1)
        closes = after is None or after.text in (")", ";", ",") or after.upper in KEYWORDS
        if token.upper in KEYWORDS and token.upper in (broken.upper(index + 1), broken.upper(index - 1)):
            yield Fix(0.4, (delete(broken, index),), f"{token.upper} stood there twice")
        elif token.upper == "BY" and broken.upper(index - 1) in ("GROUP", "ORDER") and closes:
            yield Fix(
                1.4, (delete(broken, index - 1, index),), f"nothing followed {broken.upper(index - 1)} BY"
            )
        elif token.upper in _DANGLING and closes and broken.upper(index + 1) not in ("NOT", "EXISTS", "CASE"):
            before_from = 0.4 if token.upper == "AS" else 1.2
            if token.upper in SET_OPERATIONS or token.upper == "SELECT":
                before_from = 1.6
            yield Fix(before_from, (delete(broken, index),), f"nothing followed {token.upper}")
        elif token.text == "*" and broken.upper(index - 1) == "DELETE":
            yield Fix(0.4, (delete(broken, index),), "DELETE takes no column list")


def missing_star(broken: Broken) -> Iterator[Fix]:
    """`SELECT FROM users`: nothing is selected."""
    for index in (broken.at, broken.at + 1):
        if broken.upper(index) == "FROM" and broken.upper(index - 1) in ("SELECT", "DISTINCT"):
            yield Fix(1.0, (insert_word(broken, index, "*"),), "the select list was empty")
