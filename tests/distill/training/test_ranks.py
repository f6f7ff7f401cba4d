"""Two ranks on the CPU (gloo) under DeepSpeed give what one process gives."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import ranks_worker
import tiny_students as tiny
import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.examples import Example
from distill.recipe import Distillation, Student
from distill.teachers.base import TopK
from distill.training import TrainingJob, launcher, train, worker
from distill.training.metrics import read
from serve.errors import Unavailable, Unprocessable

pytest.importorskip("deepspeed")

ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join((".", "tests")),
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}
DISTILLATION = tiny.settings(Distillation)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder with all jobs of `ranks_worker` trained by two ranks, student)."""
    folder = tmp_path_factory.mktemp("ranks")
    student = tiny.student_folder(folder / "student")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = ENVIRONMENT | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    line = [sys.executable, "-m", "ranks_worker", str(folder), str(student)]
    with (folder / "rank-0.log").open("wb") as first, (folder / "rank-1.log").open("wb") as second:
        processes = [
            subprocess.Popen(
                line,
                env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for rank, log in enumerate((first, second))
        ]
        codes = [process.wait(240) for process in processes]
    assert codes == [0, 0], (folder / "rank-0.log").read_text()[-3000:]
    return folder, student


def weights(folder: Path) -> dict[str, Tensor]:
    (path,) = (folder / "final").glob("*.safetensors")
    return load_file(path)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("name", ["whole", "single", "adapter", "resumed"])
def test_two_ranks_give_the_weights_of_one_process(
    two_ranks: tuple[Path, Path], name: str, stage: int
) -> None:
    folder, student = two_ranks
    one = ranks_worker.jobs(folder, student)[name]
    train(one)
    expected, found = weights(one.folder), weights(ranks_worker.split(one, stage).folder)
    assert found.keys() == expected.keys()
    for key in expected:
        # Steps of 1e-2 in AdamW's early, sign-like updates: rounding of the gradients moves a weight by 1e-4 at most.
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=3e-4, msg=key)
    mean = torch.cat([(found[key] - expected[key]).abs().flatten() for key in expected]).mean()
    assert mean < 2e-6


@pytest.mark.parametrize("stage", [2, 3])
def test_the_ranks_measure_and_log_what_one_process_does(two_ranks: tuple[Path, Path], stage: int) -> None:
    folder, student = two_ranks
    one = ranks_worker.jobs(folder, student)["whole"]
    train(one)
    mine = list(read(ranks_worker.split(one, stage).folder / "metrics.jsonl"))
    for line, expected in zip(mine, read(one.folder / "metrics.jsonl"), strict=True):
        assert line.keys() == expected.keys()
        figures, known = line.get("held_out", line), expected.get("held_out", expected)
        for key in set(known) - {"tokens_per_s"}:
            assert figures[key] == pytest.approx(known[key], rel=2e-4, abs=1e-6), key


@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_in_bfloat16_measure_what_float32_does_within_rounding(
    two_ranks: tuple[Path, Path], stage: int
) -> None:
    folder, student = two_ranks
    half = ranks_worker.jobs(folder, student)["half"]
    exact = replace(half, folder=folder / "exact", model=Student(model="t", dtype="float32"))
    known = train(exact).before
    measured = next(read(ranks_worker.split(half, stage).folder / "metrics.jsonl"))["held_out"]
    assert known is not None
    assert measured["cross_entropy"] == pytest.approx(known.cross_entropy, rel=1e-3)
    assert {tensor.dtype for tensor in weights(ranks_worker.split(half, stage).folder).values()} == {
        torch.bfloat16
    }


@pytest.fixture
def spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainingJob]:
    """A job over two ranks that `train` starts through the launcher."""
    for name in ("PYTHONPATH", "OMP_NUM_THREADS", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, ENVIRONMENT[name])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    student = tiny.student_folder(tmp_path / "student")

    def job(**changes: object) -> TrainingJob:
        settings = tiny.settings(Distillation, zero_stage=2, epochs=1)
        return tiny.job(tmp_path / "run", **{"student": student, "settings": settings, "ranks": 2} | changes)

    return job


def test_train_starts_its_ranks_through_deepspeeds_launcher(spread: Callable[..., TrainingJob]) -> None:
    told: list[tuple[int, int]] = []
    job = spread(advance=lambda *counts: told.append(counts))
    result = train(job)
    assert told[-1] == (result.tokens, result.tokens)
    assert result.steps == 3
    assert result.final.is_dir()
    assert not (job.folder / launcher.JOB).exists()
    assert train(job) == result


class Short(tiny.HashTeacher):
    """Lacks a row."""

    def __call__(self, example: Example) -> TopK:
        found = super().__call__(example)
        return TopK(found.ids[:-1], found.logprobs[:-1], found.target_logprobs[:-1])


class Exited(Exception):
    pass


def test_a_ranks_error_reaches_whoever_started_it(
    spread: Callable[..., TrainingJob], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    job = spread(targets=Short(), settings=DISTILLATION, ranks=1)
    job.folder.mkdir()
    path = job.folder / launcher.JOB
    launcher._write_job(job, path)
    assert path.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Exited):
        worker.main(path)
    assert "capture it again" in capsys.readouterr().err
    told = launcher._failure(job.folder, 1)
    assert isinstance(told, Unprocessable)
    assert re.search(r"the teacher has \d+ rows for record r9-\d, .*capture it again", str(told))


def test_ranks_that_end_without_a_word_are_told_with_the_end_of_their_log(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(40)]
    (tmp_path / launcher.LOG).write_text("\n".join([*lines, "ModuleNotFoundError: No module named 'x'"]))
    told = launcher._failure(tmp_path, 1)
    assert isinstance(told, Unavailable)
    assert "No module named 'x'" in str(told) and "line 39" in str(told) and "line 3\n" not in str(told)


def test_what_no_other_process_can_have_is_refused(spread: Callable[..., TrainingJob]) -> None:
    with pytest.raises(Unprocessable, match="a loaded model trains in one process only"):
        train(spread(student=tiny.student()))
    with pytest.raises(Unprocessable, match="cannot be handed to other processes"):
        train(spread(targets=lambda example: tiny.HashTeacher()(example)))


def test_the_hostfile_has_to_have_the_devices(spread: Callable[..., TrainingJob], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("worker-1 slots=8\nworker-2 slots=8  # the other\n\n")
    line = launcher.command(spread(ranks=16, hostfile=hosts), tmp_path / "job.pickle")
    assert line[line.index("--hostfile") + 1] == str(hosts)
    assert "--include" not in line
    with pytest.raises(Unprocessable, match="has 16 slots, and the training asks for 4 devices"):
        launcher.command(spread(ranks=4, hostfile=hosts), tmp_path / "job.pickle")
    hosts.write_text("worker-1\n")
    with pytest.raises(Unprocessable, match="is no hostfile"):
        launcher.command(spread(hostfile=hosts), tmp_path / "job.pickle")


def test_the_visible_devices_are_the_ones_used(
    spread: Callable[..., TrainingJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = spread()
    job.folder.mkdir()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    line = launcher.command(job, tmp_path / "job.pickle")
    assert line[line.index("--include") + 1] == "localhost:4,6"
    with pytest.raises(Unprocessable, match="4 devices are asked for, and CUDA_VISIBLE_DEVICES names 3"):
        launcher.command(replace(job, ranks=4), tmp_path / "job.pickle")
