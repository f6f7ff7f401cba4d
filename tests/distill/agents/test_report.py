"""The data report: its figures, and an HTML file that needs nothing else."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from distill.agents.report import StageData, write_report
from distill.agents.report_data import histogram
from distill.records import Rejection, chat

_SEEDS = [chat(f"Tell me about {one} & <i>such</i>", source="seeds", category="writing") for one in "abcd"]
_MADE = [record.answered("An answer of five words.", source="answering") for record in _SEEDS[:3]]


def _stages() -> list[StageData]:
    cut = Rejection(record=_SEEDS[3], agent="answering", reason="truncated answer", detail="99 tokens")
    noisy = Rejection(record=_MADE[2], agent="selection", reason="noise")
    return [
        StageData("seed", _SEEDS),
        StageData("answer", _MADE, [cut], {"asked": 4}, 100, 60, 0.25),
        StageData("select", [one.scored(selection__noise=0.1) for one in _MADE[:2]], [noisy]),
    ]


def test_figures_say_how_many_came_through_and_why_others_did_not(tmp_path: Path) -> None:
    write_report(_stages(), tmp_path)
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["records"] == 2
    assert data["rejected"] == 2
    assert [
        (one["name"], one["received"], one["passed_on"], one["made"], one["rejected"])
        for one in data["stages"]
    ] == [("seed", 0, 0, 4, 0), ("answer", 4, 0, 3, 1), ("select", 3, 2, 0, 1)]
    assert data["stages"][1]["reasons"] == {"truncated answer": 1}
    assert data["categories"] == {"writing": {"seed": 4, "answer": 3, "select": 2}}
    assert data["tokens"] == {"prompt": 100, "completion": 60}
    assert data["cost_usd"] == 0.25
    assert data["lengths"]["response words"] == [
        {"from": 0, "to": 5, "count": 0},
        {"from": 5, "to": 10, "count": 2},
    ]
    assert data["scores"]["selection/noise"]["mean"] == 0.1
    assert data["sources"] == {"seeds": 2}, "what made the instruction, not who answered it"
    assert {one["reason"] for one in data["rejected_samples"]} == {"truncated answer", "noise"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "rect"):
            assert self.open.pop() == tag


def test_the_html_stands_alone_and_shows_what_records_say_as_text(tmp_path: Path) -> None:
    text = write_report(_stages(), tmp_path, title="Run <1>").read_text()
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert not tags.tags & {"script", "link", "img", "iframe", "i-am-not-there"}
    assert not re.search(r"https?://|@import|url\(", text)
    assert "Tell me about a &amp; &lt;i&gt;such&lt;/i&gt;" in text
    assert "<title>Run &lt;1&gt;</title>" in text
    assert "truncated answer 1" in text
    assert "prefers-color-scheme: dark" in text


def test_a_run_without_any_record_has_a_report(tmp_path: Path) -> None:
    assert write_report([StageData("seed", [])], tmp_path).is_file()


@given(st.lists(st.integers(0, 10_000)))
def test_a_histogram_counts_everything_once(values: list[int]) -> None:
    assert sum(one["count"] or 0 for one in histogram(values)) == len(values)
