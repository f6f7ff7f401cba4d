"""Inline suggestions in a real browser, key by key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Route, expect
from tests_ui import Editor, NewPage, Running

pytestmark = pytest.mark.browser

OPEN = "SELECT w.opened_on FROM work_orders AS w"


def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def _row(running: Running) -> dict[str, object]:
    rows = httpx.get(f"{running.url}/v1/sql/stats?group_by=task").json()["rows"]
    return next(row for row in rows if row["key"] == "complete")


def test_typing_shows_grey_text_and_tab_takes_all_of_it(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("")
    editor.page.keyboard.type("SELECT w.opened", delay=30)
    editor.wait_for_ghost("_on FROM work_orders AS w")
    editor.page.keyboard.press("Tab")
    assert editor.text == OPEN
    assert editor.ghost == ""
    _until(lambda: _row(running)["accepted"] == 1)


def test_first_open_shows_an_example_and_its_suggestion(running: Running, new_page: NewPage) -> None:
    example = "JOIN bikes AS b ON w.bike_id = b.bike_id\nJOIN customers AS c ON b.customer_id = c.customer_id"
    running.script.known = [example]
    editor = Editor(new_page(), running.url)
    editor.wait_for_ghost(example.removeprefix("JOIN bikes AS b ON "))
    assert "work_orders" in editor.test_id("schema-tree")


def test_the_next_word_and_then_the_next(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    editor.page.keyboard.press("Control+ArrowRight")
    assert editor.text == "SELECT w.opened_on FROM"
    assert editor.ghost == " work_orders AS w"
    editor.page.keyboard.press("Control+ArrowRight")
    assert editor.text == "SELECT w.opened_on FROM work_orders"
    _until(lambda: _row(running)["partially_accepted"] == 1)


def test_esc_dismisses_and_it_stays_dismissed_there(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    editor.page.keyboard.press("Escape")
    editor.wait_for_no_ghost()
    asked = len(running.script.asked)
    editor.page.keyboard.press("ArrowLeft")
    editor.page.keyboard.press("ArrowRight")
    time.sleep(0.6)
    assert editor.ghost == ""
    assert len(running.script.asked) == asked
    editor.page.keyboard.press("Alt+\\")
    editor.wait_for_ghost("FROM work_orders AS w")
    _until(lambda: _row(running)["rejected"] == 1)


def test_typing_what_it_says_keeps_it_without_another_request(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    asked = len(running.script.asked)
    editor.page.keyboard.type("from wo", delay=40)
    assert editor.ghost == "rk_orders AS w"
    time.sleep(0.5)
    assert len(running.script.asked) == asked


def test_backspace_is_served_from_what_was_seen(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    asked = len(running.script.asked)
    editor.page.keyboard.type("FROM x")
    editor.wait_for_no_ghost()
    editor.page.keyboard.press("Backspace")
    editor.wait_for_ghost("work_orders AS w")
    time.sleep(0.4)
    assert len(running.script.asked) <= asked + 1


def test_no_request_while_a_word_stands_right_of_the_cursor(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT na| FROM mechanics", cursor="|")
    editor.page.keyboard.press("ArrowLeft")
    time.sleep(0.5)
    asked = len(running.script.asked)
    editor.page.keyboard.type("n")
    time.sleep(0.6)
    assert len(running.script.asked) == asked


def test_the_popup_has_the_names_and_tab_has_one_meaning(running: Running, editor: Editor) -> None:
    editor.replace("SELECT * FROM mech")
    editor.page.keyboard.press("Control+Space")
    popup = editor.page.locator(".cm-tooltip-autocomplete")
    expect(popup).to_contain_text("mechanics")
    editor.page.wait_for_timeout(150)  # keys right after it has opened are not meant for it
    editor.page.keyboard.press("ArrowDown")
    editor.page.keyboard.press("Tab")
    assert editor.text == "SELECT * FROM mechanics"


def test_columns_behind_an_alias_are_offered(running: Running, editor: Editor) -> None:
    editor.replace("SELECT m. FROM mechanics AS m")
    for _ in " FROM mechanics AS m":
        editor.page.keyboard.press("ArrowLeft")
    editor.page.keyboard.press("Control+Space")
    expect(editor.page.locator(".cm-tooltip-autocomplete")).to_contain_text("mechanic_id")


def test_an_error_is_underlined_and_listed_and_a_click_goes_there(running: Running, editor: Editor) -> None:
    editor.replace("SELECT name FROM customers;\nSELECT nme, 1 FROM customers;\nSELECT 1")
    expect(editor.page.get_by_test_id("verdict")).to_have_text("1 error")
    expect(editor.page.locator(".cm-lintRange-error")).to_have_text("nme")
    editor.page.get_by_test_id("problems").get_by_role("button").click()
    editor.page.keyboard.type("x")
    assert "SELECT xnme" in editor.text


def test_errors_above_the_statement_that_is_typed_are_shown(running: Running, editor: Editor) -> None:
    editor.replace("SELECT name, FROM customers;\nSELECT name FROM customers WHERE ")
    expect(editor.page.get_by_test_id("verdict")).to_contain_text("1 error")
    expect(editor.page.get_by_test_id("verdict")).to_contain_text("unfinished at the cursor")


def test_an_unfinished_statement_is_not_called_wrong(running: Running, editor: Editor) -> None:
    editor.replace("SELECT name FROM customers WHERE ")
    expect(editor.page.get_by_test_id("verdict")).to_have_text("unfinished at the cursor")
    assert editor.page.locator(".cm-lintRange-error").count() == 0


def test_repair_shows_a_diff_to_apply_or_to_leave(running: Running, editor: Editor) -> None:
    editor.page.get_by_test_id("example-select").select_option("4")
    broken = editor.text
    editor.page.get_by_test_id("repair").click()
    dialog = editor.page.get_by_test_id("repair-dialog")
    expect(dialog).to_contain_text("FORM is a misspelt FROM")
    assert dialog.locator(".cm-deletedChunk").count() > 0
    editor.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert editor.text == broken
    editor.page.get_by_test_id("repair").click()
    dialog.get_by_role("button", name="Apply").click()
    expect(editor.page.get_by_test_id("verdict")).to_have_text("valid")
    assert "w.mechanic_id = m.mechanic_id" in editor.text
    editor.page.keyboard.press("Control+z")
    assert editor.text == broken


def test_nothing_to_repair_is_said(running: Running, editor: Editor) -> None:
    editor.replace("SELECT name FROM customers")
    editor.page.get_by_test_id("repair").click()
    expect(editor.page.get_by_test_id("message")).to_contain_text("nothing to repair")


def test_a_dropped_connection_is_told_and_mended_by_itself(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    dropped = "**/v1/sql/**"
    editor.page.route(dropped, lambda route: route.abort("connectionrefused"))
    editor.replace("SELECT w.opened_on ")
    status = editor.page.get_by_test_id("editor-status")
    expect(status).to_have_attribute("data-state", "offline")
    expect(status).to_contain_text("no connection")
    editor.page.unroute(dropped)
    editor.wait_for_ghost("FROM work_orders AS w")
    assert editor.text == "SELECT w.opened_on "


def test_a_busy_server_is_asked_again_when_it_says_so(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    refusals = 2

    def refuse(route: Route) -> None:
        nonlocal refusals
        if refusals == 0:
            return route.continue_()
        refusals -= 1
        error = {"error": {"type": "queue_full", "message": "too many requests", "param": None}}
        return route.fulfill(status=429, headers={"Retry-After": "1"}, body=json.dumps(error))

    editor.page.route("**/v1/sql/complete", refuse)
    editor.replace("SELECT w.opened_on ")
    expect(editor.page.get_by_test_id("editor-status")).to_contain_text("too many requests")
    editor.wait_for_ghost("FROM work_orders AS w")


def test_an_old_answer_never_stands_at_a_new_place(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN, "SELECT name FROM mechanics"]
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    editor.page.route("**/v1/sql/complete", hold_the_first)
    editor.replace("SELECT w.opened_on ")
    editor.page.wait_for_timeout(600)
    editor.replace("SELECT name ")
    editor.wait_for_ghost("FROM mechanics")
    assert editor.ghost == "FROM mechanics"


def test_the_latency_stands_in_the_corner(running: Running, editor: Editor) -> None:
    running.script.known = [OPEN]
    editor.replace("SELECT w.opened_on ")
    editor.wait_for_ghost("FROM work_orders AS w")
    assert editor.test_id("editor-status").endswith(" ms")
