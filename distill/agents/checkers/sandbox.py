"""Runs Python in a process of its own with limits on time, memory and files.

Limits, not a jail: the program runs as this user and can open the network and read files. Only for a machine that
is there for it (`verify.run_code`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass

TIME_S = 10
MEMORY_BYTES = 1 << 30
_FILE_BYTES = 1 << 20
_SHOWN = 300
# The limits are set by the process itself: a function run between fork and exec is unsafe under threads.
_START = f"""
import resource, sys
def limit(kind, value):
    _, most = resource.getrlimit(kind)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))
limit(resource.RLIMIT_CPU, {TIME_S})
limit(resource.RLIMIT_AS, {MEMORY_BYTES})
limit(resource.RLIMIT_FSIZE, {_FILE_BYTES})
limit(resource.RLIMIT_NOFILE, 64)
limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_NPROC, 0)
source = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
exec(compile(source, "answer.py", "exec"), {{"__name__": "__main__"}})
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    ok: bool
    error: str = ""
    """The last line of what it wrote to stderr, or `took longer than 10 s`."""


def run(source: str, *, time_s: float = TIME_S) -> Ran:
    """Run a program without input; it succeeds when it ends with status 0 within `time_s` seconds."""
    # Isolated, and without the environment, which may hold keys.
    command = [sys.executable, "-I", "-c", _START]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "HOME": folder, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            process.communicate(source.encode("utf-8", "surrogatepass"), timeout=time_s)
        except subprocess.TimeoutExpired:
            return Ran(False, f"took longer than {time_s:g} s")
        finally:
            # What it may have started as well; the group is gone where it started nothing.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        said = errors.read(_FILE_BYTES).decode("utf-8", "replace").strip().splitlines()
    if process.returncode == 0:
        return Ran(True)
    return Ran(False, (said[-1] if said else f"ended with status {process.returncode}")[:_SHOWN])
