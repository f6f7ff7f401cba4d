"""`distilsql complete`, `validate` and `bench`: the assistant without a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.console import load_settings, print_json
from serve.errors import DistilsqlError

if TYPE_CHECKING:
    from serve.engines.base import Engine
    from serve.settings import Settings
    from sql_assistant.schema import Schema

CURSOR = "<|cursor|>"
Dialect = Annotated[str, typer.Option(help="SQL dialect: sqlite, postgres, mysql, duckdb, ...")]
Ddl = Annotated[
    Path | None,
    typer.Option(help="File of CREATE TABLE statements; without it, only syntax is known.", metavar="FILE"),
]
Model = Annotated[str | None, typer.Option(help="Catalog name [default: the one that suits this machine].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(complete)
    app.command()(validate)
    app.command()(bench)


def complete(
    ddl: Ddl = None,
    dialect: Dialect = "sqlite",
    model: Model = None,
    n: Annotated[int, typer.Option("-n", min=1, max=8, help="How many suggestions.")] = 1,
    max_tokens: Annotated[int, typer.Option(min=1, max=512, help="Longest suggestion, in tokens.")] = 64,
    as_json: AsJson = False,
) -> None:
    """Complete a statement read from standard input.

    The cursor is at the end of the text, or at a mark <|cursor|> in it. Prints the text to insert; ends
    with 1 where there is none.

    \b
    Example:
      echo "SELECT name FROM " | distilsql complete --ddl schema.sql
      echo "SELECT <|cursor|> FROM author" | distilsql complete --ddl schema.sql --dialect postgres --json
    """
    import asyncio

    from sql_assistant import completion
    from sql_assistant.types import CompleteRequest, CompleteResponse

    prefix, suffix = _at_cursor(_standard_input())
    schema = _schema(ddl, dialect)
    settings = load_settings(model=model)
    request = CompleteRequest(prefix=prefix, suffix=suffix, dialect=dialect, n=n, max_tokens=max_tokens)

    async def answer() -> CompleteResponse:
        engine = await asyncio.to_thread(_load, settings)
        try:
            return await completion.complete(request, schema, engine, settings=settings)
        finally:
            await engine.close()

    found = asyncio.run(answer())
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        for suggestion in found.suggestions:
            typer.echo(suggestion.text)
        if not found.suggestions:
            typer.echo(f"distilsql: {found.nothing_because}", err=True)
    if not found.suggestions:
        raise typer.Exit(1)


def validate(ddl: Ddl = None, dialect: Dialect = "sqlite", as_json: AsJson = False) -> None:
    """Check statements read from standard input against a schema.

    Nothing is executed. Ends with 1 where there is an error.

    \b
    Example:
      distilsql validate --ddl schema.sql --dialect postgres < query.sql
      echo "SELECT nme FROM author" | distilsql validate --ddl schema.sql --json
    """
    from sql_assistant import validation

    sql = _standard_input()
    issues = validation.validate(sql, _schema(ddl, dialect), dialect)
    valid = validation.is_valid(issues)
    if as_json:
        print_json({"valid": valid, "issues": [issue.model_dump(mode="json") for issue in issues]})
    else:
        for issue in issues:
            line = sql.count("\n", 0, issue.start) + 1
            column = issue.start - (sql.rfind("\n", 0, issue.start) + 1) + 1
            typer.echo(f"{line}:{column}: {issue.severity}: {issue.message}")
        if not issues:
            typer.echo("valid")
    if not valid:
        raise typer.Exit(1)


def bench(
    models: Annotated[
        str, typer.Option(help="Catalog names, comma-separated; those that are not installed are left out.")
    ] = "qwen2.5-coder-0.5b,qwen2.5-coder-1.5b",
    cases: Annotated[
        Path | None,
        typer.Option(help="Folder of development cases [default: ../shared/data/defog].", metavar="FOLDER"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Cases of each kind.")] = 40,
    out: Annotated[
        Path, typer.Option(help="Where finished parts are kept, so that a run goes on where it ended.")
    ] = Path("artifacts/bench"),
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run has kept.")] = False,
) -> None:
    """Measure latency and quality against a plain llama.cpp loop.

    The last line is one JSON object; what is going on is told on standard error.

    \b
    Example:
      distilsql bench
      distilsql bench --models qwen2.5-coder-0.5b --count 10 --fresh
    """
    from sql_assistant.benchmark import run

    settings = load_settings()
    names = [name.strip() for name in models.split(",") if name.strip()]
    result = run.run(settings, names, cases, count=count, folder_out=out, fresh=fresh)
    typer.echo(result)


def _standard_input() -> str:
    if sys.stdin.isatty():
        typer.echo("reading a statement from the terminal; Ctrl+D ends it", err=True)
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DistilsqlError(
            f"the text is not UTF-8 (byte {error.start}); convert it first, with iconv for example"
        ) from None


def _at_cursor(text: str) -> tuple[str, str]:
    before, mark, after = text.partition(CURSOR)
    if CURSOR in after:
        raise typer.BadParameter(f"the text holds {CURSOR} more than once")
    # Without a mark the newline that a shell puts at the end is not the user's.
    return (before, after) if mark else (text.removesuffix("\n"), "")


def _schema(path: Path | None, dialect: str) -> Schema | None:
    if path is None:
        return None
    from sql_assistant.ddl import parse_ddl

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"--ddl: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise typer.BadParameter(f"--ddl: {path} is not UTF-8") from None
    return parse_ddl(text, dialect)


def _load(settings: Settings) -> Engine:
    from serve import engines
    from serve.catalog import Catalog
    from serve.hardware import default_model

    catalog = Catalog.load(settings)
    entry, _ = default_model(catalog, settings)
    if not catalog.installed(entry):
        raise DistilsqlError(f"{entry.name} is not installed; run `distilsql models pull {entry.name}`")
    return engines.load(entry, catalog.path(entry), settings)
