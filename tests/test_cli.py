"""The command line as people and scripts use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import distilsql
from serve.hardware import SMALLER
from serve.settings import Settings

DDL = """
CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, author_id INTEGER REFERENCES author (id));
"""


@pytest.fixture
def ddl(tmp_path: Path) -> Path:
    path = tmp_path / "schema.sql"
    path.write_text(DDL)
    return path


def _run(
    *arguments: str, home: Path | None = None, stdin: str | bytes = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `distilsql`; with `home` nothing of the user's is seen."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("DISTILSQL_")}
    if home is not None:
        known["DISTILSQL_HOME"] = str(home)
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "distilsql", *arguments],
        input=data,
        capture_output=True,
        env=known | environment,
        timeout=120,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    done = _run("--help")
    assert done.returncode == 0
    for name, (_, line) in distilsql.COMMANDS.items():
        assert name in done.stdout and line in " ".join(done.stdout.split())
    code = "import sys, distilsql\ntry: distilsql.main()\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True).stdout
    for heavy in ("gradio", "fastapi", "llama_cpp", "sqlglot", "numpy", "pydantic"):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize(
    "command",
    [(name,) for name in distilsql.COMMANDS if name != "models"]
    + [("models", name) for name in ("list", "pull", "verify", "rm", "path", "add")],
)
def test_every_command_has_an_example_in_its_help(command: tuple[str, ...]) -> None:
    done = _run(*command, "--help")
    assert done.returncode == 0
    assert f"distilsql {' '.join(command)}" in done.stdout.partition("Example:")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("up", "--port", "many"),
        ("up", "--port", "70000"),
        ("models", "pull", "--fast"),
        ("complete", "--ddl", "/does/not/exist"),
        ("complete", "-n", "0"),
    ],
)
def test_wrong_use_ends_with_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = _run(*arguments, home=tmp_path)
    assert done.returncode == 2
    assert "Usage" in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    done = _run("doctor", home=tmp_path, DISTILSQL_PORT="eighty")
    assert done.returncode == 2
    assert "DISTILSQL_PORT" in done.stderr


def test_an_unknown_model_ends_with_1_and_says_which_there_are(tmp_path: Path) -> None:
    done = _run("models", "pull", "gpt-9", home=tmp_path)
    assert done.returncode == 1
    assert SMALLER in done.stderr and "Traceback" not in done.stderr


def test_models_list_is_data_where_asked(tmp_path: Path) -> None:
    rows = json.loads(_run("models", "list", "--json", home=tmp_path).stdout)
    assert {row["name"] for row in rows} >= {SMALLER}
    assert not any(row["installed"] for row in rows)
    assert sum(row["default"] for row in rows) == 1
    assert SMALLER in _run("models", "list", home=tmp_path).stdout


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    done = _run("doctor", "--json", "--port", "0", home=tmp_path)
    found = json.loads(done.stdout)
    assert done.returncode == 1 and not found["ok"]
    assert {"hardware", "engines", "models", "default_model", "disk_free_bytes", "port"} <= set(found)
    advice = next(one["advice"] for one in found["findings"] if one["name"] == "default model")
    assert "distilsql models pull" in advice


def test_validate_tells_line_and_column(ddl: Path) -> None:
    done = _run("validate", "--ddl", str(ddl), stdin="SELECT name FROM author;\nSELECT nme FROM author")
    assert done.returncode == 1
    assert done.stdout.startswith("2:8: error: unknown column 'nme'")
    assert _run("validate", "--ddl", str(ddl), stdin="SELECT name FROM author").stdout == "valid\n"
    found = json.loads(_run("validate", "--json", stdin="SELEC").stdout)
    assert found["valid"] is False and found["issues"][0]["kind"] == "syntax"


def test_text_that_is_not_utf8_is_refused(ddl: Path) -> None:
    done = _run("validate", stdin="SELECT 'ä'".encode("latin-1"))
    assert done.returncode == 1
    assert "not UTF-8" in done.stderr


def test_complete_without_a_model_says_how_to_get_one(ddl: Path, tmp_path: Path) -> None:
    done = _run("complete", "--ddl", str(ddl), "--model", SMALLER, home=tmp_path, stdin="SELECT ")
    assert done.returncode == 1
    assert f"distilsql models pull {SMALLER}" in done.stderr


@pytest.mark.real
def test_complete_at_the_end_and_at_a_mark(ddl: Path, model_05b: Path, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(Settings().models_dir)
    base = ("complete", "--ddl", str(ddl), "--model", SMALLER)
    done = _run(*base, home=tmp_path, stdin="SELECT a.name FROM auth\n")
    assert done.returncode == 0
    assert done.stdout.startswith("or")
    done = _run(*base, "--json", home=tmp_path, stdin="SELECT <|cursor|> FROM author WHERE id = 3\n")
    found = json.loads(done.stdout)
    assert found["suggestions"][0]["valid"] is True
    assert found["usage"]["prompt_tokens"] > 0
    done = _run(*base, home=tmp_path, stdin="SELECT 'in a string <|cursor|>'")
    assert done.returncode == 1 and "string" in done.stderr
