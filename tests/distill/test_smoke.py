"""The smoke recipe for real: a 1.5B teacher, a 0.5B student, every stage, killed and resumed, exported and served."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distill import recipe, record_files, runs
from serve.catalog import Catalog
from serve.hardware import SMALLER
from serve.pull import pull
from serve.settings import Settings
from sql_assistant.benchmark.product import Product

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]
_TEACHER = "qwen2.5-coder-1.5b"
_STUDENT = "smoke-student"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own with the user's weights, fetched once where they are missing."""
    settings = Settings()
    for name in (SMALLER, _TEACHER):
        pull(Catalog.load(settings).get(name), settings)
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    for path in settings.models_dir.glob("*.gguf"):
        (home / "models" / path.name).symlink_to(path)
    return home


def _command(home: Path, *arguments: str) -> dict[str, Any]:
    environment = os.environ | {"DISTILSQL_HOME": str(home)}
    return {"args": [sys.executable, "-m", "distilsql", *arguments], "env": environment}


def _run(home: Path, *arguments: str) -> str:
    done = subprocess.run(**_command(home, *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def _kill_in(stage: str, home: Path, run: Path) -> None:
    """Start the run and kill it, hard, soon after `stage` has something in its journal or its metrics."""
    marks = (run / stage / "journal.jsonl", run / stage / "metrics.jsonl")
    with subprocess.Popen(
        **_command(home, "distill", "run", "smoke", "--run", str(run)),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        while not any(mark.exists() and mark.stat().st_size > 0 for mark in marks):
            assert process.poll() is None, f"the run ended before stage {stage}"
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    assert runs.read_manifest(run, stage) is None


def test_the_smoke_recipe_end_to_end(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "smoke"
    _kill_in("expand", home, run)
    asked = len((run / "expand" / "journal.jsonl").read_text().splitlines())
    _kill_in("sft", home, run)
    done = json.loads(_run(home, "distill", "run", "smoke", "--run", str(run), "--json"))

    assert set(done) == set(recipe.STAGES)
    assert done["expand"]["attempts"] == 2 and done["sft"]["attempts"] == 2 and asked >= 1
    keys = [json.loads(line)["key"] for line in (run / "expand" / "journal.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) >= asked
    for stage in ("expand", "rewrite", "answer", "sql", "select", "verify"):
        records = record_files.read_records(run / stage / "records")
        assert (
            records
            and len({record.id for record in records}) == len(records) == done[stage]["metrics"]["records"]
        )
    for stage in ("expand", "rewrite", "answer", "verify"):
        assert done[stage]["completion_tokens"] > 0

    measured = done["evaluate"]["metrics"]
    assert measured["kl_after"] < measured["kl_before"]
    assert done["kd"]["metrics"]["kl_after"] < done["kd"]["metrics"]["kl_before"]
    assert done["capture"]["metrics"]["bytes_per_token"] < 70
    assert (run / "kd" / "curve.png").read_bytes().startswith(b"\x89PNG")

    status = _run(home, "distill", "status", str(run))
    assert status.count(" done ") == len(recipe.STAGES)
    page = Path(_run(home, "distill", "report", str(run)).strip())
    assert "expand" in page.read_text(encoding="utf-8")

    again = json.loads(_run(home, "distill", "run", "smoke", "--run", str(run), "--json"))
    assert again == done

    _serve(home, run, tmp_path)


def _serve(home: Path, run: Path, scratch: Path) -> None:
    """Export the student, register it, and have it complete SQL."""
    out = scratch / f"{_STUDENT}.gguf"
    _run(
        home,
        "export",
        "gguf",
        str(run / "kd" / "final"),
        "--quant",
        "Q4_K_M",
        "--out",
        str(out),
        "--name",
        _STUDENT,
    )
    listed = json.loads(_run(home, "models", "list", "--json"))
    assert any(row["name"] == _STUDENT and row["installed"] for row in listed)
    ddl = "CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT);\n"
    ddl += "CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, author_id INTEGER REFERENCES author (id));"
    with Product(Settings(home=home), _STUDENT, home) as product:
        schema_id = product.register("books", ddl)
        for prefix, suffix in (
            ("SELECT a.name FROM auth", ""),
            ("SELECT b.title FROM book b JOIN author a ON ", " WHERE a.name = 'Ann'"),
        ):
            answer = product.complete(prefix, suffix, schema_id=schema_id)
            assert answer.body["model"] == _STUDENT
            assert answer.body["suggestions"][0]["valid"], answer.body
