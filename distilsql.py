"""The command line: one root whose commands are imported when they are called.

`COMMANDS` repeats each command's first line of help, so that `distilsql --help` imports none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

import typer
import typer.core
from typer.main import get_group

from serve.errors import DistilsqlError

COMMANDS = {
    "up": ("ui.cli", "Start the server and its page."),
    "complete": ("sql_assistant.cli", "Complete a statement read from standard input."),
    "validate": ("sql_assistant.cli", "Check statements read from standard input against a schema."),
    "models": ("serve.cli", "List, pull, check and remove models."),
    "doctor": ("serve.cli", "Say what this machine can run, and what stands in the way."),
    "distill": ("distill.cli", "Distil a student from a teacher: one recipe, resumable stages."),
    "export": ("distill.export.cli", "Make a file that can be served out of a trained student."),
    "bench": ("sql_assistant.cli", "Measure latency and quality against a plain llama.cpp loop."),
}
"""Command → the module whose `register(app)` adds it, and its first line of help."""

INTERRUPTED = 130


def _load(module: str) -> typer.core.TyperGroup:
    part = typer.Typer(rich_markup_mode=None, callback=lambda: None)
    importlib.import_module(module).register(part)
    return get_group(part)


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except DistilsqlError as error:
        typer.echo(f"distilsql: {error.message}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo("distilsql: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from error


class _Root(typer.core.TyperGroup):
    """Knows the commands' names and first lines; imports the one that is called."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> typer.core.TyperCommand | None:  # type: ignore[override]
        """A stand-in that is only good for being listed; `resolve_command` gives the real one."""
        if cmd_name not in COMMANDS:
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: typer.Context, args: list[str]):  # type: ignore[no-untyped-def, override]
        name, command, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            command = _load(COMMANDS[name][0]).get_command(ctx, name)
        return name, command, rest

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        with _errors_in_one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Root,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"distilsql {version('distilsql')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
    ),
) -> None:
    """SQL autocomplete on small language models that run on your own machine.

    \b
    Example:
      distilsql up
      distilsql COMMAND --help
    """


def main() -> None:
    """Entry point of the `distilsql` script: 0 success, 1 failure, 2 wrong usage, 130 interrupted."""
    app(prog_name="distilsql")


if __name__ == "__main__":
    main()
