"""What a training measures on the way: one JSON line a step in metrics.jsonl, and TensorBoard's event files.

    {"step": 12, "loss": 1.93, "divergence": ..., "learning_rate": ..., "tokens": 4081, ...}
    {"step": 12, "held_out": {"cross_entropy": 1.71, "kl": 0.42, "agreement": 0.68, "targets": 903}}

After a resume, lines of steps behind the checkpoint are dropped, so that no step stands in it twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill.training.job import HeldOut
from serve.files import write_atomic

FILE = "metrics.jsonl"


class MetricLog:
    """Appends; use it on the first rank only."""

    def __init__(self, folder: Path, done: int) -> None:
        """`done`: optimiser steps that the checkpoint has; 0 begins anew."""
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / FILE
        kept = [line for line in read(path) if line["step"] <= done] if done else []
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def step(self, step: int, figures: dict[str, float]) -> None:
        """After optimiser step `step` (from 1)."""
        self._write({"step": step, **figures})
        for name, value in figures.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def held_out(self, step: int, found: HeldOut) -> None:
        """A measurement after `step` steps."""
        figures = {
            "cross_entropy": found.cross_entropy,
            "kl": found.kl,
            "agreement": found.agreement,
            "targets": found.targets,
        }
        self._write({"step": step, "held_out": figures})
        for name in ("cross_entropy", "kl", "agreement"):
            value = figures[name]
            if value is not None:
                self._board.add_scalar(f"held_out/{name}", value, step)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._board.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line that a kill has torn is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
