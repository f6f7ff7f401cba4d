"""The data report: `report.html` to read, `report.json` to compute with; both from the stages' outcomes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from distill.agents.report_data import StageData, figures
from distill.agents.report_html import page
from serve.files import write_atomic

__all__ = ["StageData", "write_report"]


def write_report(stages: Sequence[StageData], folder: Path, *, title: str = "Data report") -> Path:
    """Write both files into `folder` (an older report is replaced); returns the HTML file.

    `stages` in the order they ran, the seeds first.
    """
    data = figures(stages, title=title)
    text = json.dumps(data, ensure_ascii=False, indent=2)
    write_atomic(folder / "report.json", text.encode("utf-8", "surrogatepass"))
    path = folder / "report.html"
    write_atomic(path, page(data).encode("utf-8", "replace"))
    return path
