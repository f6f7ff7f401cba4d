"""The KD benchmark with a tiny student: both sides run, the figures are kept, and a side that dies says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.bench import kd_step
from distill.bench.kd_step import measure
from serve.errors import Unavailable


def test_both_sides_are_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = measure(None, tmp_path, rounds=2, examples=4, tokens=256, say=said.append)
    assert len(said) == 2 and said[1].startswith("KD step, round 2 of 2: sparse ")
    # The dense side makes [4, 256, 4103] in float32 several times, ours no such thing.
    assert found["dense_peak_bytes"] > 2 * 4 * 256 * 4103 * 4
    assert 0 < found["kd_memory_ratio"] < 0.5
    assert found["kd_speed_ratio"] > 0
    assert not (tmp_path / "kd-teacher").exists()

    def no_process(*_: Any, **__: Any) -> None:
        raise AssertionError("finished rounds were measured again")

    monkeypatch.setattr(kd_step.subprocess, "Popen", no_process)
    assert measure(None, tmp_path, rounds=2, examples=4, tokens=256) == found


def test_a_side_that_dies_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    with pytest.raises(Unavailable, match=r"the dense side of the KD benchmark ended with 1: .*broken\.gguf"):
        measure(broken, tmp_path / "state", rounds=1)
