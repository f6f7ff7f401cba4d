"""What a larger teacher and more data bring, measured on the user's own data: a run for each, and a curve.

Runs with the same teacher share the stages up to `sql`; every run lies under one folder and is resumable
like any other, so an interrupted sweep goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill import pipeline
from distill.recipe import STAGES, Recipe
from distill.runs import RunFolder, read_manifest
from serve.errors import Unprocessable
from serve.files import write_atomic
from serve.settings import Settings

_SHARED = STAGES[: STAGES.index("select")]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Point:
    teacher: str
    records: int
    recipe: Recipe
    folder: Path


def sweep(
    recipe: Recipe,
    base: Path,
    out: Path,
    settings: Settings,
    teachers: Sequence[str],
    volumes: Sequence[int],
    *,
    say: pipeline.Say,
) -> list[Row]:
    """Run `recipe` with each of `teachers` at each of `volumes` records; a row each, also in `out`/sweep.json,
    and `out`/curve.png. Unprocessable where the recipe does not select or evaluate."""
    for needed in ("select", "evaluate"):
        if needed not in recipe.stages:
            raise Unprocessable(f"a sweep needs the stage {needed}, which recipe {recipe.name} leaves out")
    if not volumes or min(volumes) < 1:
        raise Unprocessable("a sweep needs numbers of records, each 1 at least", param="volumes")
    rows: list[Row] = []
    for number, teacher in enumerate(teachers):
        points = [_point(recipe, out, number, teacher, volume) for volume in sorted(volumes)]
        shared = points[-1]
        for point in points:
            say(f"sweep: {teacher}, {point.records} records, in {point.folder}")
            if point is not shared:
                _share(shared, point, base, settings, say)
            done = pipeline.run(point.recipe, base, point.folder, settings, say=say)
            selected = done["select"].metrics
            learned = selected["records"] - selected.get("held_out", 0)
            rows.append({"teacher": teacher, "records": learned, **done["evaluate"].metrics})
            write_atomic(out / "sweep.json", json.dumps(rows, indent=2).encode())
            _plot(rows, out / "curve.png")
    return rows


def _point(recipe: Recipe, out: Path, number: int, teacher: str, volume: int) -> _Point:
    changed = recipe.model_copy(
        update={
            "teacher": recipe.teacher.model_copy(update={"model": teacher}),
            "select": recipe.select.model_copy(update={"budget": volume}),
        }
    )
    return _Point(teacher, volume, changed, out / f"{number + 1}-{Path(teacher).name}-{volume}")


def _share(shared: _Point, point: _Point, base: Path, settings: Settings, say: pipeline.Say) -> None:
    """Have the stages that do not depend on the volume in `point`, computed once in `shared`."""
    names = [name for name in _SHARED if name in shared.recipe.stages]
    if not names:
        return
    pipeline.run(shared.recipe, base, shared.folder, settings, until=names[-1], say=say)
    RunFolder(point.folder, point.recipe).close()
    for name in names:
        target = point.folder / name
        if read_manifest(point.folder, name) is None:
            shutil.rmtree(target, ignore_errors=True)
            aside = target.with_name(f".{name}.aside")
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(shared.folder / name, aside)
            aside.replace(target)


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    columns = [("teacher", "teacher"), ("records", "records"), *_measures(rows)]
    lines = ["  ".join(f"{title:>16}" for _, title in columns)]
    for row in rows:
        cells = [row.get(key) for key, _ in columns]
        lines.append("  ".join(f"{_shown(cell):>16}" for cell in cells))
    return "\n".join(lines)


def _measures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    known = [
        ("kl_after", "held-out KL"),
        ("cross_entropy_after", "cross-entropy"),
        ("pass_at_1_after", "Pass@1 %"),
    ]
    return [(key, title) for key, title in known if any(row.get(key) is not None for row in rows)]


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.4f}"
    return "" if cell is None else str(cell)[-16:]


def _plot(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures = _measures(rows)
    figure = Figure(figsize=(4.5 * max(1, len(measures)), 3.6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, (key, title) in enumerate(measures, 1):
        axes = figure.add_subplot(1, len(measures), place)
        for teacher in dict.fromkeys(row["teacher"] for row in rows):
            mine = [row for row in rows if row["teacher"] == teacher and row.get(key) is not None]
            axes.plot(
                [r["records"] for r in mine], [r[key] for r in mine], marker="o", label=Path(teacher).name
            )
        axes.set(xlabel="records", ylabel=title, xscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    aside = path.with_name(f".{path.name}")
    canvas.print_png(str(aside))
    aside.replace(path)
