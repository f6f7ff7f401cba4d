"""Start a training on several devices through DeepSpeed's launcher and follow it from here.

The job travels as a pickle in its own folder (private, removed at the end), which all nodes have to see; progress comes
back by metrics.jsonl, an error by error.json. Torch is not imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill.training import job as jobs
from distill.training import metrics
from distill.training.job import TrainingJob, TrainingResult
from serve.errors import Unavailable, Unprocessable
from serve.files import write_atomic

JOB, ERROR, LOG = "job.pickle", "error.json", "ranks.log"
_POLL_S = 1.0


def launch(job: TrainingJob) -> TrainingResult:
    """Run `job` on `job.ranks` devices; returns when all ranks have ended.

    Raises Unprocessable with a rank's own message, or Unavailable with the end of its log.
    """
    if find_spec("deepspeed") is None:
        raise Unavailable(
            f"{job.ranks} devices need DeepSpeed, which is not installed: pip install 'distilsql[cluster]'"
        )
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / ERROR).unlink(missing_ok=True)
    path = job.folder / JOB
    _write_job(job, path)
    try:
        with (job.folder / LOG).open("wb") as log:
            process = subprocess.Popen(command(job, path), stdout=log, stderr=subprocess.STDOUT)
            try:
                _follow(process, job.folder / metrics.FILE, job.advance)
            except BaseException:
                process.terminate()
                process.wait()
                raise
    finally:
        path.unlink(missing_ok=True)
    if process.returncode:
        raise _failure(job.folder, process.returncode)
    data = json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    data.pop("fingerprint")
    return TrainingResult.of_json(data, job.folder)


def _write_job(job: TrainingJob, path: Path) -> None:
    if not isinstance(job.student, (str, Path)):
        raise Unprocessable(
            "several devices need the student's path; a loaded model trains in one process only"
        )
    try:
        data = pickle.dumps(replace(job, advance=jobs._nothing))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Unprocessable(
            f"the teacher's targets cannot be handed to other processes ({error}): give an object of a module-level "
            "class that opens its store when it is first asked"
        ) from error
    # It is code to whoever reads it, and nobody reads it before it is whole.
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def command(job: TrainingJob, path: Path) -> list[str]:
    """The launcher's command line. Unprocessable where the hostfile has another number of slots."""
    line = [sys.executable, "-m", "deepspeed.launcher.runner"]
    if job.hostfile is not None:
        slots = _slots(job.hostfile)
        if slots != job.ranks:
            raise Unprocessable(
                f"{job.hostfile} has {slots} slots, and the training asks for {job.ranks} devices"
            )
        line += ["--hostfile", str(job.hostfile)]
    else:
        # A hostfile of our own: without one the launcher counts devices itself, and a CPU as one.
        hosts = job.folder / "hostfile"
        devices = _visible_devices(job.ranks)
        write_atomic(hosts, f"localhost slots={max(devices) + 1}\n".encode())
        line += ["--hostfile", str(hosts), "--master_addr", "127.0.0.1", "--no_ssh_check"]
        line += ["--include", "localhost:" + ",".join(map(str, devices))]
    line += ["--master_port", str(_free_port()), "--no_local_rank"]
    return [*line, "--module", "distill.training.worker", str(path.resolve())]


def _slots(hostfile: Path) -> int:
    try:
        lines = [line.split("#")[0].split() for line in hostfile.read_text(encoding="utf-8").splitlines()]
        return sum(int(word[1].removeprefix("slots=")) for word in lines if word)
    except (OSError, IndexError, ValueError) as error:
        raise Unprocessable(
            f"{hostfile} is no hostfile with lines such as `worker-1 slots=8`: {error}"
        ) from error


def _visible_devices(ranks: int) -> list[int]:
    """The first `ranks` of CUDA_VISIBLE_DEVICES, which the launcher would set anew."""
    named = [word for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.isdigit()]
    if named and len(named) < ranks:
        raise Unprocessable(
            f"{ranks} devices are asked for, and CUDA_VISIBLE_DEVICES names {len(named)}", param="gpus"
        )
    return [int(word) for word in named[:ranks]] or list(range(ranks))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _follow(process: subprocess.Popen[Any], path: Path, advance: Callable[[int, int], None]) -> None:
    """Wait for the end, telling progress as steps are written."""
    told = (0, 0)
    began = time.time()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
        if path.exists() and path.stat().st_mtime >= began:
            steps = [line for line in metrics.read(path) if "tokens_done" in line]
            now = (steps[-1]["tokens_done"], steps[-1]["tokens_total"]) if steps else told
            if now != told:
                advance(*now)
                told = now
        if process.returncode is not None:
            return


def _failure(folder: Path, code: int) -> Exception:
    if (folder / ERROR).exists():
        told = json.loads((folder / ERROR).read_text(encoding="utf-8"))
        return Unprocessable(told["message"], param=told["param"])
    last = (folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    return Unavailable(
        f"the training's processes ended with {code}; all they said is in {folder / LOG}. Its end:\n"
        + "\n".join(last)
    )
