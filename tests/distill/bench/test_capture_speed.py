"""The capture benchmark, on a model of a few thousand weights: what it counts, and that it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_qwen2

from distill.bench import capture_speed
from distill.examples import Example


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen2.make_model(folder)
    return folder


@pytest.fixture(autouse=True)
def _short_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_speed, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(capture_speed, "_READ_EXAMPLES", 200)


def test_it_measures_both_ways_on_the_same_tokens(teacher: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    found = capture_speed.measure(teacher, tmp_path, rounds=2, response_tokens=24, say=lines.append)
    rows = len(tiny_qwen2.tokenizer_json().get_vocab()) + 15
    assert 2 * rows < found["dense_bytes_per_token"] < 2 * rows + 10, "float16 of every row, padding included"
    assert 52 < found["store_bytes_per_token"] < 60
    assert found["store_reads_per_s"] >= 100_000
    assert found["store_reads_per_s"] == pytest.approx(100 * found["store_gets_per_s"], rel=0.01)
    ratio = found["capture_tokens_per_s"] / found["naive_tokens_per_s"]
    assert found["capture_speedup"] == pytest.approx(ratio, rel=0.8)
    assert len(lines) == 2 and "round 2 of 2" in lines[1]


def test_an_interrupted_run_goes_on_behind_its_finished_rounds(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    real = capture_speed._Sides.round

    def counted(
        sides: capture_speed._Sides, examples: Sequence[Example], *, ours_first: bool
    ) -> dict[str, float]:
        if len(measured) == 2:  # the warm-up and one round
            raise KeyboardInterrupt
        measured.append(examples[0].key)
        return real(sides, examples, ours_first=ours_first)

    with monkeypatch.context() as patch:
        patch.setattr(capture_speed._Sides, "round", counted)
        with pytest.raises(KeyboardInterrupt):
            capture_speed.measure(teacher, tmp_path, rounds=2, response_tokens=4)
    lines: list[str] = []
    capture_speed.measure(teacher, tmp_path, rounds=2, response_tokens=4, say=lines.append)
    assert [line.split(":")[0] for line in lines] == ["capture, round 2 of 2"]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "nothing is left behind"
    capture_speed.measure(teacher, tmp_path, rounds=2, response_tokens=4, say=lines.append)
    assert len(lines) == 1, "all rounds were kept"
