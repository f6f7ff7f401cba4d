"""Capture, store and KD step, measured one after the other; the one JSON object that comes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from distill.bench import capture_speed, kd_step
from distill.students import resolve_model
from serve.settings import Settings


def run(teacher: str, student: str, settings: Settings, *, out: Path, fresh: bool) -> str:
    """Measure with these models; what is finished is kept in `out`. One line of JSON.

    NotFound where a model is not installed.
    """
    paths = resolve_model(teacher, settings), resolve_model(student, settings)
    out.mkdir(parents=True, exist_ok=True)
    say("capture against generation with whole logits to disk, in turns")
    captured = capture_speed.measure(paths[0], out, fresh=fresh, say=say)
    say("a KD step from hidden states against one with dense logits, in turns")
    stepped = kd_step.measure(paths[1], out, fresh=fresh, say=say)
    return json.dumps({**captured, **stepped})


def say(text: str) -> None:
    """Progress, for the person who waits."""
    sys.stderr.write(f"bench-distill: {text}\n")
    sys.stderr.flush()
