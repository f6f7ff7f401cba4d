"""The documentation says what there is: every setting, command, route and figure's command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from tests_ui import page_app

import distilsql
from serve.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    default = Settings.model_fields[name].default
    shown = "" if default in ("", (), None) else re.sub(r"\.0$", "", str(default))
    row = next((line for line in _read(DOCS / "operations.md").splitlines() if f"| `{name}` |" in line), None)
    assert row is not None
    assert row.split("|")[2].strip() == shown


def test_every_route_is_documented(settings: Settings) -> None:
    described = _read(DOCS / "api.md")
    for path in page_app(settings).openapi()["paths"]:
        assert path.replace("{schema_id}", "{id}") in described, path


def test_every_command_is_in_the_readme_or_a_page_of_the_docs() -> None:
    text = "".join(_read(page) for page in (ROOT / "README.md", *DOCS.glob("*.md")))
    for command in distilsql.COMMANDS:
        assert f"distilsql {command}" in text, command


def test_every_distillation_command_is_walked() -> None:
    from typer.main import get_group

    from distill import cli

    app = typer.Typer()
    cli.register(app)
    group = get_group(app)
    distill = getattr(group, "commands", {}).get("distill", group)
    text = _read(DOCS / "distillation.md")
    for name in distill.commands:
        assert f"distilsql distill {name}" in text or f"| `{name}` |" in text, name


def test_the_readme_names_its_two_commands_and_its_links_exist() -> None:
    readme = _read(ROOT / "README.md")
    assert "make run" in readme and "make test" in readme
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _read(page)):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_architecture_page_names_modules_that_exist() -> None:
    for path in re.findall(r"(?:serve|sql_assistant|ui)/[\w/]+\.py", _read(DOCS / "architecture.md")):
        assert (ROOT / path).is_file(), path
