"""The commands `models` and `doctor`."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve.console import load_settings, print_json
from serve.errors import DistilsqlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from serve.catalog import ModelEntry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="A model's name in the catalog.", metavar="NAME")]
_MARKS = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}
_MODELS_HELP = """List, pull, check and remove models.

\b
Example:
  distilsql models list
  distilsql models pull qwen2.5-coder-0.5b
"""


def register(app: typer.Typer) -> None:
    """Add `models` and `doctor` to the root."""
    app.command()(doctor)
    models = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    models.command("list")(list_models)
    models.command()(pull)
    models.command()(verify)
    models.command()(rm)
    models.command()(path)
    models.command()(add)
    app.add_typer(models, name="models", help=_MODELS_HELP)


def doctor(
    as_json: AsJson = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every model file and check its hash.")
    ] = False,
    port: Annotated[int | None, typer.Option(help="Ask for this port instead of the set one.")] = None,
) -> None:
    """Say what this machine can run, and what stands in the way.

    Ends with 1 when something prevents running.

    \b
    Example:
      distilsql doctor
      distilsql doctor --verify --json
    """
    from serve.doctor import examine

    report = examine(load_settings(port=port), verify_hashes=verify)
    if as_json:
        print_json(report.as_json())
    else:
        for finding in report.findings:
            mark = typer.style(_MARKS[finding.status], fg=_COLOURS[finding.status])
            typer.echo(f"{mark}  {finding.name}: {finding.detail}")
            if finding.advice:
                typer.echo(f"         → {finding.advice}")
    if not report.ok:
        raise typer.Exit(1)


def list_models(as_json: AsJson = False) -> None:
    """List the catalog: what is installed, and which model is the default.

    \b
    Example:
      distilsql models list
      distilsql models list --json
    """
    from serve.catalog import Catalog
    from serve.hardware import default_model

    settings = load_settings()
    catalog = Catalog.load(settings)
    default = default_model(catalog, settings)[0].name
    rows = [
        {
            **entry.model_dump(mode="json", exclude={"sources", "prompt_format"}),
            "installed": catalog.installed(entry),
            "default": entry.name == default,
        }
        for entry in catalog.entries()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        size = f"{row['size_bytes'] / 1e9:.2f} GB" if row["size_bytes"] else ""
        state = "installed" if row["installed"] else ""
        marks = [state, "default" if row["default"] else "", "" if row["sha256"] else "unverified"]
        told = ", ".join(mark for mark in marks if mark)
        line = f"{row['name']:24}{row['quantization']:9}{size:>8}  {row['license']:14}{told:22}{row['note']}"
        typer.echo(line.rstrip())


def pull(
    name: Annotated[
        str | None, typer.Argument(help="A model's name; without one, the default model.", metavar="[NAME]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print progress and result as JSON lines.")] = False,
) -> None:
    """Fetch a model, check its hash and put it in place.

    Goes on where an earlier try ended. With --json the last line is the result.

    \b
    Example:
      distilsql models pull
      distilsql models pull qwen2.5-coder-0.5b --json
    """
    from serve.catalog import Catalog
    from serve.hardware import default_model
    from serve.progress import pull_as_json, pull_with_progress

    settings = load_settings()
    catalog = Catalog.load(settings)
    entry, why = default_model(catalog, settings) if name is None else (catalog.get(name), "")
    there = catalog.installed(entry)
    try:
        if as_json:
            pull_as_json(entry, settings, typer.echo)
            return
        console = _console()
        if name is None and not there:
            console.print(
                f"the model for this machine is {entry.name}: {why}", highlight=False, soft_wrap=True
            )
        _, where = pull_with_progress(entry, settings, console)
    except KeyboardInterrupt:
        typer.echo("what has arrived is kept: the same command goes on from there", err=True)
        raise
    typer.echo(f"{entry.name} {'is already' if there else 'is now'} at {where}")


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models to check; without any, all installed ones.", metavar="[NAME]..."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read model files and compare their hashes. Ends with 1 when one differs.

    \b
    Example:
      distilsql models verify
      distilsql models verify qwen2.5-coder-0.5b --json
    """
    from serve import pull
    from serve.catalog import Catalog

    catalog = Catalog.load(load_settings())
    wanted = [catalog.get(name) for name in names or []]
    for entry in wanted:
        _installed_path(entry)
    entries = wanted or [entry for entry in catalog.entries() if catalog.installed(entry)]
    rows = []
    for entry in entries:
        file = catalog.path(entry)
        good = pull.verify(file, entry.sha256 or "")
        rows.append({"name": entry.name, "path": str(file), "sha256": entry.sha256, "ok": good})
        if not as_json:
            advice = f": run `distilsql models rm {entry.name}` and pull it again"
            typer.echo(f"{entry.name}: {'the sha256 is right' if good else 'DAMAGED' + advice}")
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo("no model is installed; `distilsql models pull` fetches the one for this machine")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


def rm(name: Name, as_json: AsJson = False) -> None:
    """Remove a model's file, and what a broken-off pull has left of it.

    \b
    Example:
      distilsql models rm qwen2.5-coder-0.5b
    """
    from serve.catalog import Catalog
    from serve.local_models import remove

    settings = load_settings()
    freed = remove(Catalog.load(settings).get(name), settings)
    if as_json:
        print_json({"name": name, "freed_bytes": freed})
    else:
        typer.echo(f"{name} is removed; {freed / 1e9:.2f} GB are free again")


def path(name: Name, as_json: AsJson = False) -> None:
    """Print where a model's file lies. Ends with 1 when it is not installed.

    \b
    Example:
      distilsql models path qwen2.5-coder-0.5b
    """
    from serve.catalog import Catalog

    where = _installed_path(Catalog.load(load_settings()).get(name))
    if as_json:
        print_json({"name": name, "path": str(where)})
    else:
        typer.echo(where)


def add(
    file: Annotated[Path, typer.Argument(help="A GGUF file; it is copied.", metavar="FILE")],
    name: Annotated[str, typer.Option(help="What to call it: lower-case letters, digits, '.', '_', '-'.")],
    sha256: Annotated[str, typer.Option(help="The hash it must have, as `sha256sum FILE` prints it.")],
    parameters: Annotated[str, typer.Option(help="Its size, for the list.")] = "",
    quantization: Annotated[str, typer.Option(help="Its quantisation, for the list.")] = "",
    license: Annotated[str, typer.Option(help="Its licence, for the list.")] = "",
    context_length: Annotated[int, typer.Option(min=512, help="Tokens that it was trained for.")] = 32768,
    adapter_of: Annotated[
        str | None, typer.Option(help="The file is a LoRA adapter of this model and is loaded over it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Register a GGUF of your own: a Qwen2.5 or Qwen2.5-Coder model, distilled or fine-tuned.

    \b
    Example:
      distilsql models add student.gguf --name my-student --sha256 $(sha256sum student.gguf | cut -c1-64)
      distilsql models add lora.gguf --name my-lora --adapter-of qwen2.5-coder-0.5b --sha256 ...
    """
    from pydantic import ValidationError

    from serve import local_models
    from serve.catalog import ModelEntry

    settings = load_settings()
    try:
        entry = ModelEntry(
            name=name,
            family="qwen2.5",
            parameters=parameters,
            quantization=quantization,
            license=license,
            context_length=context_length,
            prompt_format="qwen2.5",
            sha256=sha256.lower(),
            note=f"added from {file.name}",
            base=adapter_of,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"--{first['loc'][0]}: {first['msg']}") from error
    with _copying(name, as_json) as on_bytes:
        total = file.stat().st_size if file.is_file() else 0
        where = local_models.add(file, entry, settings, lambda done: on_bytes(done, total))
    if as_json:
        print_json({"name": name, "path": str(where), "sha256": entry.sha256})
    else:
        typer.echo(f"{name} is now at {where}; use it with --model {name}")


@contextmanager
def _copying(name: str, as_json: bool) -> Iterator[Any]:
    from serve.progress import byte_bar

    if as_json:
        yield lambda done, total: None
    else:
        with byte_bar(name, _console()) as advance:
            yield advance


def _installed_path(entry: ModelEntry) -> Path:
    from serve.catalog import Catalog

    catalog = Catalog.load(load_settings())
    if not catalog.installed(entry):
        raise DistilsqlError(f"{entry.name} is not installed; run `distilsql models pull {entry.name}`")
    return catalog.path(entry)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)
