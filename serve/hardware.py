"""What this machine can do, as far as it decides which model it should serve.

Decoding is bound by memory bandwidth, so that is measured, once: the value is kept in the state folder,
because a choice that changed with the load of the moment would ask for another model each time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from serve.catalog import Catalog, ModelEntry
from serve.files import write_atomic
from serve.settings import Settings

LARGER, SMALLER = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
MIN_TOKENS_PER_S = 12.0
"""Below this a suggestion of a dozen tokens takes over a second: too late to be read while typing."""
_EFFICIENCY = 0.6
"""Share of the read bandwidth that decoding reaches, at least."""
RESIDENT_GB = {LARGER: 2.0, SMALLER: 1.1}
_SYSTEM_GB = 1.0
"""Left to the rest of the machine."""
_ARRAY_BYTES = 96 << 20
"""A thread's array: several times larger than the caches of a machine that needs the question asked."""
_ROUNDS, _TRIES = 7, 3
_WANTED_FEATURES = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


@dataclass(frozen=True, slots=True)
class Hardware:
    """Found on this machine; sizes in GB (1e9 bytes). Limits of a container count as the machine's."""

    processor: str
    cores: int
    memory_gb: float
    available_gb: float
    bandwidth_gbs: float
    cpu_features: tuple[str, ...]


def detect(settings: Settings, *, measure_again: bool = False) -> Hardware:
    """Look at the machine; the bandwidth measurement takes under half a second, the first time only.

    With `measure_again` the better of the old and the new value is kept: load only ever lowers it.
    """
    processor, cores = _processor(), usable_cores()
    key = f"{processor}, {cores} cores"
    stored = _stored_bandwidth(settings, key)
    bandwidth = stored
    if measure_again or not stored:
        bandwidth = max(stored, _bandwidth(min(cores, 4)))
    if bandwidth != stored:
        found = {"machine": key, "bandwidth_gbs": round(bandwidth, 2)}
        with suppress(OSError):  # Where the folder cannot be written it is measured each time.
            write_atomic(_store(settings), json.dumps(found).encode())
    memory = psutil.virtual_memory()
    limit, used = _container_memory()
    return Hardware(
        processor=processor,
        cores=cores,
        memory_gb=min(memory.total, limit) / 1e9,
        available_gb=min(memory.available, limit - used) / 1e9,
        bandwidth_gbs=bandwidth,
        cpu_features=_cpu_features(),
    )


def usable_cores() -> int:
    """Processors this process may use: its affinity, and a container's share of time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def needed_bandwidth_gbs(entry: ModelEntry) -> float:
    """What a model wants to be fast enough: decoding reads every weight once a token."""
    return MIN_TOKENS_PER_S * entry.size_bytes / _EFFICIENCY / 1e9


def default_model(catalog: Catalog, settings: Settings) -> tuple[ModelEntry, str]:
    """The model to serve and why: the one that is set, else the 1.5B where it is fast enough, else the 0.5B.

    Depends on the machine only, not on what is installed or on its load at the moment.
    """
    if settings.model:
        return catalog.get(settings.model), "set by hand"
    return choose(catalog, detect(settings))


def choose(catalog: Catalog, hardware: Hardware) -> tuple[ModelEntry, str]:
    """The model for a machine, and why."""
    larger, smaller = catalog.get(LARGER), catalog.get(SMALLER)
    needed = RESIDENT_GB[LARGER] + _SYSTEM_GB
    if hardware.memory_gb < needed:
        return smaller, f"there are {hardware.memory_gb:.1f} GB of memory; the 1.5B wants {needed:.0f}"
    if "avx2" not in hardware.cpu_features and platform.machine().lower() in ("x86_64", "amd64"):
        return smaller, "the processor has no AVX2, without which the 1.5B is too slow"
    if hardware.cores < 2:
        return smaller, "there is one core; the 1.5B wants two"
    wanted = needed_bandwidth_gbs(larger)
    reads = f"memory reads {hardware.bandwidth_gbs:.0f} GB/s and the 1.5B wants {wanted:.0f}"
    return (larger if hardware.bandwidth_gbs >= wanted else smaller), reads


def _bandwidth(threads: int) -> float:
    """GB/s read by `threads` scalar products over arrays larger than the caches.

    The median of some rounds, as two cores read now together and now one after the other; the best
    of some such medians, as load lowers them.
    """
    size = min(_ARRAY_BYTES, int(psutil.virtual_memory().available / 8 / threads))
    arrays = [np.ones(size // 4, np.float32) for _ in range(threads)]
    return max(statistics.median(_read_all(arrays) for _ in range(_ROUNDS)) for _ in range(_TRIES))


def _read_all(arrays: list[NDArray[np.float32]]) -> float:
    """GB/s of one round, a thread an array."""
    start = threading.Barrier(len(arrays))
    spans: list[tuple[float, float]] = []

    def read(array: NDArray[np.float32]) -> None:
        start.wait()
        began = time.perf_counter()
        np.dot(array, array)
        spans.append((began, time.perf_counter()))

    workers = [threading.Thread(target=read, args=(array,)) for array in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = max(end for _, end in spans) - min(began for began, _ in spans)
    return sum(array.nbytes for array in arrays) / seconds / 1e9


def _store(settings: Settings) -> Path:
    return settings.state_dir / "hardware.json"


def _stored_bandwidth(settings: Settings, key: str) -> float:
    """The value measured before on this machine; 0 when there is none that can be read."""
    try:
        found = json.loads(_store(settings).read_text(encoding="utf-8"))
        return float(found["bandwidth_gbs"]) if found["machine"] == key else 0.0
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _processor() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_features() -> tuple[str, ...]:
    """Those that decide how fast llama.cpp is; empty where the system does not list them."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            return tuple(name for name in _WANTED_FEATURES if name in flags)
    return ()


def _container_memory() -> tuple[float, float]:
    """(limit, used) of the control group, in bytes; an infinite limit where there is none."""
    limit, used = _read("/sys/fs/cgroup/memory.max"), _read("/sys/fs/cgroup/memory.current")
    cached = 0
    for line in _read("/sys/fs/cgroup/memory.stat").splitlines():
        if line.startswith("inactive_file "):
            cached = int(line.split()[1])
    if limit.isdigit() and used.isdigit():
        return float(limit), float(int(used) - cached)
    return float("inf"), 0.0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
