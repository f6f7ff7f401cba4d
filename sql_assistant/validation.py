"""Is a SQL text right for a schema: every statement of it checked alone, with exact offsets."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from sql_assistant import (
    dialects,
    names,
    normalize,
    parsing,
    resolver,
    sqlite_engine,
    sqlite_verdict,
    statements,
)
from sql_assistant.dialects import Dialect
from sql_assistant.prefixes import is_prefix
from sql_assistant.schema import Column, Schema, Table
from sql_assistant.sqlite_engine import Verdict
from sql_assistant.types import Issue

__all__ = ["is_prefix", "is_valid", "validate", "validate_statement"]


def validate(sql: str, schema: Schema | None, dialect: str) -> list[Issue]:
    """The issues of every statement of `sql`, in order; offsets are characters of `sql`.

    A broken statement hides nothing in the others. Tables that a statement creates exist for the
    ones behind it. Without a schema only syntax is checked. TooLarge when one statement is over
    `parsing.MAX_STATEMENT_CHARS`; Unprocessable for an unknown dialect.
    """
    issues: list[Issue] = []
    for span in statements.split(sql, dialect):
        if statements.code_span(sql, span, dialect) is None:
            continue
        text = sql[span[0] : span[1]]
        found, created = _check(text, schema, dialect)
        issues += [_shifted(issue, span[0]) for issue in found]
        if schema is not None and created is not None:
            schema = Schema((*schema.tables, created), schema.dialect)
    return issues


def validate_statement(sql: str, schema: Schema | None, dialect: str) -> list[Issue]:
    """The issues of one statement; a `;` behind it is fine, a second statement is an issue.

    Raises as `validate` does. Blank text is a syntax issue.
    """
    spans = [s for s in statements.split(sql, dialect) if statements.code_span(sql, s, dialect)]
    if len(spans) > 1:
        start, end = spans[1]
        return [parsing.syntax_issue("a second statement starts here", start, end)]
    span = spans[0] if spans else (0, len(sql))
    return [_shifted(issue, span[0]) for issue in _check(sql[span[0] : span[1]], schema, dialect)[0]]


def is_valid(issues: Iterable[Issue]) -> bool:
    """Whether no issue is an error."""
    return all(issue.severity != "error" for issue in issues)


def _check(text: str, schema: Schema | None, dialect: str) -> tuple[list[Issue], Table | None]:
    """The issues of one statement and the table it creates."""
    known = dialects.get(dialect)
    if known.name == "sqlite":
        parsing.check_length(text)
        return _check_sqlite(text, schema)
    return _check_parsed(parsing.parse(text, dialect), text, schema, known)


def _check_parsed(
    parsed: parsing.Parsed, text: str, schema: Schema | None, dialect: Dialect
) -> tuple[list[Issue], Table | None]:
    if parsed.tree is None or schema is None:
        return list(parsed.issues), None
    index = names.index(schema, dialect.name)
    try:
        issues = resolver.resolve(parsed.tree, text, index)
    except RecursionError:
        issues = [parsing.syntax_issue("queries are nested too deep to be checked", 0, len(text))]
    return issues, _created(parsed.tree, index)


def _check_sqlite(text: str, schema: Schema | None) -> tuple[list[Issue], Table | None]:
    """SQLite's own verdict first; where it is no plain yes, our walk says where and what.

    Its yes is final (sqlglot knows fewer of its habits). Its no to a name stands unless tables of
    the schema have columns that are not known; its no to a function is a warning, because the
    user's database may have it.
    """
    broken = parsing.bracket_issue(text, dialects.SQLITE)
    if broken is not None:
        return list(broken.issues), None
    code = statements.code_span(text, (0, len(text)), "sqlite")
    statement = normalize.normalize(text, dialects.SQLITE)[slice(*code)] if code else ""
    engine = sqlite_engine.engine(schema) if schema is not None else sqlite_engine.empty()
    answer = engine.check(statement) if schema is not None else sqlite_engine.grammar(statement)
    if answer.verdict is Verdict.RIGHT and not _worth_a_look(statement):
        return [], None
    parsed = parsing.parse(text, "sqlite")
    issues, created = _check_parsed(parsed, text, schema, dialects.SQLITE)
    return sqlite_verdict.reconcile(answer, engine, text, parsed, issues), created


def _worth_a_look(statement: str) -> bool:
    """A right statement with double quotes may deserve a warning; CREATE adds a table."""
    return '"' in statement or statement[:6].upper() == "CREATE"


def _created(tree: exp.Expr, index: names.NameIndex) -> Table | None:
    """The table or view that a CREATE statement makes, its columns as far as they are listed."""
    if not isinstance(tree, exp.Create) or str(tree.args.get("kind")).upper() not in ("TABLE", "VIEW"):
        return None
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table) or not isinstance(target.this, exp.Identifier):
        return None
    case = index.dialect.table_case
    name = names.true_name(target.this.name, bool(target.this.args.get("quoted")), case)
    listed = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    found: list[str] = [c.name for c in listed if isinstance(c, (exp.ColumnDef, exp.Identifier))]
    query = tree.args.get("expression")
    if not found and isinstance(query, exp.Query):
        columns = resolver.output_columns(query, index)
        found = list(columns.names) if columns.complete else []
    return Table(name, tuple(Column(column) for column in found), is_view=not found)


def _shifted(issue: Issue, by: int) -> Issue:
    if not by:
        return issue
    return issue.model_copy(update={"start": issue.start + by, "end": issue.end + by})
