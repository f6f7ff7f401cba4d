"""What this machine can do, as far as it decides which model it should serve."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import psutil

from serve.catalog import Catalog, ModelEntry
from serve.settings import Settings

LARGER, SMALLER = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
MIN_TOKENS_PER_S = 12.0
"""Below this a suggestion of a dozen tokens takes over a second: too late to be read while typing."""
_EFFICIENCY = 0.6
"""Share of the copy bandwidth that decoding reaches (42 and 22 tokens/s for 0.49 and 1.12 GB at 30 GB/s)."""
_RESIDENT_GB = {LARGER: 2.0, SMALLER: 1.1}


@dataclass(frozen=True, slots=True)
class Hardware:
    """Found on this machine; sizes in GB (1e9 bytes)."""

    cores: int
    memory_gb: float
    available_gb: float
    bandwidth_gbs: float
    cpu_features: tuple[str, ...]


@lru_cache(maxsize=1)
def detect() -> Hardware:
    """Look once a process; the bandwidth measurement takes about 0.2 s."""
    memory = psutil.virtual_memory()
    return Hardware(
        cores=usable_cores(),
        memory_gb=memory.total / 1e9,
        available_gb=memory.available / 1e9,
        bandwidth_gbs=_bandwidth(min(usable_cores(), 4)),
        cpu_features=_cpu_features(),
    )


def usable_cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expected_tokens_per_s(entry: ModelEntry, hardware: Hardware) -> float:
    """Decoding reads every weight once a token, so bandwidth over size bounds it."""
    return _EFFICIENCY * hardware.bandwidth_gbs * 1e9 / entry.size_bytes


def default_model(catalog: Catalog, settings: Settings) -> tuple[ModelEntry, str]:
    """The model to serve and why: the one that is set, else the 1.5B where it is fast enough."""
    if settings.model:
        return catalog.get(settings.model), "set by hand"
    hardware = detect()
    larger, smaller = catalog.get(LARGER), catalog.get(SMALLER)
    if hardware.available_gb < _RESIDENT_GB[LARGER]:
        return smaller, (
            f"{hardware.available_gb:.1f} GB of memory are available and the 1.5B takes {_RESIDENT_GB[LARGER]:.1f}"
        )
    if "avx2" not in hardware.cpu_features and _is_x86():
        return smaller, "the processor has no AVX2, which the 1.5B needs to be fast enough"
    rate = expected_tokens_per_s(larger, hardware)
    reads = f"memory moves {hardware.bandwidth_gbs:.0f} GB/s, so the 1.5B decodes about {rate:.0f} tokens/s"
    if rate < MIN_TOKENS_PER_S or hardware.cores < 2:
        return smaller, f"{reads} on {hardware.cores} core(s); {MIN_TOKENS_PER_S:.0f} and 2 cores are wanted"
    return larger, reads


def _bandwidth(threads: int) -> float:
    """GB/s moved by copies larger than the caches, counting bytes read and written; best of three."""
    size = 48 << 20
    pairs = [(np.ones(size // 8), np.zeros(size // 8)) for _ in range(threads)]

    def copy_all() -> None:
        workers = [threading.Thread(target=np.copyto, args=(target, source)) for source, target in pairs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        copy_all()
        best = min(best, time.perf_counter() - began)
    return 2 * size * threads / best / 1e9


def _cpu_features() -> tuple[str, ...]:
    wanted = (
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "amx_tile",
        "neon",
        "asimd",
    )
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    flags = set(lines[0].split()) if lines else set()
    return tuple(name for name in wanted if name in flags)


def _is_x86() -> bool:
    return os.uname().machine in ("x86_64", "amd64")
