"""What sqlglot's parser lets pass although no engine of the dialect takes it.

sqlglot is made to translate SQL that already ran, so it reads `SELECT a, FROM t`, `GROUP BY` with
nothing behind it or clauses in any order. Two kinds of checks: pairs of neighbouring tokens, and
a few facts about the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp
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
    "INTO UNION INTERSECT EXCEPT LIMIT SELECT DISTINCT AS SET VALUES CASE".split()
) | {"GROUP BY", "ORDER BY", "PARTITION BY"}
_BINARY = frozenset({"=", "<", ">", "<=", ">=", "<>", "!=", "+", "/", "||", "%", "=="})
_RESERVED = _CLAUSES | frozenset(
    "SELECT JOIN ON AND OR NOT AS BY CASE WHEN THEN ELSE IN IS DISTINCT BETWEEN LIKE SET INTO USING".split()
)
_NAME_FOLLOWS = frozenset({"FROM", "JOIN", "INTO", "UPDATE"})
_JOIN_WORDS = frozenset({"INNER", "CROSS", "NATURAL", "OUTER"})
_CLAUSE_ORDER = {"FROM": 1, "WHERE": 2, "GROUP BY": 3, "HAVING": 4, "ORDER BY": 6, "LIMIT": 7}
_RESETS = frozenset(
    {"SELECT", "UNION", "INTERSECT", "EXCEPT", "CONFLICT", "DUPLICATE", "DO", "RETURNING", "|>"}
)
_QUERY_HEADS = frozenset(
    {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES", "MERGE", "FROM", "("}
)
_COMMAND_HEADS = frozenset(
    "ALTER ANALYZE ATTACH BACKUP BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE "
    "DECLARE DESC DESCRIBE DETACH DISCARD DO DROP END EXEC EXECUTE EXPLAIN EXPORT FETCH FLUSH GET GO GRANT "
    "HANDLER IF IMPORT INSTALL KILL LIST LISTEN LOAD LOCK MOVE NOTIFY OPEN OPTIMIZE PIVOT PRAGMA PREPARE PRINT "
    "PUT RAISERROR REASSIGN REFRESH REINDEX RELEASE REMOVE RENAME REPAIR RESET RESTORE RETURN REVOKE ROLLBACK "
    "SAVE SAVEPOINT SECURITY SET SHOW START SUMMARIZE THROW TRUNCATE UNCACHE UNDROP UNLISTEN UNLOCK UNPIVOT "
    "UNSET USE VACUUM WAITFOR WHILE LOOP FOR RAISE ASSERT ADMIN DENY BULK TABLE DBCC SHUTDOWN "
    "XA BINLOG CHANGE PURGE STOP".split()
)


def first_fault(
    text: str, tokens: Sequence[Token], trees: Sequence[exp.Expr | None], dialect: Dialect
) -> Fault | None:
    """The first thing wrong with a statement that sqlglot has parsed; None where nothing is."""
    if not tokens:
        return None
    head = _word(tokens[0]) or tokens[0].text
    if head not in _QUERY_HEADS and head not in _COMMAND_HEADS:
        return _fault(tokens[0], f"a statement cannot start with {tokens[0].text!r}")
    if head == "FROM" and not dialect.from_first:
        return _fault(tokens[0], f"in {dialect.label} a statement cannot start with FROM")
    if head in _QUERY_HEADS:
        for check in (_pairs, _clause_order, _common_tables):
            fault = next(check(tokens, dialect), None)
            if fault is not None:
                return fault
    last = Token(TokenType.SEMICOLON, "", start=tokens[-1].start, end=tokens[-1].end)
    return next(
        (_fault(last, message) for tree in trees if tree is not None for message in _tree(tree)), None
    )


def _word(token: Token) -> str:
    """The token in capitals where it is a bare word or symbol, "" where it is quoted or a literal."""
    if token.token_type in (TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER):
        return ""
    return " ".join(token.text.upper().split())


def _fault(token: Token, message: str) -> Fault:
    return Fault(message, token.start, token.end + 1)


def _pairs(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """Neighbours that cannot stand side by side."""
    words = [_word(token) for token in tokens]
    for at, token in enumerate(tokens):
        word = words[at]
        before = words[at - 1] if at else "("
        after = words[at + 1] if at + 1 < len(tokens) else "END OF TEXT"
        if before == ".":
            if word in _CLAUSES and token.start > tokens[at - 1].end + 1:
                yield _fault(tokens[at - 1], "a name is missing after '.'")
            continue
        closes = after in ("END OF TEXT", ")", ",", ";") or after in _CLAUSES
        if word == ",":
            yield from _comma(token, before, after, dialect)
        elif word == "." and (after in ("END OF TEXT", ")", ",", ".") or after in _BINARY):
            yield _fault(token, "a name is missing after '.'")
        elif word in _BINARY and closes and not (word == "%" and "LIMIT" in words):
            yield _fault(token, f"a value is missing after {token.text!r}")
        elif word in _NEED_OPERAND and closes and not _may_stand_alone(words, at, dialect):
            yield _fault(token, f"something is missing after {token.text.upper()}")
        elif word in ("GROUP", "ORDER") and after not in ("(", "SIBLINGS"):
            yield _fault(token, f"BY is missing after {word}")
        elif word in _RESERVED and before in _NAME_FOLLOWS and not _name_allowed(words, at):
            yield _fault(token, f"a table is missing before {token.text.upper()}")
        elif word in _JOIN_WORDS and (closes or after in ("ON", "USING")):
            yield _fault(token, f"JOIN is missing after {word}")
        elif word == "==" and not dialect.double_equals:
            yield _fault(token, f"{dialect.label} compares with '=', not '=='")
        elif word == ")" and before == "(":
            yield from _empty_brackets(tokens, words, at, dialect)
    if words[0] == "INSERT" and not dialect.insert_without_into and "INTO" not in words[:4]:
        yield _fault(tokens[0], "INTO is missing after INSERT")
    if words[0] == "DELETE" and not dialect.delete_without_from and "FROM" not in words:
        yield _fault(tokens[0], "FROM is missing after DELETE")


def _comma(token: Token, before: str, after: str, dialect: Dialect) -> Iterator[Fault]:
    if before in ("(", ",", "SELECT", "DISTINCT", "GROUP BY", "ORDER BY", "WHERE") or after == ",":
        yield _fault(token, "something is missing before or after ','")
    elif after in ("END OF TEXT", ")", ";", "ON") or after in _CLAUSES:
        if not dialect.trailing_comma:
            yield _fault(token, "something is missing after ','")


def _may_stand_alone(words: Sequence[str], at: int, dialect: Dialect) -> bool:
    """Words that end something right where `_NEED_OPERAND` would miss an operand."""
    word = words[at]
    before = words[at - 1] if at else ""
    after = words[at + 1] if at + 1 < len(words) else "END OF TEXT"
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
        yield _fault(tokens[at - 1], "the list after IN is empty")
    elif before == "USING" or (
        (before in _BINARY or before in ("SELECT", "WHERE", "AND", "OR", "ON", "HAVING", ",", "(", "NOT"))
        and not grouping
        and after != "->"
    ):
        yield _fault(tokens[at - 1], "there is nothing between the brackets")


def _clause_order(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """WHERE after GROUP BY and the like; ranks are per bracket level, from its SELECT on."""
    levels: list[int] = [-1]
    for at, token in enumerate(tokens):
        word = _word(token)
        before = _word(tokens[at - 1]) if at else ""
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
                yield _fault(token, f"{word} cannot stand here: it comes earlier in a SELECT, and once")
            levels[-1] = rank


def _common_tables(tokens: Sequence[Token], dialect: Dialect) -> Iterator[Fault]:
    """WITH name [(columns)] AS (...): sqlglot does not insist on AS."""
    words = [_word(token) for token in tokens]
    for at, word in enumerate(words):
        if word != "WITH" or (at and words[at - 1] not in ("(", "AS")):
            continue
        here = at + (2 if at + 1 < len(words) and words[at + 1] == "RECURSIVE" else 1)
        if here + 1 < len(words) and words[here + 1] == "(" and words[here] not in ("", "("):
            close = _matching(words, here + 1)
            if close + 1 < len(words) and words[close + 1] not in ("AS", "USING"):
                yield _fault(tokens[here], f"AS is missing after WITH {tokens[here].text}")


def _matching(words: Sequence[str], opening: int) -> int:
    depth = 0
    for at in range(opening, len(words)):
        depth += {"(": 1, ")": -1}.get(words[at], 0)
        if not depth:
            return at
    return len(words)


def _tree(tree: exp.Expr) -> Iterator[str]:
    """Faults that show in the tree only."""
    if (
        isinstance(tree, exp.Create)
        and tree.args.get("kind") == "VIEW"
        and tree.args.get("expression") is None
    ):
        yield "the query of the view is missing"
    if isinstance(tree, exp.Drop) and not tree.args.get("kind"):
        yield "what to drop is missing"
    if isinstance(tree, exp.Update):
        if not tree.expressions:
            yield "SET has no assignment"
        if any(isinstance(e, exp.Column) for e in tree.expressions):
            yield "an assignment after SET has no value"
    for node in tree.find_all(exp.Alias, exp.TableAlias):
        name = node.args.get("alias") if isinstance(node, exp.Alias) else node.this
        if isinstance(name, exp.Expr) and not isinstance(name, exp.Identifier):
            yield "an alias has to be a name"
