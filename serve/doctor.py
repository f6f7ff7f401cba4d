"""Looks at everything that serving needs, and says what to do about each problem."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from serve import hardware
from serve.catalog import Catalog, ModelEntry
from serve.errors import DistilsqlError
from serve.pull import verify
from serve.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ENGINE_CHECK = "import llama_cpp; llama_cpp.llama_backend_init(); print(llama_cpp.__version__)"
_ENGINE_TIMEOUT_S = 120
_SPARE_BYTES = 200_000_000

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A `problem` prevents running, a `warning` does not."""

    name: str
    status: Status
    detail: str
    advice: str = ""


@dataclass(slots=True)
class Report:
    """All findings, and the same as data."""

    findings: list[Finding] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing prevents running."""
        return all(finding.status != "problem" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"ok": self.ok, **self.data, "findings": [asdict(finding) for finding in self.findings]}


def examine(settings: Settings, *, verify_hashes: bool = False) -> Report:
    """Look at machine, engine, models, folders and port. `verify_hashes` reads every model file."""
    report = Report()
    report.findings.append(Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}"))
    folders_ok = _folders(settings, report)
    machine = hardware.detect(settings, measure_again=folders_ok)
    report.data["hardware"] = asdict(machine)
    _machine(machine, report)
    _engine(report)
    try:
        catalog = Catalog.load(settings)
        chosen, reason = _chosen(catalog, settings, machine)
    except DistilsqlError as error:
        report.findings.append(Finding("catalog", "problem", error.message, "mend the setting or the file"))
    else:
        _models(catalog, chosen, verify_hashes, report)
        _default_model(catalog, chosen, reason, machine, report)
        _disk(settings, catalog, chosen, report)
    _address(settings, report)
    return report


def _folders(settings: Settings, report: Report) -> bool:
    """Whether both folders can be written."""
    for folder in (settings.models_dir, settings.state_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            detail = f"{folder} cannot be made: {error.strerror}"
        else:
            if os.access(folder, os.W_OK):
                continue
            detail = f"{folder} cannot be written"
        advice = "change its owner, or set DISTILSQL_HOME to a folder of yours"
        report.findings.append(Finding("folders", "problem", detail, advice))
        return False
    found = f"models in {settings.models_dir}, state in {settings.state_dir}"
    report.findings.append(Finding("folders", "ok", found))
    report.data["models_dir"], report.data["state_dir"] = str(settings.models_dir), str(settings.state_dir)
    return True


def _machine(machine: hardware.Hardware, report: Report) -> None:
    features = ", ".join(machine.cpu_features) or "features unknown"
    slow = platform.machine().lower() in ("x86_64", "amd64") and "avx2" not in machine.cpu_features
    report.findings.append(
        Finding(
            "processor",
            "warning" if slow else "ok",
            f"{machine.processor}, {machine.cores} core(s), {features}; "
            f"memory reads {machine.bandwidth_gbs:.0f} GB/s",
            "without AVX2 suggestions come slowly; use a processor from 2013 or later" if slow else "",
        )
    )
    needed = hardware.RESIDENT_GB[hardware.SMALLER]
    scarce = machine.available_gb < needed
    report.findings.append(
        Finding(
            "memory",
            "warning" if scarce else "ok",
            f"{machine.memory_gb:.1f} GB, {machine.available_gb:.1f} GB available",
            f"the smallest model takes {needed} GB: end other programs" if scarce else "",
        )
    )


def _engine(report: Report) -> None:
    """llama.cpp is tried in a process of its own: built for another processor, it would end this one."""
    engines: dict[str, str | None] = {"llama-cpp-python": None}
    report.data["engines"] = engines
    again = "run `make install` again; it builds llama-cpp-python for this machine"
    try:
        engines["llama-cpp-python"] = version = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        report.findings.append(Finding("engine", "problem", "llama-cpp-python is not installed", again))
        return
    try:
        command = [sys.executable, "-c", _ENGINE_CHECK]
        tried = subprocess.run(command, capture_output=True, text=True, timeout=_ENGINE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        detail = f"llama-cpp-python {version} did not load in {_ENGINE_TIMEOUT_S} s"
        report.findings.append(Finding("engine", "problem", detail, again))
        return
    if tried.returncode == 0:
        report.findings.append(Finding("engine", "ok", f"llama-cpp-python {version}"))
        return
    last = tried.stderr.strip().splitlines()[-1:] or [f"it ended with {tried.returncode}"]
    detail = f"llama-cpp-python {version} does not load: {last[0]}"
    report.findings.append(Finding("engine", "problem", detail, again))


def _chosen(catalog: Catalog, settings: Settings, machine: hardware.Hardware) -> tuple[ModelEntry, str]:
    if settings.model:
        return hardware.default_model(catalog, settings)
    return hardware.choose(catalog, machine)


def _models(catalog: Catalog, chosen: ModelEntry, verify_hashes: bool, report: Report) -> None:
    listed = []
    for entry in catalog.entries():
        if not catalog.installed(entry):
            continue
        path, sha256 = catalog.path(entry), entry.sha256 or ""
        size = path.stat().st_size
        problem = f"has {size} bytes, not {entry.size_bytes}" if size != entry.size_bytes else ""
        if verify_hashes and not problem and not verify(path, sha256):
            problem = "has another sha256 than its name says"
        listed.append(
            {
                "name": entry.name,
                "path": str(path),
                "sha256": sha256,
                "size_bytes": size,
                "verified": not problem if verify_hashes else None,
                "recorded": entry.recorded,
            }
        )
        detail = f"{entry.name}, {size / 1e9:.2f} GB, sha256 {sha256}"
        if problem:
            advice = f"`distilsql models rm {entry.name}`, then `distilsql models pull {entry.name}`"
            status: Status = "problem" if entry.name == chosen.name else "warning"
            report.findings.append(Finding("model", status, f"{detail}: the file {problem}", advice))
        elif entry.recorded:
            advice = "compare the hash with one from its publisher"
            told = f"{detail}, as found at the first pull: nobody has verified it"
            report.findings.append(Finding("model", "warning", told, advice))
        else:
            told = ", verified now" if verify_hashes else ""
            report.findings.append(Finding("model", "ok", f"{detail}{told}"))
    report.data["models"] = listed


def _default_model(
    catalog: Catalog, chosen: ModelEntry, reason: str, machine: hardware.Hardware, report: Report
) -> None:
    installed = catalog.installed(chosen)
    report.data["default_model"] = {"name": chosen.name, "reason": reason, "installed": installed}
    detail = f"{chosen.name} ({reason})"
    if not installed:
        advice = f"`distilsql models pull {chosen.name}`"
        report.findings.append(Finding("default model", "problem", f"{detail}: not installed", advice))
        return
    needed = hardware.RESIDENT_GB.get(chosen.name, chosen.size_bytes * 1.8e-9)
    if machine.memory_gb < needed:
        advice = f"set DISTILSQL_MODEL={hardware.SMALLER}"
        told = f"{detail}: takes about {needed:.1f} GB of memory, and there are {machine.memory_gb:.1f} GB"
        report.findings.append(Finding("default model", "problem", told, advice))
    else:
        report.findings.append(Finding("default model", "ok", detail))


def _disk(settings: Settings, catalog: Catalog, chosen: ModelEntry, report: Report) -> None:
    folder = _existing(settings.models_dir)
    free = shutil.disk_usage(folder).free
    needed = _SPARE_BYTES + (0 if catalog.installed(chosen) else 2 * chosen.size_bytes)
    report.data["disk_free_bytes"] = free
    detail = f"{free / 1e9:.1f} GB free under {settings.models_dir}"
    if free < needed:
        advice = f"{needed / 1e9:.1f} GB are needed: make room, or set DISTILSQL_HOME to a larger disk"
        report.findings.append(Finding("disk", "problem", detail, advice))
    else:
        report.findings.append(Finding("disk", "ok", detail))


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _address(settings: Settings, report: Report) -> None:
    where = f"{settings.host}:{settings.port}"
    problem = _why_not(settings.host, settings.port)
    report.data["port"] = {"host": settings.host, "port": settings.port, "free": problem is None}
    if problem is None:
        report.findings.append(Finding("port", "ok", f"{where} is free"))
    elif _is_distilsql(settings):
        report.findings.append(Finding("port", "ok", f"distilsql is running at {where}"))
        report.data["port"]["distilsql_running"] = True
    else:
        advice = "stop what uses it, or choose another: `--port` or DISTILSQL_PORT"
        report.findings.append(Finding("port", "problem", f"{where}: {problem}", advice))
    if settings.host not in _LOOPBACK and not settings.api_keys:
        report.findings.append(
            Finding(
                "access",
                "warning",
                f"{settings.host} can be reached from other machines and no API key is asked for",
                "set DISTILSQL_API_KEYS",
            )
        )


def _why_not(host: str, port: int) -> str | None:
    """Why the address cannot be bound; None when it can."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _is_distilsql(settings: Settings) -> bool:
    """Whether it is this program that answers there."""
    import httpx

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    try:
        answer = httpx.get(f"http://{host}:{settings.port}/healthz", timeout=2, trust_env=False)
        return answer.is_success and answer.json() == {"status": "ok"}
    except (httpx.HTTPError, ValueError):
        return False
