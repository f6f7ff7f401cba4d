"""`distilsql distill annotate ...`: records labelled by people, and how far they agree with the agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serve.console import print_json

_HELP = """Have people label a sample of a run's records.

\b
Example:
  distilsql distill annotate sample runs/smoke --out tasks.jsonl
  distilsql distill annotate page tasks.jsonl --annotator ann
"""
RunArgument = Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")]
TasksArgument = Annotated[Path, typer.Argument(help="A file that `sample` wrote.", metavar="TASKS")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(group: typer.Typer) -> None:
    """Add `annotate` to `distill`."""
    annotate = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    annotate.command()(sample)
    annotate.command()(page)
    annotate.command()(agreement)
    annotate.command()(apply)
    group.add_typer(annotate, name="annotate", help=_HELP)


def sample(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="JSON lines to write.", metavar="FILE")],
    count: Annotated[int, typer.Option(min=1, help="Records to label.")] = 100,
    stage: Annotated[
        str, typer.Option(help="The stage whose kept and rejected records are wanted.")
    ] = "verify",
) -> None:
    """Write a sample of what a stage kept and what it rejected, for people to label.

    \b
    Example:
      distilsql distill annotate sample runs/smoke --out tasks.jsonl --count 50
    """
    from distill import record_files, runs
    from distill.agents import annotation
    from distill.pipeline import RECORDS

    seed = runs.stored_recipe(run).seed
    kept = record_files.read_records(run / stage / RECORDS)
    rejected = record_files.read_rejections(run / stage / "rejected.jsonl")
    tasks = annotation.sample(kept, rejected, count, seed=seed)
    annotation.export_tasks(out, tasks)
    typer.echo(f"{len(tasks)} records in {out}")


def page(
    tasks: TasksArgument,
    annotator: Annotated[str, typer.Option(help="Who labels; each person has a file of their own.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 7861,
) -> None:
    """Serve a page to label on.

    \b
    Example:
      distilsql distill annotate page tasks.jsonl --annotator ann
    """
    from distill.agents.annotate_page import serve

    serve(tasks, annotator, host=host, port=port)


def agreement(
    tasks: TasksArgument,
    labels: Annotated[list[Path], typer.Argument(help="Files of labels.", metavar="LABELS...")],
    as_json: AsJson = False,
) -> None:
    """Tell how far people agree with each other and with the agents.

    \b
    Example:
      distilsql distill annotate agreement tasks.jsonl labels-ann.jsonl labels-bob.jsonl
    """
    from distill.agents import annotation

    found = annotation.agreement(
        annotation.read_tasks(tasks), [label for path in labels for label in annotation.read_labels(path)]
    )
    if as_json:
        print_json(found)
        return
    for one in found:
        kappa = "" if one["kappa"] is None else f", Cohen's kappa {one['kappa']:.2f}"
        agree = "nothing in common" if one["agree"] is None else f"agree on {one['agree']:.0%}{kappa}"
        typer.echo(f"{' and '.join(one['between'])}: {one['items']} records, {agree}")


def apply(
    run: RunArgument,
    labels: Annotated[list[Path], typer.Argument(help="Files of labels.", metavar="LABELS...")],
    out: Annotated[Path, typer.Option(help="JSON lines to write.", metavar="FILE")],
    stage: Annotated[str, typer.Option(help="The stage whose records are labelled.")] = "verify",
) -> None:
    """Write a stage's records without those that most annotators drop; a recipe can begin with the file.

    \b
    Example:
      distilsql distill annotate apply runs/smoke labels-ann.jsonl --out kept.jsonl
    """
    from distill import record_files
    from distill.agents import annotation
    from distill.pipeline import RECORDS

    records = record_files.read_records(run / stage / RECORDS)
    found = annotation.apply_labels(
        records, [label for path in labels for label in annotation.read_labels(path)]
    )
    record_files.write_jsonl(out, found.records)
    typer.echo(f"{len(found.records)} records in {out}, {len(found.rejections)} dropped by annotators")
