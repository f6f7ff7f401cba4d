"""What stands around the editor: schemas, dialects, themes, small screens, operations."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest
from http_helpers import serving
from playwright.sync_api import expect
from tests_ui import Editor, NewPage, Running, page_app

from serve.settings import Settings

pytestmark = pytest.mark.browser
DDL = "CREATE TABLE planets (planet_id INTEGER PRIMARY KEY, name TEXT, moons INTEGER);"


def _chosen(editor: Editor, test_id: str) -> str:
    found = editor.page.get_by_test_id(test_id).locator("option:checked")
    return found.inner_text()


def test_a_schema_from_ddl_is_chosen_browsed_and_deleted(running: Running, editor: Editor) -> None:
    page = editor.page
    page.get_by_test_id("schema-open").click()
    page.get_by_test_id("schema-name").fill("Solar system")
    page.get_by_test_id("schema-ddl").fill("CREATE TABLE planets (")
    page.get_by_test_id("schema-add").click()
    expect(page.get_by_test_id("schema-problem")).not_to_be_empty()
    page.get_by_test_id("schema-ddl").fill(DDL)
    page.get_by_test_id("schema-dialect").select_option("postgres")
    page.get_by_test_id("schema-add").click()
    expect(page.get_by_test_id("schema-tree")).to_contain_text("planets")
    assert _chosen(editor, "schema-select") == "Solar system"
    assert _chosen(editor, "dialect-select") == "PostgreSQL"
    editor.replace("SELECT moon FROM planets")
    expect(page.get_by_test_id("problems")).to_contain_text("moons")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_test_id("schema-delete").click()
    expect(page.get_by_test_id("schema-tree")).to_contain_text("work_orders")


def test_a_database_file_gives_its_schema(running: Running, editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "stars.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript("CREATE TABLE stars (star_id INTEGER PRIMARY KEY, magnitude REAL);")
    database.close()
    page = editor.page
    page.get_by_test_id("schema-open").click()
    page.get_by_label("Database file").check()
    page.get_by_test_id("schema-file").set_input_files(path)
    page.get_by_test_id("schema-add").click()
    expect(page.get_by_test_id("schema-tree")).to_contain_text("magnitude")
    assert _chosen(editor, "schema-select") == "stars"


def test_without_allowed_urls_it_says_how_to_allow_them(running: Running, editor: Editor) -> None:
    editor.page.get_by_test_id("schema-open").click()
    editor.page.get_by_label("Database URL").check()
    dialog = editor.page.get_by_test_id("schema-dialog")
    expect(dialog).to_contain_text("DISTILSQL_SCHEMA_DATABASE_URLS")
    expect(editor.page.get_by_test_id("schema-add")).to_be_disabled()


def test_the_tree_is_filtered_and_inserts_names(running: Running, editor: Editor) -> None:
    editor.replace("SELECT ")
    editor.page.get_by_test_id("schema-filter").fill("reorder")
    tree = editor.page.get_by_test_id("schema-tree")
    expect(tree).to_contain_text("reorder_level")
    expect(tree).not_to_contain_text("mechanics")
    tree.get_by_role("button", name="reorder_level").click()
    assert editor.text == "SELECT reorder_level"


def test_text_and_choices_are_there_again_after_a_reload(running: Running, editor: Editor) -> None:
    editor.replace("SELECT 42")
    editor.page.get_by_test_id("dialect-select").select_option("mysql")
    editor.page.get_by_test_id("theme").click()
    editor.page.reload()
    editor.page.wait_for_selector("[data-testid=sql-editor]")
    assert editor.text == "SELECT 42"
    assert _chosen(editor, "dialect-select") == "MySQL"
    assert "dark" in (editor.page.locator("body").get_attribute("class") or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_legible(running: Running, new_page: NewPage, scheme: str) -> None:
    running.script.known = ["SELECT w.opened_on FROM work_orders AS w"]
    editor = Editor(new_page(color_scheme=scheme), running.url)
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    for selector in (".cm-content", ".cm-ghost", ".dq-table .dq-name", ".dq-key", ".dq-verdict"):
        contrast = editor.page.locator(selector).first.evaluate(_CONTRAST)
        assert contrast >= 4.5, f"{selector}: {contrast:.2f}"


# WCAG 2.2, success criterion 1.4.3: (lighter + 0.05) / (darker + 0.05) of relative luminances.
_CONTRAST = """element => {
  const numbers = (colour) => {
    const canvas = document.createElement("canvas").getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (rgb) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let back = element;
  while (back && numbers(getComputedStyle(back).backgroundColor)[3] < 255) back = back.parentElement;
  const behind = back ? numbers(getComputedStyle(back).backgroundColor) : [255, 255, 255];
  const [light, dark] = [numbers(getComputedStyle(element).color), behind]
    .map((rgb) => luminance(rgb.slice(0, 3)))
    .sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}"""


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (390, 844)])
def test_nothing_is_cut_off(running: Running, new_page: NewPage, width: int, height: int) -> None:
    editor = Editor(new_page(width, height), running.url)
    page = editor.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("sql-editor", "validate", "repair", "theme", "schema-select"):
        box = page.get_by_test_id(name).bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width, name
    if height == 720:
        problems = page.get_by_test_id("problems").bounding_box()
        assert problems is not None and problems["y"] + problems["height"] <= height


def test_a_phone_accepts_with_a_tap(running: Running, new_page: NewPage) -> None:
    running.script.known = ["SELECT w.opened_on FROM work_orders AS w"]
    editor = Editor(new_page(390, 844, has_touch=True, is_mobile=True), running.url)
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    editor.page.get_by_test_id("key-accept").tap()
    assert editor.text == "SELECT w.opened_on FROM work_orders AS w"


def test_the_keyboard_reaches_everything(running: Running, editor: Editor) -> None:
    editor.replace("SELECT 1")
    editor.page.get_by_test_id("schema-select").focus()
    reached = []
    for _ in range(40):
        reached.append(editor.page.evaluate("document.activeElement.dataset.testid ?? ''"))
        editor.page.keyboard.press("Tab")
    wanted = {
        "schema-open",
        "dialect-select",
        "model-select",
        "example-select",
        "validate",
        "repair",
        "theme",
    }
    assert wanted <= set(reached)


def test_operations_shows_what_happened(running: Running, editor: Editor) -> None:
    running.script.known = ["SELECT w.opened_on FROM work_orders AS w"]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    editor.page.keyboard.press("Tab")
    editor.page.wait_for_timeout(300)
    editor.page.get_by_role("tab", name="Operations").click()
    page = editor.page
    expect(page.locator("#ops-state")).to_contain_text("fake")
    expect(page.locator("#ops-tasks")).to_contain_text("complete")
    expect(page.locator("#ops-latency svg, #ops-latency canvas").first).to_be_visible()
    expect(page.locator("#ops-acceptance svg, #ops-acceptance canvas").first).to_be_visible()
    page.get_by_label("last hour").check()
    expect(page.locator("#ops-models")).to_contain_text("fake")


def test_with_a_key_the_browser_signs_in_first(settings: Settings, new_page: NewPage) -> None:
    settings = settings.model_copy(update={"api_keys": ("open-sesame",)})
    with serving(page_app(settings)) as live:
        page = new_page()
        page.goto(live.url)
        page.locator("input[type=password]").fill("open-sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-testid=sql-editor]")
        assert httpx.get(f"{live.url}/ui/session").status_code == 401
        assert httpx.get(f"{live.url}/ui/static/editor.js").status_code == 401
        page.close()
