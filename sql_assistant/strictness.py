"""What sqlglot's parser lets pass although no engine of the dialect takes it.

sqlglot is made to translate SQL that already ran, so it reads `SELECT a, FROM t`, `GROUP BY` with
nothing behind it or clauses in any order. Here: which statements there are, CREATE statements that
sqlglot gives up on, and facts of the tree; rules on tokens are in `token_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp
from sqlglot.tokenizer_core import Token

from sql_assistant import token_rules
from sql_assistant.ddl_words import CREATE_MODIFIERS, OTHER_OBJECTS
from sql_assistant.dialects import Dialect
from sql_assistant.token_rules import Fault, fault_at, word_of

_QUERY_HEADS = frozenset(
    {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "REPLACE", "VALUES", "MERGE", "FROM", "("}
)
_COMMAND_HEADS = frozenset(
    "ALTER ANALYZE ATTACH BACKUP BEGIN CALL CHECKPOINT CLOSE CLUSTER COMMENT COMMIT COPY CREATE DEALLOCATE "
    "DECLARE DESC DESCRIBE DETACH DISCARD DO DROP END EXEC EXECUTE EXPLAIN EXPORT FETCH FLUSH GET GO GRANT "
    "HANDLER IF IMPORT INSTALL KILL LIST LISTEN LOAD LOCK MOVE NOTIFY OPEN OPTIMIZE PIVOT PRAGMA PREPARE "
    "PRINT PUT RAISERROR REASSIGN REFRESH REINDEX RELEASE REMOVE RENAME REPAIR RESET RESTORE RETURN REVOKE "
    "ROLLBACK SAVE SAVEPOINT SECURITY SET SHOW START SUMMARIZE THROW TRUNCATE UNCACHE UNDROP UNLISTEN "
    "UNLOCK UNPIVOT UNSET USE VACUUM WAITFOR WHILE LOOP FOR RAISE ASSERT ADMIN DENY BULK TABLE DBCC "
    "SHUTDOWN "
    "XA BINLOG CHANGE PURGE STOP".split()
)


def first_fault(tokens: Sequence[Token], trees: Sequence[exp.Expr | None], dialect: Dialect) -> Fault | None:
    """The first thing wrong with a statement that sqlglot has parsed; None where nothing is."""
    if not tokens:
        return None
    head = word_of(tokens[0]) or tokens[0].text
    if head not in _QUERY_HEADS and head not in _COMMAND_HEADS:
        return fault_at(tokens[0], f"a statement cannot start with {tokens[0].text!r}")
    if head == "FROM" and not dialect.from_first:
        return fault_at(tokens[0], f"in {dialect.label} a statement cannot start with FROM")
    query = 0 if head in _QUERY_HEADS else len(tokens)
    if head == "CREATE":
        fault = _create_head(tokens)
        if fault is not None:
            return fault
        query = _query_start(tokens)
    fault = next(token_rules.faults(tokens[query:], dialect), None) if query < len(tokens) else None
    if fault is not None:
        return fault
    message = next((message for tree in trees if tree is not None for message in _tree(tree)), None)
    return fault_at(tokens[-1], message) if message is not None else None


def _create_head(tokens: Sequence[Token]) -> Fault | None:
    """CREATE [OR REPLACE] [words] object: sqlglot takes anything there for a statement of its own kind."""
    for at in range(1, len(tokens)):
        word = word_of(tokens[at])
        if word == "OR" and (at + 1 == len(tokens) or word_of(tokens[at + 1]) not in ("REPLACE", "ALTER")):
            return fault_at(tokens[at], "REPLACE is missing after OR")
        if word in ("TABLE", "VIEW", "VIRTUAL") or word in OTHER_OBJECTS:
            return fault_at(tokens[at], "a name is missing") if at + 1 == len(tokens) else None
        if word not in CREATE_MODIFIERS:
            return fault_at(tokens[at], f"CREATE what? {tokens[at].text!r} is no kind of object")
    return fault_at(tokens[-1], "what to create is missing")


def _query_start(tokens: Sequence[Token]) -> int:
    """Where the query of CREATE TABLE | VIEW ... AS starts; the end where there is none."""
    words = [word_of(token) for token in tokens]
    if not {"TABLE", "VIEW"} & set(words[:6]):
        return len(tokens)
    for at in range(2, len(words)):
        if words[at] in ("SELECT", "WITH") and words[at - 1] in ("AS", "("):
            return at
    return len(tokens)


def _tree(tree: exp.Expr) -> Iterator[str]:
    """Faults that show in the tree only."""
    if (
        isinstance(tree, exp.Create)
        and tree.args.get("kind") == "VIEW"
        and tree.args.get("expression") is None
    ):
        yield "the query of the view is missing"
    if isinstance(tree, exp.Insert) and isinstance(tree.this, exp.Subquery):
        yield "the table is missing after INSERT INTO"
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
        if isinstance(node.this, exp.Star):
            yield "'*' cannot have an alias"
