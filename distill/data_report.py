"""The data report of a run folder: its stages' records and rejections, as far as they are done."""

from __future__ import annotations

from pathlib import Path

from distill import record_files, runs
from distill.agents.report import StageData, write_report
from distill.pipeline import RECORD_STAGES, RECORDS
from serve.errors import NotFound

FOLDER = "report"


def write(run: Path) -> Path:
    """Write `report/report.html` and `.json` into the run folder; the HTML file.

    NotFound where it is no run folder or no record stage of it is done.
    """
    recipe = runs.stored_recipe(run)
    stages = [_stage(run, name) for name in RECORD_STAGES if runs.read_manifest(run, name) is not None]
    if not stages:
        raise NotFound(f"no stage of {run} has made records yet")
    return write_report(stages, run / FOLDER, title=f"{recipe.name}: data report")


def _stage(run: Path, name: str) -> StageData:
    manifest = runs.read_manifest(run, name)
    assert manifest is not None
    return StageData(
        name=name,
        records=record_files.read_records(run / name / RECORDS),
        rejections=record_files.read_rejections(run / name / "rejected.jsonl"),
        metrics=manifest.metrics,
        prompt_tokens=manifest.prompt_tokens,
        completion_tokens=manifest.completion_tokens,
        cost_usd=manifest.cost_usd,
    )
