"""The list of models, the user's own part of it, and which one a machine gets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from serve import hardware, local_models
from serve.catalog import Catalog, ModelEntry
from serve.errors import Conflict, DistilsqlError, InvalidRequest, NotFound
from serve.hardware import LARGER, SMALLER, Hardware, choose
from serve.settings import Settings

GGUF = b"GGUF" + b"\0" * 2000


def _entry(name: str = "mine", sha256: str | None = None) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="qwen2.5",
        parameters="1B",
        quantization="Q8_0",
        license="MIT",
        context_length=4096,
        prompt_format="qwen2.5",
        sha256=sha256 or hashlib.sha256(GGUF).hexdigest(),
    )


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "student.gguf"
    path.write_bytes(GGUF)
    return path


def test_the_shipped_catalog_has_what_the_product_needs(settings: Settings) -> None:
    catalog = Catalog.load(settings)
    for name in (SMALLER, LARGER):
        entry = catalog.get(name)
        assert entry.sha256 and entry.size_bytes and entry.license == "Apache-2.0"
        assert [source.kind for source in entry.sources] == ["hub", "wheels"]
    names = " ".join(entry.name for entry in catalog.entries())
    for wanted in ("distilqwen2.5-0.5b", "distilqwen2.5-7b", "qwen2.5-coder-3b", "qwen2.5-coder-7b"):
        assert wanted in names


def test_an_unknown_model_names_the_known_ones(settings: Settings) -> None:
    with pytest.raises(NotFound, match=SMALLER):
        Catalog.load(settings).get("gpt-9")


@pytest.mark.parametrize("sha256", ["../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "", "a" * 64 + "\n"])
def test_only_a_hash_is_a_hash(sha256: str) -> None:
    with pytest.raises(ValidationError):
        _entry().model_validate(_entry().model_dump() | {"sha256": sha256})


@pytest.mark.parametrize("name", ["../up", "a/b", "UPPER", "", ".hidden", "a b"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(ValidationError):
        _entry(name)


def test_a_file_of_the_users_is_copied_and_listed(settings: Settings, gguf: Path) -> None:
    path = local_models.add(gguf, _entry(), settings)
    catalog = Catalog.load(settings)
    assert path.read_bytes() == GGUF and catalog.installed(catalog.get("mine"))
    assert catalog.get("mine").size_bytes == len(GGUF)
    assert local_models.remove(catalog.get("mine"), settings) == len(GGUF)
    assert not path.exists() and gguf.exists()
    with pytest.raises(NotFound):
        Catalog.load(settings).get("mine")


def test_another_hash_than_promised_keeps_nothing(settings: Settings, gguf: Path) -> None:
    with pytest.raises(InvalidRequest, match="nothing was kept"):
        local_models.add(gguf, _entry(sha256="0" * 64), settings)
    assert not list(settings.models_dir.iterdir())


def test_what_is_no_gguf_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    with pytest.raises(InvalidRequest, match="no GGUF"):
        local_models.add(path, _entry(sha256=sha256), settings)


def test_a_shipped_name_is_not_taken_over(settings: Settings, gguf: Path) -> None:
    with pytest.raises(Conflict, match="another name"):
        local_models.add(gguf, _entry(SMALLER), settings)


def test_a_file_that_two_entries_share_stays_for_the_other(settings: Settings, gguf: Path) -> None:
    path = local_models.add(gguf, _entry("one"), settings)
    local_models.add(gguf, _entry("two"), settings)
    local_models.remove(Catalog.load(settings).get("one"), settings)
    assert path.exists()


def test_a_damaged_list_is_named(settings: Settings) -> None:
    path = settings.state_dir / "models.json"
    path.parent.mkdir(parents=True)
    path.write_text("[{")
    with pytest.raises(DistilsqlError, match=r"models\.json is not JSON"):
        Catalog.load(settings)
    path.write_text(json.dumps([_entry().model_dump(mode="json") | {"sha256": "/etc/passwd"}]))
    with pytest.raises(DistilsqlError, match="sha256"):
        Catalog.load(settings)


@pytest.mark.parametrize(
    ("changes", "model", "why"),
    [
        ({}, LARGER, "memory reads 29 GB/s"),
        ({"bandwidth_gbs": 12.0}, SMALLER, "memory reads 12 GB/s"),
        ({"memory_gb": 2.5}, SMALLER, "2.5 GB of memory"),
        ({"cores": 1}, SMALLER, "one core"),
    ],
)
def test_the_larger_model_where_it_is_fast_enough(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], model: str, why: str
) -> None:
    machine = {
        "processor": "a processor",
        "cores": 2,
        "memory_gb": 24.0,
        "available_gb": 20.0,
        "bandwidth_gbs": 29.0,
        "cpu_features": ("avx2",),
    }
    entry, reason = choose(Catalog.load(settings), Hardware(**(machine | changes)))  # type: ignore[arg-type]
    assert entry.name == model
    assert why in reason


def test_the_machine_is_measured_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hardware.detect(settings)
    assert first.cores >= 1 and first.memory_gb > 0 and first.bandwidth_gbs > 0
    monkeypatch.setattr(hardware, "_bandwidth", lambda threads: pytest.fail("measured again"))
    assert hardware.detect(settings).bandwidth_gbs == pytest.approx(first.bandwidth_gbs, abs=0.01)
