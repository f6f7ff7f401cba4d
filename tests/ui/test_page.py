"""The page's parts that need no browser: the bundle, the sample, what the menus hold, the figures."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
from pathlib import Path

import httpx
import pytest
from tests_ui import Running

from serve.settings import Settings
from sql_assistant import validation
from sql_assistant.ddl import parse_ddl
from sql_assistant.schema_store import SchemaStore
from ui import sample

EDITOR = Path("ui/editor")
STATIC = Path("ui/static")


def test_the_committed_bundle_is_made_of_these_sources() -> None:
    """`make editor` builds it; the hash is computed as build.mjs does."""
    digest = hashlib.sha256()
    sources = sorted((EDITOR / "src").iterdir(), key=lambda path: path.name)
    for path in (EDITOR / "package-lock.json", *sources):
        name = path.relative_to(EDITOR).as_posix()
        digest.update(f"{name}\0".encode() + path.read_bytes())
    banner = f"/* sources sha256 {digest.hexdigest()} */"
    for name in ("editor.js", "editor.css"):
        assert (STATIC / name).read_text(encoding="utf-8").startswith(banner), "run `make editor`"


def test_the_bundle_names_no_other_host() -> None:
    for name in ("editor.js", "editor.css"):
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert "http://" not in text and "https://" not in text


def test_the_editors_own_unit_tests() -> None:
    node = shutil.which("node")
    assert node, "the editor's tests need Node.js 18 or later: apt install nodejs"
    done = subprocess.run([node, "--test", "test/"], cwd=EDITOR, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_sample_is_a_real_database_with_rows_and_intact_keys() -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(sample.ddl())
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    for table in parse_ddl(sample.ddl(), "sqlite").tables:
        (count,) = database.execute(f'SELECT COUNT(*) FROM "{table.name}"').fetchone()
        assert count > 0, table.name
    database.close()


def test_every_example_has_a_title_and_a_cursor_in_its_text() -> None:
    assert len(sample.examples()) >= 4
    for example in sample.examples():
        assert example.title and 0 < example.cursor <= len(example.text)
        assert sample.CURSOR not in example.text


def test_the_last_example_is_broken_and_the_others_are_not_beyond_the_cursor() -> None:
    schema = parse_ddl(sample.ddl(), "sqlite")
    assert not validation.is_valid(validation.validate(sample.examples()[-1].text, schema, "sqlite"))


def test_the_sample_is_added_once_and_not_beside_others(settings: Settings) -> None:
    sample.add_to_empty_store(settings)
    sample.add_to_empty_store(settings)
    store = SchemaStore.open(settings)
    (stored,) = store.list()
    store.delete(stored.id)
    store.add("mine", parse_ddl("CREATE TABLE t (a INT)", "sqlite"))
    sample.add_to_empty_store(settings)
    assert [one.name for one in store.list()] == ["mine"]


def test_the_session_says_what_there_is_to_choose(running: Running) -> None:
    found = httpx.get(f"{running.url}/ui/session").json()
    assert {"sqlite", "postgres", "mysql", "duckdb", "bigquery", "snowflake", "tsql"} == {
        one["name"] for one in found["dialects"]
    }
    assert found["models"] == [{"name": "fake", "parameters": "", "is_default": True}]
    assert found["sample_schema"] and found["urls_allowed"] is False


@pytest.mark.parametrize("path", ["/", "/ui/static/editor.js", "/ui/static/editor.css", "/v1/sql/schemas"])
def test_page_bundle_and_api_live_in_one_server(running: Running, path: str) -> None:
    assert httpx.get(running.url + path).status_code == 200


def test_scripts_are_revalidated_so_that_an_update_shows(running: Running) -> None:
    first = httpx.get(f"{running.url}/ui/static/editor.js")
    assert first.headers["cache-control"] == "no-cache"
    again = httpx.get(f"{running.url}/ui/static/editor.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_unknown_api_paths_are_not_answered_by_the_page(running: Running) -> None:
    answer = httpx.get(f"{running.url}/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]
