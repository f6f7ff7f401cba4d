"""Rules on neighbouring tokens: what cannot stand side by side or in that order in any statement.

Each rule yields the faults it sees, in the order of the text. Knows no grammar beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot.tokenizer_core import Token, TokenType

from sql_assistant.dialects import Dialect


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the characters [start, end) make the statement wrong."""

    message: str
    start: int
    end: int


# sqlglot makes one token of "GROUP BY" and "ORDER BY"; a bare GROUP or ORDER lacks its BY.
_CLAUSES = frozenset(
    {
        "FROM",
        "WHERE",
        "GROUP",
        "GROUP BY",
        "HAVING",
        "ORDER",
        "ORDER BY",
        "LIMIT",
        "UNION",
        "INTERSECT",
        "EXCEPT",
    }
)
_NEED_OPERAND = frozenset(
    "WHERE HAVING ON AND OR NOT FROM JOIN LIKE ILIKE GLOB THEN ELSE WHEN USING OVER IN EXISTS IS BETWEEN "
    "INTO UNION INTERSECT EXCEPT LIMIT RETURNING SELECT DISTINCT AS SET VALUES CASE".split()
) | {"GROUP BY", "ORDER BY", "PARTITION BY"}
_BINARY = frozenset({"=", "<", ">", "<=", ">=", "<>", "!=", "+", "/", "||", "%", "=="})
_RESERVED = _CLAUSES | frozenset(
    "SELECT JOIN ON AND OR NOT AS BY CASE WHEN THEN ELSE IN IS DISTINCT BETWEEN LIKE SET INTO USING".split()
)
_NO_CALL = _BINARY | {"SELECT", "WHERE", "AND", "OR", ",", "(", "NOT", "DISTINCT"}
_NAME_FOLLOWS = frozenset({"FROM", "JOIN", "INTO", "UPDATE"})
_JOIN_WORDS = frozenset({"INNER", "CROSS", "NATURAL", "OUTER"})
_CLAUSE_ORDER = {"FROM": 1, "WHERE": 2, "GROUP BY": 3, "HAVING": 4, "ORDER BY": 6, "LIMIT": 7}
_RESETS = frozenset(
    {"SELECT", "UNION", "INTERSECT", "EXCEPT", "CONFLICT", "DUPLICATE", "DO", "RETURNING", "|>"}
)

END = "END OF TEXT"


def faults(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """The faults of a query or of a statement that changes rows."""
    for rule in (_pairs, _clause_order, _common_tables, _conditions):
        yield from rule(tokens, dialect)


def word_of(token: Token) -> str:
    """The token in capitals where it is a bare word or symbol, "" where it is quoted or a literal."""
    if token.token_type in (TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER):
        return ""
    return " ".join(token.text.upper().split())


def fault_at(token: Token, message: str) -> Fault:
    """A fault of one token."""
    return Fault(message, token.start, token.end + 1)


def _pairs(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """Neighbours that cannot stand side by side."""
    words = [word_of(token) for token in tokens]
    for at, token in enumerate(tokens):
        word = words[at]
        before = words[at - 1] if at else "("
        after = words[at + 1] if at + 1 < len(tokens) else END
        if before == ".":
            if word in _CLAUSES and token.start > tokens[at - 1].end + 1:
                yield fault_at(tokens[at - 1], "a name is missing after '.'")
            continue
        closes = after in (END, ")", ",", ";") or after in _CLAUSES
        if word == ",":
            yield from _comma(token, before, after, dialect)
        elif word == "." and (after in (END, ")", ",", ".") or after in _BINARY):
            yield fault_at(token, "a name is missing after '.'")
        elif word in _BINARY and closes and not (word == "%" and "LIMIT" in words):
            yield fault_at(token, f"a value is missing after {token.text!r}")
        elif word in _NEED_OPERAND and closes and not _may_stand_alone(words, at, dialect):
            yield fault_at(token, f"something is missing after {token.text.upper()}")
        elif word in ("GROUP", "ORDER") and after not in ("(", "SIBLINGS"):
            yield fault_at(token, f"BY is missing after {word}")
        elif word in _RESERVED and before in _NAME_FOLLOWS and not _name_allowed(words, at):
            yield fault_at(token, f"a table is missing before {token.text.upper()}")
        elif word in _JOIN_WORDS and (closes or after in ("ON", "USING")):
            yield fault_at(token, f"JOIN is missing after {word}")
        elif word == "*" and before == "(" and at >= 2 and words[at - 2] in _NO_CALL:
            yield fault_at(token, "'*' cannot stand in brackets of its own")
        elif word == "==" and not dialect.double_equals:
            yield fault_at(token, f"{dialect.label} compares with '=', not '=='")
        elif word == ")" and before == "(":
            yield from _empty_brackets(tokens, words, at, dialect)
    if words[0] == "INSERT" and not dialect.insert_without_into and "INTO" not in words[:4]:
        yield fault_at(tokens[0], "INTO is missing after INSERT")
    if words[0] == "DELETE" and not dialect.delete_without_from and "FROM" not in words:
        yield fault_at(tokens[0], "FROM is missing after DELETE")


def _comma(token: Token, before: str, after: str, dialect: Dialect) -> Iterator[Fault]:
    if (
        before in ("(", ",", "SELECT", "DISTINCT", "GROUP BY", "ORDER BY", "WHERE", "RETURNING")
        or after == ","
    ):
        yield fault_at(token, "something is missing before or after ','")
    elif after in (END, ")", ";", "ON") or after in _CLAUSES:
        if not dialect.trailing_comma:
            yield fault_at(token, "something is missing after ','")


def _may_stand_alone(words: Sequence[str], at: int, dialect: Dialect) -> bool:
    """Words that end something right where `_NEED_OPERAND` would miss an operand."""
    word = words[at]
    before = words[at - 1] if at else ""
    after = words[at + 1] if at + 1 < len(words) else END
    if word == "SELECT":
        return dialect.empty_select and after != ","
    if word in ("DISTINCT", "NOT"):
        return after == "FROM" and before in ("IS", "NOT") and word == "DISTINCT"
    if word in ("SET", "VALUES", "CASE", "USING", "LIMIT", "OVER", "IN", "IS"):
        # Names in some dialects where they stand as an operand: `t.values`, `AS limit`.
        return before in ("AS", "DEFAULT") or (word == "VALUES" and before in (",", "SELECT"))
    if word in ("UNION", "INTERSECT", "EXCEPT"):
        return after == "FROM" and dialect.from_first
    return word == "FROM" and before == "AS"


def _name_allowed(words: Sequence[str], at: int) -> bool:
    word, before = words[at], words[at - 1]
    if before == "FROM":
        # EXTRACT(x FROM CASE ...), IS DISTINCT FROM NOT x, SUBSTRING(x FROM CASE ...).
        return word in ("CASE", "NOT") or (word == "SELECT" and at >= 2 and words[at - 2] == "DISTINCT")
    if before == "UPDATE":
        return True  # ON CONFLICT DO UPDATE SET, FOR UPDATE ORDER ..., ON DUPLICATE KEY UPDATE
    return before == "INTO" and word not in _CLAUSES


def _empty_brackets(
    tokens: Sequence[Token], words: Sequence[str], at: int, dialect: Dialect
) -> Iterator[Fault]:
    before = words[at - 2] if at >= 2 else "("
    grouping = any(word.startswith(("GROUPING", "ROLLUP", "CUBE")) for word in words)
    after = words[at + 1] if at + 1 < len(words) else ""
    if before == "IN" and not dialect.empty_in_list:
        yield fault_at(tokens[at - 1], "the list after IN is empty")
    elif before == "USING" or (
        (before in _BINARY or before in ("SELECT", "WHERE", "AND", "OR", "ON", "HAVING", ",", "(", "NOT"))
        and not grouping
        and after != "->"
    ):
        yield fault_at(tokens[at - 1], "there is nothing between the brackets")


def _clause_order(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """WHERE after GROUP BY and the like; ranks are per bracket level, from its SELECT on."""
    levels: list[int] = [-1]
    for at, token in enumerate(tokens):
        word = word_of(token)
        before = word_of(tokens[at - 1]) if at else ""
        if word == "(":
            levels.append(-1)
        elif word == ")" and len(levels) > 1:
            levels.pop()
        elif before == ".":
            continue
        elif word in _RESETS:
            levels[-1] = 0 if word == "SELECT" else -1
        elif word in _CLAUSE_ORDER and levels[-1] >= 0:
            if word == "FROM" and (before == "DISTINCT" or dialect.from_first):
                continue
            rank = _CLAUSE_ORDER[word]
            if rank <= levels[-1]:
                yield fault_at(token, f"{word} cannot stand here: it comes earlier in a SELECT, and once")
            levels[-1] = rank


def _common_tables(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """WITH name [(columns)] AS (...): sqlglot does not insist on AS."""
    words = [word_of(token) for token in tokens]
    for at, word in enumerate(words):
        if word != "WITH" or (at and words[at - 1] not in ("(", "AS")):
            continue
        here = at + (2 if at + 1 < len(words) and words[at + 1] == "RECURSIVE" else 1)
        if here + 1 < len(words) and words[here + 1] == "(" and words[here] not in ("", "("):
            close = _matching(words, here + 1)
            if close + 1 < len(words) and words[close + 1] not in ("AS", "USING"):
                yield fault_at(tokens[here], f"AS is missing after WITH {tokens[here].text}")


def _matching(words: Sequence[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if not depth:
            return at
    return len(words)


def _conditions(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """JOIN without ON or USING, where the dialect insists on one."""
    if not dialect.join_needs_condition:
        return
    waiting = [0]
    for at, token in enumerate(tokens):
        word = word_of(token)
        before = {word_of(t) for t in tokens[max(0, at - 3) : at]}
        if word == "(":
            waiting.append(0)
        elif word == "JOIN" and not before & {"CROSS", "NATURAL", "POSITIONAL"}:
            waiting[-1] += 1
        elif word in ("ON", "USING"):
            waiting[-1] = max(0, waiting[-1] - 1)
        elif waiting[-1] and (
            word in (",", ")", "SET") or (word in _CLAUSES and word_of(tokens[at - 1]) != "DISTINCT")
        ):
            yield fault_at(tokens[at - 1], "the condition of a JOIN is missing (ON or USING)")
            waiting[-1] = 0
        if word == ")" and len(waiting) > 1:
            waiting.pop()
    if waiting[-1]:
        yield fault_at(tokens[-1], "the condition of a JOIN is missing (ON or USING)")
