"""The commands under `export`: from a trained student to a file that `distilsql up` serves.

Each target format is one command here and one module beside this one.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serve.console import load_settings, print_json
from serve.errors import InvalidRequest, Unprocessable

if TYPE_CHECKING:
    from distill.export.gguf import Exported
    from serve.settings import Settings

_HELP = """Make a file that can be served out of a trained student.

\b
Example:
  distilsql export gguf runs/smoke/kd/final --quant Q4_K_M --out my-student.gguf
"""


def register(app: typer.Typer) -> None:
    """Add `export` to the root."""
    export = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    export.command("gguf")(gguf)
    app.add_typer(export, name="export", help=_HELP)


def gguf(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A Hugging Face folder, or a PEFT adapter's.", metavar="CHECKPOINT|ADAPTER"),
    ],
    out: Annotated[Path, typer.Option(help="The file to make; one of that name is replaced.")],
    quant: Annotated[
        Literal["Q4_K_M", "Q4_0", "Q8_0", "F16"],
        typer.Option(help="How a whole model's weights are stored.", case_sensitive=False),
    ] = "Q4_K_M",
    base: Annotated[
        str,
        typer.Option(
            help="What an adapter is merged into or loaded over (a name, GGUF or folder); default: what it was "
            "trained over."
        ),
    ] = "",
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The adapter alone, to be loaded over its base at run time.")
    ] = False,
    name: Annotated[str, typer.Option(help="Register the file under this name, as `models add` does.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a GGUF of a trained student or of its adapter.

    An adapter is merged into its base, or with --adapter written alone.
    Tokenizer and next-token distributions are compared with the checkpoint before the file takes its name; a
    file that differs is not kept.

    \b
    Example:
      distilsql export gguf runs/smoke/kd/final --out my-student.gguf --name my-student
      distilsql export gguf runs/my-lora/kd/final --adapter --base qwen2.5-coder-0.5b --out my-lora.gguf
    """
    from distill.export.gguf import export_adapter, export_gguf
    from distill.students import adapter_base, resolve_model

    settings = load_settings()
    if name:
        _check_name(name, settings)
    source = resolve_model(str(checkpoint), settings)
    if source.is_file():
        raise Unprocessable(f"{source} is a GGUF already; export takes a checkpoint's or an adapter's folder")
    over = resolve_model(base, settings) if base else None
    if adapter:
        over = over or adapter_base(source, settings)
    base_name = _catalog_name(over, settings) if adapter and over else ""
    if name and adapter and not base_name:
        raise InvalidRequest(
            f"the adapter's base {over} is no model of the catalog, so the adapter cannot be registered; add the base "
            "first with `distilsql models add`",
            param="name",
        )

    def say(text: str) -> None:
        typer.echo(text, err=True)

    # Libraries that write on standard output would spoil what is printed there.
    with contextlib.redirect_stdout(sys.stderr):
        if adapter:
            made = export_adapter(source, out, base=over, say=say)
        else:
            made = export_gguf(source, out, quant, base=over, say=say)
    if name:
        _register(made, name, base_name, settings)
    command = _add_command(made, name or out.stem.lower(), base_name)
    if as_json:
        print_json(_as_json(made, name, base_name, command))
        return
    typer.echo(f"{made.path}: {made.quantization}, {made.size_bytes / 1e6:.1f} MB; {made.comparison}")
    typer.echo(f"sha256 {made.sha256}")
    if name:
        typer.echo(f"registered; serve it with\n  distilsql up --model {name}")
    else:
        typer.echo(f"register it with\n  {command}")


def _check_name(name: str, settings: Settings) -> None:
    """Before minutes of work, not after."""
    from serve.catalog import NAME_PATTERN, Catalog

    if not NAME_PATTERN.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} cannot be a name: lower-case letters, digits, '.', '_' and '-' only", param="name"
        )
    Catalog.load(settings).check_free(name)


def _catalog_name(base: Path, settings: Settings) -> str:
    """What the catalog calls this file, or one of the same content; empty where it does not know it."""
    from serve.catalog import Catalog
    from serve.pull import verify

    catalog = Catalog.load(settings)
    entries = [entry for entry in catalog.entries() if catalog.installed(entry) and base.is_file()]
    for entry in entries:
        if catalog.path(entry).resolve() == base.resolve():
            return entry.name
    same_size = [entry for entry in entries if entry.size_bytes == base.stat().st_size]
    return next((entry.name for entry in same_size if entry.sha256 and verify(base, entry.sha256)), "")


def _register(made: Exported, name: str, base: str, settings: Settings) -> None:
    from serve import local_models
    from serve.catalog import ModelEntry

    entry = ModelEntry(
        name=name,
        family="qwen2.5",
        parameters=made.parameters,
        quantization=made.quantization,
        license="",
        context_length=made.context_length,
        prompt_format="qwen2.5",
        sha256=made.sha256,
        note=f"exported to {made.path.name}",
        base=base or None,
    )
    local_models.add(made.path, entry, settings)


def _add_command(made: Exported, name: str, base: str) -> str:
    over = f" --adapter-of {base or 'BASE'}" if made.base else ""
    return (
        f"distilsql models add {made.path} --name {name}{over} --parameters {made.parameters} "
        f"--quantization {made.quantization} --context-length {made.context_length} --sha256 {made.sha256}"
    )


def _as_json(made: Exported, name: str, base: str, command: str) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "path": str(made.path),
        "sha256": made.sha256,
        "size_bytes": made.size_bytes,
        "quantization": made.quantization,
        "parameters": made.parameters,
        "base": base or (str(made.base) if made.base else None),
        "comparison": asdict(made.comparison),
        "registered": name or None,
        "models_add": command,
    }
