"""Samples out, labels back, agreement; the page in a real browser."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from distill.agents import annotation
from distill.agents.annotation import Label, Labelling, Task, cohens_kappa
from distill.records import Record, Rejection, chat
from serve.errors import NotFound, Unprocessable


def _records(count: int, word: str = "kept") -> list[Record]:
    return [chat(f"{word} question {n}", f"answer {n} <b>&</b>", source="s") for n in range(count)]


def _rejections(count: int) -> list[Rejection]:
    return [Rejection(record=one, agent="selection", reason="noise") for one in _records(count, "dropped")]


def test_a_sample_has_both_verdicts_and_is_the_same_each_time(tmp_path: Path) -> None:
    tasks = annotation.sample(_records(50), _rejections(50), 20, seed=1)
    assert Counter(task.agents for task in tasks) == {"keep": 10, "drop": 10}
    assert annotation.sample(_records(50), _rejections(50), 20, seed=1) == tasks
    few = annotation.sample(_records(50), _rejections(3), 20, seed=1)
    assert Counter(task.agents for task in few) == {"keep": 17, "drop": 3}
    assert len(annotation.sample(_records(2), _rejections(30), 20, seed=1)) == 20
    annotation.export_tasks(tmp_path / "tasks.jsonl", tasks)
    assert annotation.read_tasks(tmp_path / "tasks.jsonl") == tasks


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels-ann.jsonl"
    path.write_text(
        '{"id": "1", "annotator": "ann", "label": "keep"}\n{"id": "2", "annotator": "ann", "label": "maybe"}\n'
    )
    with pytest.raises(Unprocessable, match="line 2 is no label"):
        annotation.read_labels(path)
    with pytest.raises(NotFound):
        annotation.read_labels(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        # Cohen's own kind of table: rows are one annotator's labels, columns the other's.
        ([[20, 5], [10, 15]], 0.4),
        ([[45, 15], [25, 15]], 0.1304),
        ([[25, 35], [5, 35]], 0.2593),
        ([[10, 0], [0, 10]], 1.0),
        ([[10, 0], [0, 0]], None),
        ([[0, 0], [0, 0]], None),
    ],
)
def test_cohens_kappa(table: list[list[int]], kappa: float | None) -> None:
    names = ("keep", "drop")
    ratings = [
        (names[row], names[column])
        for row in range(2)
        for column in range(2)
        for _ in range(table[row][column])
    ]
    assert cohens_kappa(ratings) == kappa


def test_agreement_of_people_and_agents() -> None:
    records = _records(4)
    tasks = [Task(record=one, agents="keep" if at < 2 else "drop") for at, one in enumerate(records)]
    said = {"ann": "kkdd", "bob": "kddd"}
    labels = [
        Label(id=record.id, annotator=name, label="keep" if sign == "k" else "drop")
        for name, signs in said.items()
        for record, sign in zip(records, signs, strict=True)
    ]
    figures = {tuple(one["between"]): one for one in annotation.agreement(tasks, labels)}
    assert figures["agents", "ann"] == {"between": ["agents", "ann"], "items": 4, "agree": 1.0, "kappa": 1.0}
    assert figures["agents", "bob"]["agree"] == 0.75
    assert figures["ann", "bob"] == {"between": ["ann", "bob"], "items": 4, "agree": 0.75, "kappa": 0.5}
    assert figures["agents", "majority"]["items"] == 3, "they are split on one"


def test_labels_are_applied() -> None:
    records = _records(3)
    labels = [
        Label(id=records[0].id, annotator="ann", label="drop", comment="wrong"),
        Label(id=records[0].id, annotator="bob", label="drop"),
        Label(id=records[1].id, annotator="ann", label="drop"),
        Label(id=records[1].id, annotator="bob", label="keep"),
    ]
    outcome = annotation.apply_labels(records, labels)
    assert [record.id for record in outcome.records] == [records[1].id, records[2].id]
    assert outcome.records[0].scores == {"annotation/keep": 0.5}
    assert [(one.reason, one.detail) for one in outcome.rejections] == [("dropped by annotators", "wrong")]


def _tasks(folder: Path, count: int = 3) -> Path:
    path = folder / "tasks.jsonl"
    annotation.export_tasks(path, annotation.sample(_records(count), [], count, seed=1))
    return path


def test_labelling_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = _tasks(tmp_path)
    first = Labelling(path, "ann")
    assert first.first_open() == 0
    first.label(0, "keep", " fine ")
    first.label(1, "drop", "")
    first.label(1, "keep", "after all")
    again = Labelling(path, "ann")
    assert (again.done, again.first_open()) == (2, 2)
    assert again.of(1) == Label(
        id=again.tasks[1].record.id, annotator="ann", label="keep", comment="after all"
    )
    assert Labelling(path, "bob").done == 0
    with pytest.raises(Unprocessable, match="annotator's name"):
        Labelling(path, "../ann")


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        assert server.poll() is None, "the page did not start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the page did not answer")


@pytest.mark.browser
def test_the_page_labels_by_keyboard_and_by_mouse(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    path = _tasks(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "distilsql", "distill", "annotate", "page", str(path)]
    # A process of its own, as a user starts it: Gradio leaves sockets to the garbage collector.
    server = subprocess.Popen(
        [*command, "--annotator", "ann", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    found: dict[str, object] = {}

    def drive() -> None:
        # Playwright's own loop cannot run beside that of another test.
        try:
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 900, "height": 700})
                hosts: set[str] = set()
                page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
                page.goto(f"http://127.0.0.1:{port}")
                record = page.locator("#record")
                expect(record).to_contain_text("Record 1 of 3")
                expect(record).to_contain_text("<b>&</b>")
                page.keyboard.press("k")
                expect(record).to_contain_text("Record 2 of 3")
                page.keyboard.press("c")
                page.keyboard.type("dk")
                page.keyboard.press("Escape")
                page.locator("#drop").click()
                expect(record).to_contain_text("Record 3 of 3")
                page.keyboard.press("ArrowLeft")
                expect(record).to_contain_text("labelled drop")
                expect(page.locator("#comment textarea")).to_have_value("dk")
                page.screenshot(path=str(tmp_path / "page.png"))
                found["hosts"] = hosts
                browser.close()
        except BaseException as error:  # noqa: BLE001 - told in the main thread
            found["error"] = error

    try:
        _wait_for(port, server)
        thread = threading.Thread(target=drive)
        thread.start()
        thread.join()
    finally:
        server.terminate()
        server.wait(timeout=30)
    if "error" in found:
        raise AssertionError(found["error"])
    labels = annotation.read_labels(annotation.labels_file(path, "ann"))
    assert [(one.label, one.comment) for one in labels] == [("keep", ""), ("drop", "dk")]
    assert found["hosts"] == {f"127.0.0.1:{port}"}, "nothing is fetched from elsewhere"
