"""Install distilsql and what it needs into the environment whose Python runs this.

`python scripts/install.py [EXTRA ...]`; standard library only. llama-cpp-python is published as source:
it is compiled once for this machine's processor, and the wheel is kept in the user's cache folder, so
that the next clone installs in seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = "constraints.txt"
ENGINE = "llama-cpp-python"
CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_COMMON=OFF"
"""Its parts for images and chat templates are not used here."""
_WHEEL = ["wheel", "--verbose", "--no-deps", "--no-binary", ENGINE, "--no-cache-dir"]
"""pip's own cache does not tell processors apart."""
EXTRAS = ("cluster", "dev", "onnx", "train")
LINE_EVERY_S = 15.0
NINJA_STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
INSTRUCTION_SETS = re.compile(
    r"^(sse|ssse|avx|fma|f16c|bmi|amx|gfni|vaes|vpclmul|movbe|popcnt|lzcnt|abm|asimd|sve|sme|i8mm|bf16|fp)"
)
"""The processor features that a compiler told to build for this machine makes use of."""


class InstallError(Exception):
    """What went wrong and what to do."""


class Status:
    """One line that tells how far it is: rewritten on a terminal, else a new one now and then."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._told = time.monotonic()
        self._shown = 0
        self._terminal = sys.stderr.isatty()

    def tell(self, detail: str) -> None:
        """Show `detail`, where it is time to."""
        now = time.monotonic()
        if now - self._told < (0.2 if self._terminal else LINE_EVERY_S):
            return
        self._told = now
        line = f"{self._what}: {detail}{', ' if detail else ''}{_minutes(now - self._began)}"
        if self._terminal:
            line = line[: shutil.get_terminal_size().columns - 1]
            sys.stderr.write("\r" + line.ljust(self._shown))
            self._shown = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line and say how long it took."""
        if self._terminal:
            sys.stderr.write("\r" + " " * self._shown + "\r")
        sys.stderr.write(f"{self._what}: done in {_minutes(time.monotonic() - self._began)}\n")


def main(extras: list[str]) -> int:
    """Install; returns the exit code."""
    os.chdir(ROOT)
    # Held for builds too: pip once read the first for both, and now reads the second.
    os.environ["PIP_CONSTRAINT"] = os.environ["PIP_BUILD_CONSTRAINT"] = CONSTRAINTS
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    os.environ["PIP_NO_INPUT"] = "1"
    if unknown := sorted(set(extras) - set(EXTRAS)):
        raise InstallError(f"unknown extras: {', '.join(unknown)}; known: {', '.join(EXTRAS)}")
    version = pinned_version(ENGINE)
    if installed_version(ENGINE) != version:
        with engine_wheel(version) as wheel:
            _pip(["install", "--no-deps", str(wheel)], f"installing {ENGINE}")
    what = f".[{','.join(extras)}]" if extras else "."
    _pip(["install", "--editable", what], " ".join(["installing distilsql", *extras]))
    return 0


def pinned_version(package: str) -> str:
    """The version that the constraints name."""
    for line in Path(CONSTRAINTS).read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise InstallError(f"{CONSTRAINTS} does not name {package}")


def installed_version(package: str) -> str | None:
    """None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def wheel_folder(version: str) -> Path:
    """Where the wheel for this processor and this Python is kept."""
    features = sorted({word for word in _cpu_flags() if INSTRUCTION_SETS.match(word)})
    built_for = " ".join([_cmake_args(), platform.machine(), "".join(platform.libc_ver()), *features])
    digest = hashlib.sha256(built_for.encode()).hexdigest()[:12]
    abi = f"{sys.implementation.cache_tag}-{sys.platform}"
    return _cache_folder() / "wheels" / f"{ENGINE}-{version}-{abi}-{platform.machine()}-{digest}"


@contextlib.contextmanager
def engine_wheel(version: str) -> Iterator[Path]:
    """The wheel of llama-cpp-python, compiled now unless it was before."""
    folder = wheel_folder(version)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another install is compiling {ENGINE}; waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        wheels = sorted(folder.glob("*.whl"))
        if not wheels:
            wheels = [_compile(version, folder)]
        yield wheels[0]


def _compile(version: str, folder: Path) -> Path:
    """Build the wheel aside, then move it into `folder`."""
    _check_compilers()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = {"CMAKE_BUILD_PARALLEL_LEVEL": str(cores), "CMAKE_ARGS": _cmake_args()}
    print(
        f"compiling {ENGINE} {version} for this processor on {cores} core(s): some minutes, once; "
        f"the wheel is kept in {folder}",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        _pip(
            [
                "wheel",
                "--verbose",
                "--no-deps",
                "--no-binary",
                ENGINE,
                "--wheel-dir",
                aside,
                f"{ENGINE}=={version}",
            ],
            f"compiling {ENGINE}",
            describe=_ninja_progress,
            settings=settings,
        )
        (built,) = Path(aside).glob("*.whl")
        return built.replace(folder / built.name)


def _cmake_args() -> str:
    """Ours, then what the user has set (for a GPU, say)."""
    return f"{CMAKE_ARGS} {os.environ.get('CMAKE_ARGS', '')}".strip()


def _ninja_progress(line: str) -> str | None:
    if step := NINJA_STEP.match(line):
        done, total = int(step[1]), int(step[2])
        return f"{100 * done // total} % ({done} of {total})"
    return None


def _pip_progress(line: str) -> str | None:
    words = line.split()
    if words[:1] in (["Collecting"], ["Downloading"], ["Installing"]):
        return " ".join(words[:2])[:60]
    return None


def _check_compilers() -> None:
    c = [os.environ["CC"]] if "CC" in os.environ else ["cc", "gcc", "clang"]
    cxx = [os.environ["CXX"]] if "CXX" in os.environ else ["c++", "g++", "clang++"]
    if all(any(shutil.which(name.split()[0]) for name in names) for names in (c, cxx)):
        return
    raise InstallError(
        f"{ENGINE} is compiled on this machine and there is no C and C++ compiler; install one and run the "
        "same command again:\n"
        "  Debian, Ubuntu:  apt install build-essential\n"
        "  Fedora, RHEL:    dnf install gcc-c++\n"
        "  macOS:           xcode-select --install"
    )


def _pip(
    arguments: list[str],
    what: str,
    describe: Callable[[str], str | None] = _pip_progress,
    settings: dict[str, str] | None = None,
) -> None:
    """Run pip, with `settings` in its environment; show how far it is, and what it said if it fails."""
    status = Status(what)
    handle, name = tempfile.mkstemp(prefix="distilsql-install-", suffix=".log")
    log = Path(name)
    command = [sys.executable, "-m", "pip", *arguments]
    detail = ""
    with (
        os.fdopen(handle, "w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | (settings or {}),
        ) as run,
    ):
        assert run.stdout is not None
        try:
            for line in run.stdout:
                kept.write(line)
                detail = describe(line) or detail
                status.tell(detail)
        except BaseException:
            run.terminate()
            raise
    if run.returncode:
        last = log.read_text(encoding="utf-8").splitlines()[-25:]
        told = "\n".join(f"  {line[:400]}" for line in last)
        raise InstallError(f"{what} failed; the end of what pip said:\n{told}\nall of it is in {log}")
    log.unlink()
    status.end()


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.partition(":")[2].split())
    return set()


def _cache_folder() -> Path:
    """The folder that `serve.settings` keeps models in; it cannot be asked before it is installed."""
    if home := os.environ.get("DISTILSQL_HOME"):
        return Path(home)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "distilsql"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distilsql"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InstallError as error:
        print(f"\ninstall: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninstall: interrupted; the same command begins again", file=sys.stderr)
        sys.exit(130)
