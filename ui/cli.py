"""`distilsql up`."""

from __future__ import annotations

from typing import Annotated

import typer

from serve.console import load_settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(up)


def up(
    host: Annotated[str | None, typer.Option(help="Address to bind [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port [default: 8000]; 0 picks a free one.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to serve [default: the one that suits this machine].")
    ] = None,
) -> None:
    """Start the server and its page.

    Fetches the model first where it is not installed yet.

    \b
    Example:
      distilsql up
      distilsql up --port 9000 --model qwen2.5-coder-0.5b
      DISTILSQL_API_KEYS=secret distilsql up --host 0.0.0.0
    """
    settings = load_settings(host=host, port=port, model=model)

    from rich.console import Console

    from serve.catalog import Catalog
    from serve.hardware import default_model
    from serve.progress import pull_with_progress

    catalog = Catalog.load(settings)
    entry, why = default_model(catalog, settings)
    console = Console(stderr=True)
    for needed in (catalog.base(entry), entry):
        if needed is not None and not catalog.installed(needed):
            pull_with_progress(needed, settings, console)
    console.print(f"starting with {entry.name}: {why}", highlight=False, soft_wrap=True)

    from serve.server import run
    from ui.app import create_app

    settings = settings.model_copy(update={"model": entry.name})
    raise typer.Exit(run(create_app(settings), settings, announce=typer.echo))
