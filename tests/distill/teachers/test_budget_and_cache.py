"""What was paid for is kept, whoever is killed; what may be spent is spent once, over all restarts."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from api_teacher_worker import asks, settings
from scripted_api import Answer, scripted_api

from distill.recipe import Budget, Price
from distill.teachers.base import Reply
from distill.teachers.budget import BudgetSpent, Usage
from distill.teachers.factory import open_teacher
from distill.teachers.response_cache import ResponseCache
from serve.errors import DistilsqlError, Unprocessable

COST = 10 * 1e-6 + 5 * 2e-6
"""Of one answer of the scripted server, at the worker's price."""


def test_a_cached_answer_is_not_asked_again_and_costs_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "run" / "replies.sqlite"
    with scripted_api(lambda request, before: Answer(f"re: {request.question}")) as api:
        for expected in (6, 6, 9):
            teacher = open_teacher(settings(f"{api.url}/v1"), cache=cache)
            answers = dict(teacher.generate(asks(expected)))
            teacher.close()
            assert len(api.requests) == expected
            assert {index: one.text for index, one in answers.items() if isinstance(one, Reply)} == {
                index: f"re: question {index}" for index in range(expected)
            }
    assert [isinstance(one, Reply) and one.cached for _, one in sorted(answers.items())] == [True] * 6 + [
        False
    ] * 3


def test_another_model_has_answers_of_its_own(tmp_path: Path) -> None:
    with scripted_api(lambda request, before: Answer(request.body["model"])) as api:
        texts = []
        for model in ("big", "small", "big"):
            one = settings(f"{api.url}/v1").model_copy(update={"model": model})
            teacher = open_teacher(one, cache=tmp_path / "replies.sqlite")
            texts += [reply.text for _, reply in teacher.generate(asks(1)) if isinstance(reply, Reply)]
            teacher.close()
    assert texts == ["big", "small", "big"]
    assert len(api.requests) == 2


def test_a_failure_is_not_cached(tmp_path: Path) -> None:
    with scripted_api(lambda request, before: Answer(status=400 if before == 0 else 200)) as api:
        for kind in ("Failure", "Reply"):
            teacher = open_teacher(settings(f"{api.url}/v1"), cache=tmp_path / "replies.sqlite")
            ((_, answer),) = teacher.generate(asks(1))
            teacher.close()
            assert type(answer).__name__ == kind


def test_the_budget_is_never_overrun_and_holds_over_restarts(tmp_path: Path) -> None:
    cache, told = tmp_path / "replies.sqlite", []
    with scripted_api(lambda request, before: Answer(wait_s=0.01)) as api:
        for _ in range(3):
            teacher = open_teacher(settings(f"{api.url}/v1", tokens=200), cache=cache)
            answers = []
            with pytest.raises(BudgetSpent) as error:
                for _, one in teacher.generate(asks(100)):
                    answers.append(one)
            teacher.close()
            told.append(str(error.value))
            assert all(isinstance(one, Reply) for one in answers)
    # 15 tokens an answer; the last question is not asked as it may take 20 and its own text.
    assert len(api.requests) == len(answers) == 12
    assert "180 of 200 tokens are spent" in told[-1] and "88 questions" in told[-1] and "budget" in told[-1]


def test_the_budget_in_dollars(tmp_path: Path) -> None:
    one = settings("http://127.0.0.1:9/v1").model_copy(
        update={"budget": Budget(usd=0.001), "price": Price(prompt=10.0, completion=30.0)}
    )
    with scripted_api(lambda request, before: Answer()) as api:
        one = one.model_copy(update={"base_url": f"{api.url}/v1"})
        teacher = open_teacher(one, cache=None)
        with pytest.raises(BudgetSpent, match=r"of \$0\.001 are spent"):
            list(teacher.generate(asks(100)))
        teacher.close()
    assert 0 < len(api.requests) * (10 * 10 + 5 * 30) * 1e-6 <= 0.001


def test_a_server_that_counts_no_tokens_is_charged_by_estimate(tmp_path: Path) -> None:
    with scripted_api(lambda request, before: Answer("a" * 300, usage=False)) as api:
        teacher = open_teacher(settings(f"{api.url}/v1"), cache=None)
        ((_, answer),) = teacher.generate(asks(1))
        teacher.close()
    assert isinstance(answer, Reply) and answer.completion_tokens == 100 and answer.prompt_tokens > 3


def test_nothing_is_lost_or_paid_twice_when_the_process_is_killed(tmp_path: Path) -> None:
    cache = tmp_path / "replies.sqlite"
    with scripted_api(lambda request, before: Answer(request.question, wait_s=0.005)) as api:
        seen: set[int] = set()
        for _ in range(3):
            worker = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).parents[2] / "api_teacher_worker.py"),
                    f"{api.url}/v1",
                    str(cache),
                ],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
                env={"PYTHONPATH": ".", "PATH": ""},
            )
            assert worker.stdout is not None
            for _ in range(len(seen) + 20):
                seen.add(int(worker.stdout.readline()))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            worker.stdout.close()
        asked = len(api.requests)
        kept = ResponseCache(cache, _only_teacher(cache))
        spent = kept.spent()
        for index in seen:
            reply = kept.get(asks(index + 1)[index].key)
            assert reply is not None and reply.text == f"question {index}"
        kept.close()
    with sqlite3.connect(cache) as db:
        (rows,) = db.execute("SELECT count(*) FROM reply").fetchone()
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    assert len(seen) >= 60 and spent.tokens == rows * 15 and spent.usd == pytest.approx(rows * COST)
    assert rows <= asked <= rows + 3 * 4, "each kill may lose what was under way, and no more"


def _only_teacher(cache: Path) -> str:
    with sqlite3.connect(cache) as db:
        ((teacher,),) = db.execute("SELECT teacher FROM spent").fetchall()
    db.close()
    return str(teacher)


def test_damage_another_version_and_a_full_disk_are_told(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"this is no database" * 100)
    with pytest.raises(DistilsqlError, match=r"damaged\.sqlite cannot be used"):
        ResponseCache(damaged, "t")
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(Unprocessable, match="another version"):
        ResponseCache(other, "t")
    full = ResponseCache(tmp_path / "full.sqlite", "t")
    full.add("a", Reply("kept"), Usage(1, 1), 0.0)
    full._db.execute("PRAGMA max_page_count = 6")
    with pytest.raises(DistilsqlError, match="full"):
        full.add("b", Reply("x" * 100_000), Usage(1, 1), 0.0)
    kept = full.get("a")
    assert kept is not None and kept.text == "kept" and kept.cached
    assert full.spent().tokens == 2, "what was not kept is not counted either"
    full.close()


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    one, other = (ResponseCache(tmp_path / "replies.sqlite", "t") for _ in range(2))
    one.add("a", Reply("x", 3, 4), Usage(3, 4), 0.5)
    other.add("b", None, Usage(1, 0), 0.25)
    assert one.spent() == other.spent() and one.spent().tokens == 8 and one.spent().usd == 0.75
    assert other.get("a") == Reply("x", 3, 4, cached=True) and one.get("b") is None
    one.close()
    other.close()
