"""The loss curves of a training as a picture, out of its metrics.jsonl."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from distill.training import metrics
from serve.errors import NotFound
from serve.files import write_atomic

_PANELS = (
    ("loss", "loss per target token", "loss", None),
    ("cross_entropy", "cross-entropy (nats per token)", "cross_entropy", "cross_entropy"),
    ("kl", "KL to the teacher (nats per token)", "divergence", "kl"),
    ("agreement", "token agreement", "agreement", "agreement"),
)
"""Panel, its title, the training's figure and the held-out one."""


def draw(folder: Path, picture: Path, *, title: str = "") -> None:
    """Write a PNG of loss, cross-entropy, KL and agreement over the steps; held-out measurements as points.

    NotFound where the training in `folder` has no finished step.
    """
    lines = list(metrics.read(folder / metrics.FILE))
    steps = [line for line in lines if "loss" in line]
    if not steps:
        raise NotFound(f"{folder / metrics.FILE} has no finished step to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    held_out = [line for line in lines if "held_out" in line]
    panels = [panel for panel in _PANELS if panel[2] in steps[0]]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (_, name, learned, measured) in enumerate(panels, 1):
        axes: Any = figure.add_subplot(1, len(panels), place)
        axes.plot([line["step"] for line in steps], [line[learned] for line in steps], label="training", lw=1)
        points = [
            (line["step"], line["held_out"][measured])
            for line in held_out
            if measured and line["held_out"][measured] is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", label="held out")
            axes.legend(frameon=False)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("optimiser step")
        axes.grid(alpha=0.3)
    if title:
        figure.suptitle(title)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    write_atomic(picture, data.getvalue())
