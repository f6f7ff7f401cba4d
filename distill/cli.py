"""`distilsql distill ...`: a recipe's stages, all together or one at a time, and what is known of a run."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill import annotate_cli
from serve.console import load_settings, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill.recipe import Recipe
    from distill.teachers.base import Ask

RecipeName = Annotated[
    str, typer.Argument(help="A YAML file, or the name of a shipped recipe.", metavar="RECIPE")
]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", help="The run folder [default: runs/NAME of the recipe].", metavar="FOLDER"),
]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_GROUP_HELP = """Distil a student from a teacher: one recipe, resumable stages.

\b
Example:
  distilsql distill plan smoke
  distilsql distill run smoke
  distilsql distill status runs/smoke
"""
_STAGES = {
    "seed": "Read the recipe's seed files.",
    "expand": "Ask the teacher for new instructions.",
    "rewrite": "Ask the teacher for paraphrases and for reasoning.",
    "answer": "Ask the teacher for answers.",
    "sql": "Make SQL training data, executed on synthetic rows.",
    "select": "Choose the records that are worth learning.",
    "verify": "Keep the records that are right.",
    "sft": "Train the student on the teacher's texts (stage 1).",
    "capture": "Store the teacher's log-probabilities of those texts.",
    "kd": "Train the student on the teacher's distributions (stage 2).",
    "evaluate": "Compare the student before and after on held-out data.",
}
_ASKING = ("expand", "rewrite", "answer", "sql", "select", "verify")


def register(app: typer.Typer) -> None:
    """Add `distill` to the root."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("run")(run)
    for name in _STAGES:
        group.command(name, help=_stage_help(name))(_stage_command(name))
    group.command()(status)
    group.command()(recipes)
    group.command()(settings)
    group.command()(plan)
    group.command()(sweep)
    group.command()(report)
    group.command("import")(import_records)
    group.command("export")(export_records)
    annotate_cli.register(group)
    group.command()(bench)
    app.add_typer(group, name="distill", help=_GROUP_HELP)


def run(
    recipe: RecipeName,
    folder: RunOption = None,
    until: Annotated[str | None, typer.Option(help="Stop behind this stage.", metavar="STAGE")] = None,
    as_json: AsJson = False,
) -> None:
    """Run all stages of a recipe.

    Stages that are done are skipped; one that was interrupted goes on where it was.

    \b
    Example:
      distilsql distill run smoke
      distilsql distill run my.yaml --run /data/runs/my --until verify
    """
    _run(recipe, folder, until=until, as_json=as_json)


def _stage_help(name: str) -> str:
    more = "\n\nWith --dry-run nothing is asked: what would be is printed." if name in _ASKING else ""
    return f"{_STAGES[name]}{more}\n\n\b\nExample:\n  distilsql distill {name} smoke --run runs/smoke\n"


def _stage_command(name: str) -> Callable[..., None]:
    def plain(recipe: RecipeName, folder: RunOption = None, as_json: AsJson = False) -> None:
        _run(recipe, folder, only=name, as_json=as_json)

    def asking(
        recipe: RecipeName,
        folder: RunOption = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked.")] = False,
        as_json: AsJson = False,
    ) -> None:
        if dry_run:
            _preview(recipe, folder, name, as_json)
        else:
            _run(recipe, folder, only=name, as_json=as_json)

    return asking if name in _ASKING else plain


def _run(
    name: str, folder: Path | None, *, only: str | None = None, until: str | None = None, as_json: bool
) -> None:
    from distill import pipeline

    recipe, base, folder = _recipe(name, folder)

    def say(text: str) -> None:
        typer.echo(text, err=True)

    # Libraries that write on standard output (DeepSpeed's log) would spoil what is printed there.
    with contextlib.redirect_stdout(sys.stderr):
        done = pipeline.run(recipe, base, folder, load_settings(), only=only, until=until, say=say)
    if as_json:
        print_json({stage: manifest.model_dump(mode="json") for stage, manifest in done.items()})
    else:
        typer.echo(f"{', '.join(done)}: done in {folder}")


def _preview(name: str, folder: Path | None, stage: str, as_json: bool) -> None:
    from distill import pipeline

    recipe, base, folder = _recipe(name, folder)
    asks = pipeline.preview(recipe, base, folder, load_settings(), stage)
    if as_json:
        print_json([_ask(one) for one in asks])
        return
    for number, one in enumerate(asks, 1):
        typer.echo(f"--- {number} of {len(asks)}: {one.purpose}")
        for message in one.messages:
            typer.echo(f"[{message.role}] {message.content}")
        if one.prefix is not None:
            typer.echo(f"{one.prefix}<here>{one.suffix}")
    typer.echo(f"{len(asks)} questions", err=True)


def _ask(ask: Ask) -> dict[str, Any]:
    return {
        "purpose": ask.purpose,
        "messages": [message.model_dump() for message in ask.messages],
        "prefix": ask.prefix,
        "suffix": ask.suffix,
        "max_tokens": ask.sampling.max_tokens,
        "temperature": ask.sampling.temperature,
    }


def status(run: RunArgument, as_json: AsJson = False) -> None:
    """Show how far each stage of a run is, also while it runs.

    \b
    Example:
      distilsql distill status runs/smoke
    """
    from distill import pipeline, runs

    found = pipeline.status(run, runs.stored_recipe(run))
    if as_json:
        print_json(
            [
                {"stage": one.stage, "state": one.state, "wall_s": one.wall_s, "told": one.told}
                for one in found
            ]
        )
        return
    for one in found:
        time = f"{one.wall_s:8.0f} s" if one.state == "done" else " " * 10
        typer.echo(f"{one.stage:9} {one.state:8} {time}  {one.told}".rstrip())


def recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes.

    \b
    Example:
      distilsql distill recipes
    """
    from distill import recipe

    found = [(name, recipe.load(name)[0].about) for name in recipe.shipped()]
    if as_json:
        print_json([{"name": name, "about": about} for name, about in found])
        return
    for name, about in found:
        typer.echo(f"{name:20} {about}")


def settings(as_json: AsJson = False) -> None:
    """List every setting of a recipe with its default and meaning.

    \b
    Example:
      distilsql distill settings
    """
    from distill import recipe

    found = recipe.described()
    if as_json:
        print_json(
            [{"setting": name, "default": default, "meaning": meaning} for name, default, meaning in found]
        )
        return
    for name, default, meaning in found:
        typer.echo(f"{name} [{default}]\n    {' '.join(meaning.split())}")


def plan(recipe: RecipeName, as_json: AsJson = False) -> None:
    """Estimate records, time, cost, memory and disk before anything runs.

    \b
    Example:
      distilsql distill plan distilqwen2.5-7b
    """
    from distill import plan as planning
    from distill import recipe as recipes

    loaded, base = recipes.load(recipe)
    found = planning.plan(loaded, base)
    if as_json:
        print_json(found.as_json())
        return
    typer.echo(f"{found.recipe} on {found.hardware}: about {_hours(found.hours)}, {found.cost_usd:,.2f} USD")
    typer.echo(f"{'stage':9}{'records':>10}{'read':>12}{'written':>12}{'learned':>14}{'time':>10}{'USD':>10}")
    for one in found.stages:
        typer.echo(
            f"{one.stage:9}{one.records:>10,}{_millions(one.prompt_tokens):>12}{_millions(one.completion_tokens):>12}"
            f"{_millions(one.learned_tokens):>14}{_hours(one.hours):>10}{one.cost_usd:>10,.2f}"
        )
    for name, need in found.memory_per_gpu_gb.items():
        typer.echo(f"memory, {name}: {need:.1f} of {found.memory_gb:.0f} GB a device")
    typer.echo(f"store: {found.store_gb:.2f} GB")
    for line in found.advice:
        typer.echo(f"→ {line}")
    for line in found.assumptions:
        typer.echo(f"assumed: {line}")


def sweep(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option(help="Where its runs, table and curve go.", metavar="FOLDER")] = Path(
        "runs/sweep"
    ),
    teachers: Annotated[
        str, typer.Option(help="Models to try as teacher, comma-separated [default: the recipe's].")
    ] = "",
    volumes: Annotated[
        str, typer.Option(help="Numbers of records to try, comma-separated.")
    ] = "1000,3000,10000",
    as_json: AsJson = False,
) -> None:
    """Measure what teacher size and data volume bring on your data, and plot the curve.

    \b
    Example:
      distilsql distill sweep my.yaml --teachers qwen2.5-coder-0.5b,qwen2.5-coder-1.5b --volumes 100,300
    """
    from distill import recipe as recipes
    from distill import sweep as sweeping

    loaded, base = recipes.load(recipe)
    names = [name.strip() for name in teachers.split(",") if name.strip()] or [loaded.teacher.model]
    try:
        sizes = [int(one) for one in volumes.split(",") if one.strip()]
    except ValueError:
        raise typer.BadParameter(f"--volumes: {volumes!r} is no list of whole numbers") from None
    with contextlib.redirect_stdout(sys.stderr):
        found = sweeping.sweep(
            loaded, base, out, load_settings(), names, sizes, say=lambda text: typer.echo(text, err=True)
        )
    if as_json:
        print_json(found)
    else:
        typer.echo(sweeping.table(found))
        typer.echo(f"curve: {out / 'curve.png'}")


def report(run: RunArgument) -> None:
    """Write the data report of a run: which records came through which agent, and why others did not.

    \b
    Example:
      distilsql distill report runs/smoke
    """
    from distill import data_report

    typer.echo(str(data_report.write(run)))


def import_records(
    file: Annotated[Path, typer.Argument(help="JSON lines, or one JSON array.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="JSON lines to write.", metavar="FILE")],
    form: Annotated[
        str, typer.Option("--format", help="alpaca, sharegpt, openai (messages) or records.")
    ] = "alpaca",
    category: Annotated[str, typer.Option(help="Task category of records that have none.")] = "",
) -> None:
    """Turn a file of instructions or conversations into records.

    Entries that cannot be read are written beside the result, with their number and the reason.

    \b
    Example:
      distilsql distill import alpaca.json --format alpaca --out seeds.jsonl
    """
    from distill import imports, record_files
    from serve.files import write_atomic

    records, bad = imports.read(file, form, category=category)
    count = record_files.write_jsonl(out, records)
    typer.echo(f"{count} records in {out}")
    if bad:
        aside = out.with_name(f"{out.name}.bad.txt")
        text = "\n".join(f"entry {one.number}: {one.reason}\n{one.text}\n" for one in bad)
        write_atomic(aside, text.encode())
        typer.echo(
            f"{len(bad)} entries left out, listed in {aside}; the first: entry {bad[0].number}: {bad[0].reason}"
        )


def export_records(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="JSON lines to write.", metavar="FILE")],
    stage: Annotated[str, typer.Option(help="The stage whose records are wanted.")] = "verify",
) -> None:
    """Write the records of a stage as JSON lines.

    \b
    Example:
      distilsql distill export runs/smoke --stage verify --out verified.jsonl
    """
    from distill import pipeline, record_files

    if stage not in pipeline.RECORD_STAGES:
        raise typer.BadParameter(f"--stage: one of {', '.join(pipeline.RECORD_STAGES)}")
    records = record_files.read_records(run / stage / pipeline.RECORDS)
    typer.echo(f"{record_files.write_jsonl(out, records)} records in {out}")


def bench(
    teacher: Annotated[str, typer.Option(help="Catalog name or GGUF of the teacher.")] = "qwen2.5-coder-1.5b",
    student: Annotated[str, typer.Option(help="Catalog name or GGUF of the student.")] = "qwen2.5-coder-0.5b",
    out: Annotated[
        Path, typer.Option(help="Where finished parts are kept, so that a run goes on where it ended.")
    ] = Path("artifacts/bench-distill"),
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run has kept.")] = False,
) -> None:
    """Measure capture, store and the KD step against the naive ways, in turns.

    The last line is one JSON object; what is going on is told on standard error.

    \b
    Example:
      distilsql distill bench
    """
    from distill.bench import run as benchmark

    with contextlib.redirect_stdout(sys.stderr):
        result = benchmark.run(teacher, student, load_settings(), out=out, fresh=fresh)
    typer.echo(result)


def _recipe(name: str, folder: Path | None) -> tuple[Recipe, Path, Path]:
    from distill import recipe

    loaded, base = recipe.load(name)
    return loaded, base, folder or Path("runs") / loaded.name


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"


def _millions(tokens: int) -> str:
    return f"{tokens / 1e6:.1f}M" if tokens >= 1e6 else f"{tokens:,}"
