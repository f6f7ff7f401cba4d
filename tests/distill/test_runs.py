"""Run folders: nothing lost, nothing doubled, nothing mixed up, whenever a run is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill import recipe as recipes
from distill import runs
from distill.asking import Asking
from distill.records import Message
from distill.runs import Journal, RunFolder
from distill.teachers.base import Ask, Failure, Reply
from serve.errors import Conflict, DistilsqlError, NotFound, Unprocessable

TEXT = """
name: tiny
teacher: {kind: llamacpp, model: a-1b}
student: {model: b-0.5b}
"""


@pytest.fixture
def recipe() -> recipes.Recipe:
    return recipes.parse(TEXT, "tiny.yaml")


def test_a_stage_is_done_when_its_block_ended_well(tmp_path: Path, recipe: recipes.Recipe) -> None:
    with RunFolder(tmp_path / "run", recipe) as run:
        with pytest.raises(ValueError), run.running("seed", {}):
            raise ValueError("in the middle")
        assert run.manifest("seed") is None
        with run.running("seed", {"limit": 3}) as stage:
            stage.metrics["records"] = 7
            stage.prompt_tokens = 11
        manifest = run.manifest("seed")
    assert manifest is not None
    assert (manifest.attempts, manifest.metrics, manifest.prompt_tokens) == (2, {"records": 7}, 11)
    assert manifest.settings == {"limit": 3} and manifest.recipe == recipe.digest
    assert manifest.seed == runs.stage_seed(17, "seed") != runs.stage_seed(17, "expand")
    assert "python" in manifest.versions and manifest.wall_s > 0


def test_a_folder_of_another_recipe_is_refused_naming_what_changed(
    tmp_path: Path, recipe: recipes.Recipe
) -> None:
    RunFolder(tmp_path / "run", recipe).close()
    other = recipes.parse(TEXT + "seed: 18\nexpand: {per_seed: 2}\n", "other.yaml")
    with pytest.raises(Conflict, match=r"changed: expand\.per_seed, seed"):
        RunFolder(tmp_path / "run", other)
    assert runs.stored_recipe(tmp_path / "run") == recipe
    with pytest.raises(NotFound):
        runs.stored_recipe(tmp_path)


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path, recipe: recipes.Recipe) -> None:
    with RunFolder(tmp_path / "run", recipe), pytest.raises(Conflict, match="another process works in"):
        RunFolder(tmp_path / "run", recipe)
    RunFolder(tmp_path / "run", recipe).close()


def test_a_full_disk_is_told_and_keeps_what_is_there(tmp_path: Path, recipe: recipes.Recipe) -> None:
    with RunFolder(tmp_path / "run", recipe) as run:
        told = "No space left on device; what was finished is kept"
        with pytest.raises(DistilsqlError, match=told), run.running("seed", {}):
            raise OSError(28, "No space left on device")
        assert run.manifest("seed") is None


def test_a_journal_gives_back_what_was_added(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.add("a", {"text": "é\n\ud800"})
        journal.add("b", {"n": 1})
        journal.add("a", {"text": "second"})
        assert len(journal) == 2 and "a" in journal and "c" not in journal
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.get("a") == {"text": "é\n\ud800"}
        assert list(journal.values()) == [{"text": "é\n\ud800"}, {"n": 1}]


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_torn_last_line_is_dropped_and_written_anew(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.add("a", {"n": 1})
        journal.add("b", {"n": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path) as journal:
        assert journal.get("a") == {"n": 1} and "b" not in journal
        journal.add("b", {"n": 3})
    with Journal(path) as journal:
        assert [one["n"] for one in journal.values()] == [1, 3]


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"key": "a", "value": {}}\nnonsense\n{"key": "b", "value": {}}\n')
    with pytest.raises(Unprocessable, match="line 2 is damaged"):
        Journal(path)


def test_a_killed_writer_loses_no_whole_line_and_doubles_none(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    code = (
        "import itertools, sys\nfrom pathlib import Path\nfrom distill.runs import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\nprint('ready', flush=True)\n"
        "for n in itertools.count(len(journal)): journal.add(str(n), {'n': n, 'text': 'x' * 200})\n"
    )
    counts = []
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
            time.sleep(0.15)
            os.kill(writer.pid, signal.SIGKILL)
        with Journal(path) as journal:
            counts.append(len(journal))
            assert [one["n"] for one in journal.values()] == list(range(len(journal)))
    assert 0 < counts[0] < counts[1] < counts[2]


class _Teacher:
    name = "scripted"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, asks):  # type: ignore[no-untyped-def]
        for index in reversed(range(len(asks))):
            text = asks[index].messages[0].content
            self.asked.append(text)
            yield index, Failure("HTTP 500") if text == "fails" else Reply(text.upper(), 2, 3, cost_usd=0.5)

    def close(self) -> None: ...


def _ask(text: str) -> Ask:
    return Ask(messages=(Message(role="user", content=text),))


def test_what_is_in_the_journal_is_not_asked_again_but_counted(tmp_path: Path) -> None:
    teacher = _Teacher()
    with Journal(tmp_path / "j.jsonl") as journal:
        first = Asking(teacher, journal).ask([_ask("a"), _ask("fails")])
    assert sorted(type(one).__name__ for one in first.values()) == ["Failure", "Reply"]
    with Journal(tmp_path / "j.jsonl") as journal:
        asking = Asking(teacher, journal)
        answers = asking.ask([_ask("a"), _ask("fails"), _ask("b"), _ask("b")])
    assert teacher.asked == ["fails", "a", "b", "fails"]
    assert answers[_ask("b").key] == Reply("B", 2, 3, cost_usd=0.5)
    assert (asking.prompt_tokens, asking.completion_tokens, asking.cost_usd) == (4, 6, 1.0)
    assert asking.failures == 1


def test_the_key_of_a_question_is_all_that_decides_its_answer() -> None:
    assert _ask("a").key == _ask("a").key != _ask("b").key
    assert Ask(prefix="a", suffix="b").key != Ask(prefix="ab").key
    assert Ask(messages=_ask("a").messages, salt="2").key != _ask("a").key
