"""Stages in a run folder: done once, interrupted anywhere, never mixed up. The teacher is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_teacher import Script, ScriptedTeacher

from distill import data_report, pipeline, recipe, record_files, sweep
from distill.pipeline import Context
from distill.records import Record
from distill.teachers.base import Ask, Failure
from serve.errors import Conflict, DistilsqlError, NotFound, Unprocessable
from serve.settings import Settings

TEXT = """
name: scripted
teacher: {kind: llamacpp, model: t-1.5b}
student: {model: s-0.5b}
stages: [seed, answer, select, verify]
seeds: [{file: seeds.jsonl, format: alpaca, category: general}]
"""
SEEDS = 6
Teach = Callable[[Script], ScriptedTeacher]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    rows = [
        {"instruction": f"Tell one true and useful thing about the number {n}, and say why it matters."}
        for n in range(SEEDS)
    ]
    lines = [*map(json.dumps, rows), '{"instruction": "torn']
    (tmp_path / "seeds.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def teach(monkeypatch: pytest.MonkeyPatch) -> Teach:
    """Let every teacher that is opened answer by a script."""

    def install(script: Script) -> ScriptedTeacher:
        teacher = ScriptedTeacher(script)
        monkeypatch.setattr("distill.teachers.factory.open_teacher", lambda settings, cache: teacher)
        return teacher

    return install


def _answer(ask: Ask) -> str:
    number = ask.messages[-1].content.split("number ")[1].split(",")[0]
    return f"The number {number} follows {int(number) - 1}; whoever counts things in order relies on that."


def _run(base: Path, *, text: str = TEXT, folder: str = "run", **how: str) -> dict[str, object]:
    said: list[str] = []
    done = pipeline.run(
        recipe.parse(text, "x"), base, base / folder, Settings(home=base / "home"), say=said.append, **how
    )
    return {"done": done, "said": said}


def _records(base: Path, stage: str, folder: str = "run") -> list[Record]:
    return record_files.read_records(base / folder / stage / "records")


def test_stages_hand_records_on_and_are_done_once(base: Path, teach: Teach) -> None:
    teacher = teach(_answer)
    first = _run(base)
    assert len(teacher.asked) == SEEDS
    assert len(_records(base, "seed")) == len(_records(base, "verify")) == SEEDS
    assert all(record.response.startswith("The number") for record in _records(base, "verify"))
    assert any("entry 7 is left out" in line for line in first["said"])  # type: ignore[attr-defined]
    assert "torn" in (base / "run" / "seed" / "bad-entries.txt").read_text()
    manifest = first["done"]["answer"]  # type: ignore[index]
    assert manifest.prompt_tokens == 10 * SEEDS and manifest.completion_tokens == 5 * SEEDS
    assert set(manifest.inputs) == {"seed/shard-00000.parquet"}
    again = _run(base)
    assert len(teacher.asked) == SEEDS and again["done"] == first["done"]
    assert all("done before" in line for line in again["said"])  # type: ignore[attr-defined]


def test_an_interrupted_stage_asks_only_what_is_missing(base: Path, teach: Teach) -> None:
    def breaks_off(ask: Ask) -> str:
        if len(breaking.asked) > 2:
            raise DistilsqlError("the budget is spent")
        return _answer(ask)

    breaking = teach(breaks_off)
    with pytest.raises(DistilsqlError, match="budget"):
        _run(base)
    states = {one.stage: one for one in pipeline.status(base / "run", recipe.parse(TEXT, "x"))}
    assert [states[name].state for name in ("seed", "answer", "select")] == ["done", "begun", "waiting"]
    assert states["answer"].told == "2 replies in the journal"

    going_on = teach(_answer)
    done = _run(base)["done"]
    assert len(going_on.asked) == SEEDS - 2
    straight = _run(base, folder="straight")["done"]
    assert [r.id for r in _records(base, "verify")] == [r.id for r in _records(base, "verify", "straight")]
    assert done["answer"].attempts == 2 and straight["answer"].attempts == 1  # type: ignore[index]
    assert done["answer"].outputs == straight["answer"].outputs  # type: ignore[index]


def test_a_teacher_that_fails_half_of_the_time_costs_only_those_records(base: Path, teach: Teach) -> None:
    teach(
        lambda ask: (
            Failure("HTTP 500 after 7 tries") if "number 3" in ask.messages[-1].content else _answer(ask)
        )
    )
    done = _run(base)["done"]
    assert len(_records(base, "answer")) == SEEDS - 1
    (dropped,) = record_files.read_rejections(base / "run" / "answer" / "rejected.jsonl")
    assert "number 3" in dropped.record.instruction and "HTTP 500" in dropped.detail + dropped.reason
    assert done["answer"].metrics["failed_asks"] == 1  # type: ignore[index]


def test_one_stage_alone_needs_the_one_before(base: Path, teach: Teach) -> None:
    teach(_answer)
    with pytest.raises(NotFound, match="stage seed is not done yet"):
        _run(base, only="answer")
    _run(base, only="seed")
    _run(base, until="answer")
    assert (base / "run" / "answer" / "manifest.json").exists()
    assert not (base / "run" / "select").exists()
    with pytest.raises(Unprocessable, match="has no stage kd"):
        _run(base, only="kd")


def test_a_changed_recipe_is_refused(base: Path, teach: Teach) -> None:
    teach(_answer)
    _run(base, until="seed")
    with pytest.raises(Conflict, match=r"changed: answer\.max_tokens"):
        _run(base, text=TEXT + "answer: {max_tokens: 7}\n")


def test_the_dry_run_shows_what_would_be_asked_and_asks_nothing(base: Path, teach: Teach) -> None:
    teacher = teach(_answer)
    _run(base, until="seed")
    asks = pipeline.preview(
        recipe.parse(TEXT, "x"), base, base / "run", Settings(home=base / "home"), "answer"
    )
    assert len(asks) == SEEDS and not teacher.asked and not (base / "run" / "answer").exists()
    _run(base, until="answer")
    assert {ask.key for ask in asks} == {ask.key for ask in teacher.asked}


def test_a_missing_seed_file_is_named(base: Path, teach: Teach) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.jsonl"):
        _run(base, text=TEXT.replace("seeds.jsonl", "nowhere.jsonl"))
    with pytest.raises(NotFound, match="builtin:general"):
        _run(base, text=TEXT.replace("seeds.jsonl, format: alpaca", "'builtin:x'"), folder="other")


def test_the_report_counts_what_came_through(base: Path, teach: Teach) -> None:
    with pytest.raises(NotFound):
        data_report.write(base / "run")
    teach(lambda ask: Failure("timeout") if "number 3" in ask.messages[-1].content else _answer(ask))
    _run(base)
    page = data_report.write(base / "run").read_text(encoding="utf-8")
    figures = json.loads((base / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    assert figures["records"] == SEEDS - 1 and figures["rejected"] == 1
    assert "The number 2 follows 1" in page


def test_a_sweep_shares_what_does_not_depend_on_the_volume(
    base: Path, teach: Teach, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = teach(_answer)

    class Evaluate:
        @staticmethod
        def run(context: Context) -> None:
            count = len(context.records())
            context.stage.metrics |= {
                "kl_after": 1 / count,
                "cross_entropy_after": 2.0,
                "pass_at_1_after": None,
            }

    monkeypatch.setitem(pipeline._MODULES, "evaluate", "evaluate_stand_in")
    monkeypatch.setitem(__import__("sys").modules, "evaluate_stand_in", Evaluate)
    loaded = recipe.parse(TEXT.replace("verify]", "verify, evaluate]"), "x")
    rows = sweep.sweep(
        loaded,
        base,
        base / "sweep",
        Settings(home=base / "home"),
        ["a-1b", "b-1b"],
        [4, 2],
        say=lambda _: None,
    )
    assert [(row["teacher"], row["records"], row["kl_after"]) for row in rows] == [
        ("a-1b", 2, 0.5),
        ("a-1b", 4, 0.25),
        ("b-1b", 2, 0.5),
        ("b-1b", 4, 0.25),
    ]
    assert len(teacher.asked) == 2 * SEEDS
    assert (base / "sweep" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "held-out KL" in sweep.table(rows) and "Pass@1" not in sweep.table(rows)
    with pytest.raises(Unprocessable, match="needs the stage evaluate"):
        sweep.sweep(recipe.parse(TEXT, "x"), base, base / "s", Settings(), ["a"], [1], say=lambda _: None)
