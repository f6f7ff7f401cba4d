"""Where the bytes of a source are: asks the model hub's library or pip, whose settings (mirrors, proxies,
certificates, credentials) thereby hold here too. Downloads nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from serve.catalog import HubSource, WheelSource
from serve.errors import Unavailable

_PIP_TIMEOUT_S = 120


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


def locate(source: HubSource | WheelSource) -> list[Remote]:
    """The files of a source, in order. Raises Unavailable when it cannot be reached."""
    return [_in_hub(source)] if isinstance(source, HubSource) else _wheels(source)


def _in_hub(source: HubSource) -> Remote:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(source.repo, source.file, revision=source.revision)
    headers = {name: value for name, value in build_hf_headers().items() if isinstance(value, str)}
    try:
        answer = httpx.head(
            url, headers=headers, follow_redirects=True, timeout=httpx.Timeout(10.0, connect=5.0)
        )
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        raise Unavailable(f"answered {error.response.status_code}") from error
    except httpx.TransportError as error:
        raise Unavailable(f"cannot be reached ({type(error).__name__})") from error
    return Remote(source.file, url, int(answer.headers.get("content-length", 0)), headers=headers)


def _wheels(source: WheelSource) -> list[Remote]:
    """Resolve addresses and hashes through `pip install --dry-run`, which installs nothing."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-"]
    command += ["--ignore-installed", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    try:
        answer = subprocess.run(
            [*command, *source.requirements],
            capture_output=True,
            text=True,
            timeout=_PIP_TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.strip().splitlines() if line.startswith("ERROR")]
        raise Unavailable(f"pip cannot find it: {lines[-1] if lines else 'no reason given'}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"pip did not answer in {_PIP_TIMEOUT_S} s") from error
    found = {
        _key(item["metadata"]["name"]): item["download_info"] for item in json.loads(answer.stdout)["install"]
    }
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(10.0, connect=5.0)) as client:
        return [_remote(requirement, found, client) for requirement in source.requirements]


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
        return Remote(name, url, local.stat().st_size, sha256, local=local)
    try:
        answer = client.head(url)
    except httpx.TransportError as error:
        raise Unavailable(f"cannot be reached ({type(error).__name__})") from error
    return Remote(name, url, int(answer.headers.get("content-length", 0)), sha256)


def _key(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
