"""The command, and what comes of its files: registered, loaded by the engine, an adapter over its base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_qwen2
import typer
from typer.testing import CliRunner

import distill.export.cli
import serve.cli
from serve import engines, local_models
from serve.catalog import Catalog
from serve.engines.base import Engine, GenerateRequest
from serve.errors import Conflict, InvalidRequest, NotFound, Unavailable, Unprocessable
from serve.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and an adapter over it."""
    folder = tmp_path_factory.mktemp("made")
    tiny_qwen2.make_model(folder / "checkpoint")
    tiny_qwen2.make_adapter(folder / "checkpoint", folder / "adapter")
    return folder


@pytest.fixture
def app() -> typer.Typer:
    root = typer.Typer(rich_markup_mode=None)
    distill.export.cli.register(root)
    serve.cli.register(root)
    return root


@pytest.fixture(autouse=True)
def _home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSQL_HOME", str(settings.home))
    monkeypatch.setenv("DISTILSQL_CONTEXT_TOKENS", "512")


def _run(app: typer.Typer, *arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def _load(name: str) -> Engine:
    settings = Settings()  # type: ignore[call-arg]
    catalog = Catalog.load(settings)
    entry = catalog.get(name)
    return engines.load(entry, catalog.path(entry), settings)


async def _written(engine: Engine) -> list[int]:
    request = GenerateRequest(prompt=engine.tokenize("SELECT name, city FROM"), max_tokens=12)
    generation = await engine.generate(request)
    return [token.id async for token in generation]


async def test_a_student_is_exported_registered_and_loaded(
    app: typer.Typer, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "student.gguf"
    told = _run(app, "export", "gguf", made / "checkpoint", "--quant", "q8_0", "--out", out, "--name", "mine")
    assert "distilsql up --model mine" in told and "divergence" in told
    listed = {row["name"]: row for row in json.loads(_run(app, "models", "list", "--json"))}
    assert listed["mine"]["installed"] and listed["mine"]["quantization"] == "Q8_0"
    assert "right" in _run(app, "models", "verify", "mine")
    engine = _load("mine")
    try:
        assert len(await _written(engine)) == 12
    finally:
        await engine.close()
    _run(app, "models", "rm", "mine")
    assert out.is_file()


async def test_an_adapter_is_loaded_over_its_base(app: typer.Typer, made: Path, tmp_path: Path) -> None:
    base, merged, lora = (tmp_path / f"{name}.gguf" for name in ("base", "merged", "lora"))
    _run(app, "export", "gguf", made / "checkpoint", "--quant", "F16", "--out", base, "--name", "base")
    _run(app, "export", "gguf", made / "adapter", "--quant", "F16", "--out", merged, "--name", "merged")
    result = json.loads(
        _run(app, "export", "gguf", made / "adapter", "--adapter", "--base", "base", "--out", lora, "--json")
    )
    assert result["base"] == "base" and result["quantization"] == "LoRA"
    # The printed line is run as it stands.
    _run(app, *result["models_add"].split()[1:])
    assert "right" in _run(app, "models", "verify", "lora")
    written, identities = {}, {}
    for name in ("base", "merged", "lora"):
        engine = _load(name)
        try:
            written[name], identities[name] = await _written(engine), engine.info.sha256
        finally:
            await engine.close()
    assert written["lora"] == written["merged"] != written["base"]
    # KV states of the base are not the adapter's.
    assert identities["lora"] == f"{result['sha256']}+{identities['base']}"

    _run(app, "models", "rm", "base")
    with pytest.raises(NotFound, match="adapter of base, which is no model of the catalog"):
        _load("lora")
    _run(app, "models", "rm", "lora")


def test_files_and_bases_that_do_not_fit_are_refused(app: typer.Typer, made: Path, tmp_path: Path) -> None:
    base, lora = tmp_path / "base.gguf", tmp_path / "lora.gguf"
    _run(app, "export", "gguf", made / "checkpoint", "--quant", "F16", "--out", base, "--name", "base")
    _run(
        app, "export", "gguf", made / "adapter", "--adapter", "--base", base, "--out", lora, "--name", "lora"
    )
    settings = Settings()  # type: ignore[call-arg]
    catalog = Catalog.load(settings)
    entry = catalog.get("lora")

    with pytest.raises(InvalidRequest, match="--adapter-of"):
        local_models.add(lora, entry.model_copy(update={"base": None, "name": "x"}), settings)
    with pytest.raises(InvalidRequest, match="is an adapter itself"):
        local_models.add(lora, entry.model_copy(update={"base": "lora", "name": "x"}), settings)
    with pytest.raises(InvalidRequest, match="no GGUF adapter"):
        whole = catalog.get("base").model_copy(update={"base": "base", "name": "x"})
        local_models.add(base, whole, settings)
    with pytest.raises(NotFound, match="no model of the catalog"):
        local_models.add(lora, entry.model_copy(update={"base": "gone", "name": "x"}), settings)

    local_models.add(lora, entry.model_copy(update={"base": "qwen2.5-coder-0.5b", "name": "x"}), settings)
    with pytest.raises(NotFound, match=r"distilsql models pull qwen2\.5-coder-0\.5b"):
        _load("x")

    tiny_qwen2.make_model(tmp_path / "deeper", layers=1)
    other = tmp_path / "other.gguf"
    _run(app, "export", "gguf", tmp_path / "deeper", "--quant", "F16", "--out", other, "--name", "other")
    local_models.add(lora, entry.model_copy(update={"base": "other", "name": "y"}), settings)
    with pytest.raises(Unavailable, match="cannot be loaded over"):
        _load("y")


def test_mistakes_are_told_before_the_work(app: typer.Typer, made: Path, tmp_path: Path) -> None:
    def fails(error: type[Exception], told: str, *arguments: str | Path) -> None:
        with pytest.raises(error, match=told):
            _run(app, "export", "gguf", *arguments, "--out", tmp_path / "out.gguf")

    fails(NotFound, "no model", "gone")
    fails(InvalidRequest, "cannot be a name", made / "checkpoint", "--name", "My Student")
    fails(Conflict, "another name", made / "checkpoint", "--name", "qwen2.5-coder-0.5b")
    fails(Unprocessable, "no adapter", made / "checkpoint", "--adapter")
    fails(InvalidRequest, "no model of the catalog", made / "adapter", "--adapter", "--name", "lora")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    fails(Unprocessable, "a GGUF already", tmp_path / "a.gguf")
    assert not (tmp_path / "out.gguf").exists()
