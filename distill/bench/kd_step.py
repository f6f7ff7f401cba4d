"""How much memory and time a KD step saves that never makes whole logits.

Both sides take the same batch through the same student, forward and backward with gradient checkpointing, each in
a process of its own, in turns; which begins changes with every round. Finished rounds are kept, and an
interrupted run goes on behind them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distill.bench.kd_sides import Setup
from distill.runs import Journal
from serve.errors import Unavailable

SIDES = ("sparse", "dense")
Round = dict[str, dict[str, float]]


def measure(
    student: Path | None,
    folder: Path,
    *,
    rounds: int = 3,
    examples: int = 4,
    tokens: int = 256,
    top_k: int = 10,
    fresh: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Measure with `student`, a GGUF file or Hugging Face folder (None: a tiny random one); `folder` keeps rounds.

    The batch is `examples` of `tokens` tokens, the later half of each learned. Returns medians over the rounds:
    kd_memory_ratio (peak resident memory over that of model and optimiser state, gradients included; ours to
    dense) and kd_speed_ratio (dense seconds to ours), with kd_peak_bytes, dense_peak_bytes, kd_tokens_per_s and
    dense_tokens_per_s. Takes 11 GB with the 0.5B student. Raises Unavailable when a side fails.
    """
    setup = Setup(str(folder / "kd-teacher"), str(student or ""), examples, tokens, top_k)
    state = folder / f"kd-{_fingerprint(setup, student)}.jsonl"
    if fresh:
        state.unlink(missing_ok=True)
    with Journal(state) as journal:
        missing = [number for number in range(rounds) if str(number) not in journal]
        if missing:
            shutil.rmtree(setup.folder, ignore_errors=True)
            Path(setup.folder).mkdir(parents=True)
            try:
                with ExitStack() as stack:
                    # The dense side first: it writes what the teacher says.
                    sides = {name: stack.enter_context(_Side(name, setup)) for name in reversed(SIDES)}
                    for number in missing:
                        order = SIDES if number % 2 == 0 else SIDES[::-1]
                        found = {name: sides[name].step() for name in order}
                        journal.add(str(number), found)
                        say(_line(number, rounds, found))
            finally:
                shutil.rmtree(setup.folder, ignore_errors=True)
        done = [value for number in range(rounds) if (value := journal.get(str(number)))]
    return _summary(done, examples * tokens)


def _summary(done: Sequence[Round], tokens: int) -> dict[str, float]:
    def median(side: str, figure: str) -> float:
        return statistics.median(one[side][figure] for one in done)

    seconds = {side: median(side, "s") for side in SIDES}
    peak = {side: median(side, "bytes") for side in SIDES}
    return {
        "kd_memory_ratio": round(peak["sparse"] / peak["dense"], 3),
        "kd_speed_ratio": round(seconds["dense"] / seconds["sparse"], 3),
        "kd_peak_bytes": peak["sparse"],
        "dense_peak_bytes": peak["dense"],
        "kd_tokens_per_s": round(tokens / seconds["sparse"], 2),
        "dense_tokens_per_s": round(tokens / seconds["dense"], 2),
    }


def _line(number: int, rounds: int, found: Round) -> str:
    told = ", ".join(f"{side} {found[side]['s']:.2f} s {found[side]['bytes'] / 1e9:.2f} GB" for side in SIDES)
    return f"KD step, round {number + 1} of {rounds}: {told}"


def _fingerprint(setup: Setup, student: Path | None) -> str:
    """Of what decides the rounds: other weights or another batch begin anew."""
    known = [setup.to_json(), student.stat().st_mtime_ns if student else 0]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


class _Side:
    """A process of `kd_sides`, loaded and warm on entering. Use it as a context manager."""

    def __init__(self, name: str, setup: Setup) -> None:
        self._name = name
        self._setup = setup
        self._log = Path(setup.folder) / f"{name}.log"

    def __enter__(self) -> _Side:
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "distill.bench.kd_sides", self._name, self._setup.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": paths},
            )
        try:
            self._read()
        except BaseException:
            self.__exit__()
            raise
        return self

    def step(self) -> dict[str, float]:
        """One step's seconds, bytes and loss."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; reading says of what
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            told = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Unavailable(
                f"the {self._name} side of the KD benchmark ended with {code}: {''.join(told) or 'it said nothing'}"
                " (-9 means that memory ran out)"
            )
        found: dict[str, Any] = json.loads(line)
        return found

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
