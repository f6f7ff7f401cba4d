"""The whole product as installed: `distilsql up`, the 0.5B weights, a browser."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests_ui import SCREENSHOTS, Editor, NewPage

from serve.hardware import SMALLER
from serve.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.real]


@pytest.fixture(scope="module")
def product(model_05b: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running `distilsql up` with a home of its own and the user's weights."""
    home = tmp_path_factory.mktemp("home")
    (home / "models").symlink_to(Settings().models_dir)
    environment = os.environ | {"DISTILSQL_HOME": str(home), "DISTILSQL_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "distilsql", "up", "--port", "0", "--model", SMALLER]
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True) as process,
    ):
        assert process.stdout is not None
        announced = next((line for line in process.stdout if "ready at" in line), "")
        found = re.search(r"http://\S+", announced)
        assert found, (home / "log").read_text()
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_first_visit(product: str, new_page: NewPage) -> None:
    """Type, see grey text, take it, take a word, dismiss, repair, in both themes."""
    editor = Editor(new_page(), product)
    page = editor.page
    page.wait_for_selector(".cm-ghost", timeout=60_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "first_open.png")
    suggested = editor.ghost
    assert "b.bike_id" in suggested
    page.keyboard.press("Tab")
    assert editor.text.replace("\n", "").endswith(suggested.replace("\n", ""))
    expect(page.get_by_test_id("verdict")).to_have_text("valid")

    editor.replace("")
    page.keyboard.type("SELECT name FROM cust", delay=60)
    page.wait_for_selector(".cm-ghost", timeout=30_000)
    assert editor.ghost.startswith("omers")
    page.keyboard.press("Control+ArrowRight")
    assert editor.text == "SELECT name FROM customers"
    page.keyboard.press("Escape")

    page.get_by_test_id("theme").click()
    page.get_by_test_id("example-select").select_option("1")
    page.wait_for_selector(".cm-ghost", timeout=30_000)
    page.screenshot(path=SCREENSHOTS / "middle.png")
    page.keyboard.press("Tab")
    expect(page.get_by_test_id("verdict")).to_have_text("valid")

    editor.replace("SELECT nme FORM customers")
    page.get_by_test_id("repair").click()
    expect(page.get_by_test_id("repair-dialog")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "repair.png")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_test_id("verdict")).to_have_text("valid")
    assert editor.text == "SELECT name FROM customers"

    page.get_by_role("tab", name="Operations").click()
    expect(page.locator("#ops-state")).to_contain_text(SMALLER)
    expect(page.locator("#ops-tasks")).to_contain_text("complete")
    page.screenshot(path=SCREENSHOTS / "operations.png", full_page=True)
