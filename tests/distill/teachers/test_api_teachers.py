"""Teachers behind an API, through the vendors' own SDKs and a real server that often misbehaves."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import pytest
from http_helpers import app_with, serving
from scripted_api import Answer, Request, scripted_api

from distill.recipe import Teacher
from distill.records import Message
from distill.teachers import pacing
from distill.teachers.base import Ask, Failure, Generator, Reply, Sampling
from distill.teachers.factory import open_scorer, open_teacher
from serve.engines.fake import FakeEngine
from serve.engines.fake import Reply as Engines
from serve.errors import DistilsqlError, Forbidden, NotFound, Unauthorized, Unavailable, Unprocessable
from serve.settings import Settings

Kind = Literal["openai", "anthropic"]
BOTH = pytest.mark.parametrize("kind", ["openai", "anthropic"])


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(pacing, "_LONGEST_BACKOFF_S", 0.02)


def _open(kind: Kind, url: str, **changes: Any) -> Generator:
    base_url = f"{url}/v1" if kind == "openai" else url
    return open_teacher(Teacher(kind=kind, model="big", base_url=base_url, **changes), cache=None)


def _ask(text: str, **sampling: Any) -> Ask:
    return Ask(messages=(Message(role="user", content=text),), sampling=Sampling(**sampling))


def _all(teacher: Generator, asks: list[Ask]) -> list[Reply | Failure]:
    try:
        answers = dict(teacher.generate(asks))
    finally:
        teacher.close()
    assert sorted(answers) == list(range(len(asks)))
    return [answers[index] for index in range(len(asks))]


def _one(teacher: Generator, ask: Ask) -> Reply | Failure:
    return _all(teacher, [ask])[0]


TROUBLES = [
    Answer(status=500),
    Answer(status=429, headers={"retry-after": "0.01"}),
    Answer(body="<html>502 Bad Gateway</html>"),
    Answer(body='{"unfinished": '),
    Answer(body='{"error": {"message": "overloaded"}}'),
    Answer(body="null"),
    Answer(body="[1, 2]"),
    Answer(drop=True),
    Answer(text=""),
    Answer(status=529),
]


@BOTH
def test_every_question_gets_its_own_answer_from_a_server_that_fails_half_of_the_time(kind: Kind) -> None:
    def script(request: Request, before: int) -> Answer:
        number = int(request.question.split()[-1])
        if before < number % 3:
            return TROUBLES[(number + before) % len(TROUBLES)]
        return Answer(f"answer {number}")

    with scripted_api(script) as api:
        answers = _all(_open(kind, api.url), [_ask(f"question {number}") for number in range(40)])
    assert [one.text for one in answers if isinstance(one, Reply)] == [f"answer {n}" for n in range(40)]
    assert len(api.requests) == sum(1 + number % 3 for number in range(40))


@BOTH
def test_a_question_that_always_fails_is_a_failure_and_the_others_are_answered(kind: Kind) -> None:
    def script(request: Request, before: int) -> Answer:
        return Answer(status=500) if "bad" in request.question else Answer("fine")

    with scripted_api(script) as api:
        answers = _all(_open(kind, api.url, max_retries=2), [_ask("good"), _ask("bad"), _ask("good too")])
    assert answers[1] == Failure("HTTP 500 after 3 tries")
    assert [getattr(answers[at], "text", None) for at in (0, 2)] == ["fine", "fine"]


@BOTH
def test_a_server_that_hangs_costs_the_time_limit_and_no_more(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer(wait_s=20)) as api:
        began = monotonic()
        answer = _one(_open(kind, api.url, timeout_s=0.2, max_retries=1), _ask("hello?"))
        assert monotonic() - began < 3
    assert answer == Failure("no answer in 0.2 s after 2 tries")


@BOTH
@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (403, Forbidden), (404, NotFound)])
def test_a_wrong_key_or_model_stops_at_once_and_the_key_is_not_shown(
    kind: Kind, status: int, error: type[DistilsqlError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-value")
    with scripted_api(lambda request, before: Answer("no", status=status)) as api:
        teacher = _open(kind, api.url, api_key_env="MY_KEY", concurrency=2)
        with pytest.raises(error, match=r"MY_KEY|big") as told:
            _all(teacher, [_ask(f"question {number}") for number in range(50)])
    assert "sk-secret" not in str(told.value) + teacher.name
    assert len(api.requests) <= 3


@BOTH
def test_a_server_that_answers_nothing_but_garbage_is_given_up(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer(body="garbage")) as api:
        teacher = _open(kind, api.url, max_retries=1, concurrency=2)
        with pytest.raises(Unavailable, match=r"the last \d+ questions all failed.*not JSON|without"):
            _all(teacher, [_ask(f"question {number}") for number in range(200)])
    assert len(api.requests) < 30


def test_nothing_listens_there() -> None:
    answer = _one(_open("openai", "http://127.0.0.1:9", max_retries=1), _ask("anyone?"))
    assert isinstance(answer, Failure) and "no connection" in answer.reason


def test_an_empty_answer_is_asked_again_and_what_it_cost_is_counted() -> None:
    script = lambda request, before: Answer("" if before == 0 else "at last")  # noqa: E731
    with scripted_api(script) as api:
        teacher = _open("openai", api.url, price={"prompt": 1.0, "completion": 10.0})
        answer = _one(teacher, _ask("well?"))
    assert isinstance(answer, Reply) and answer.text == "at last"
    assert answer.cost_usd == pytest.approx(2 * (10 * 1.0 + 5 * 10.0) / 1e6)


@BOTH
def test_what_is_refused_is_not_asked_again(kind: Kind) -> None:
    finish = "content_filter" if kind == "openai" else "refusal"
    with scripted_api(lambda request, before: Answer(finish=finish)) as api:
        answer = _one(_open(kind, api.url), _ask("do a bad thing"))
    assert answer == Failure("content filter" if kind == "openai" else "refusal")
    assert len(api.requests) == 1


@BOTH
def test_a_bad_request_is_that_questions_trouble_alone(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer("context too long", status=400)) as api:
        answer = _one(_open(kind, api.url), _ask("long"))
    assert isinstance(answer, Failure) and "HTTP 400" in answer.reason and "context too long" in answer.reason
    assert len(api.requests) == 1


@BOTH
def test_sampling_reaches_the_wire(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer("one END two", finish="length")) as api:
        ask = Ask(
            messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hi")),
            sampling=Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("END", "\n\n")),
        )
        answer = _one(_open(kind, api.url), ask)
    assert answer == Reply("one ", prompt_tokens=10, completion_tokens=5)
    body = api.requests[0].body
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("big", 7, 0.5, 0.9)
    if kind == "openai":
        assert body["stop"] == ["END", "\n\n"] and isinstance(body["seed"], int)
        assert [one["role"] for one in body["messages"]] == ["system", "user"]
    else:
        assert body["stop_sequences"] == ["END"] and body["system"] == "Be brief."
        assert [one["role"] for one in body["messages"]] == ["user"]


@BOTH
def test_an_answer_that_ran_into_its_limit_says_so(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer("and so", finish="length")) as api:
        answer = _one(_open(kind, api.url), _ask("tell"))
    assert isinstance(answer, Reply) and answer.truncated


def test_draws_of_one_question_have_seeds_of_their_own() -> None:
    with scripted_api(lambda request, before: Answer()) as api:
        asks = [
            Ask((Message(role="user", content="a"),), sampling=Sampling(seed=1), salt=salt) for salt in "xyx"
        ]
        _all(_open("openai", api.url, concurrency=1), asks)
    seeds = [request.body["seed"] for request in api.requests]
    assert seeds[0] != seeds[1] and seeds[0] == seeds[2]


def test_a_gap_is_filled_through_completions_and_may_be_empty() -> None:
    with scripted_api(lambda request, before: Answer("")) as api:
        ask = Ask(prefix="SELECT ", suffix=" FROM t", sampling=Sampling(max_tokens=9))
        answer = _one(_open("openai", api.url), ask)
    assert isinstance(answer, Reply) and answer.text == ""
    (request,) = api.requests
    assert request.path == "/v1/completions"
    assert (request.body["prompt"], request.body["suffix"]) == ("SELECT ", " FROM t")


def test_anthropic_cannot_fill_a_gap_and_says_so() -> None:
    teacher = _open("anthropic", "http://127.0.0.1:9")
    with pytest.raises(Unprocessable, match="cannot fill a gap"):
        _one(teacher, Ask(prefix="a", suffix="b"))


def test_the_limit_goes_under_its_other_name_where_the_server_wants_that() -> None:
    def script(request: Request, before: int) -> Answer:
        if "max_tokens" in request.body:
            return Answer("'max_tokens' is not supported, use 'max_completion_tokens'", status=400)
        return Answer("thought")

    with scripted_api(script) as api:
        answers = _all(_open("openai", api.url, concurrency=1), [_ask("a"), _ask("b")])
    assert [getattr(one, "text", None) for one in answers] == ["thought", "thought"]
    assert len(api.requests) == 3


@BOTH
def test_a_model_that_takes_no_temperature_is_asked_without(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    def script(request: Request, before: int) -> Answer:
        return (
            Answer("temperature: unsupported", status=400) if "temperature" in request.body else Answer("ok")
        )

    with scripted_api(script) as api:
        answers = _all(_open(kind, api.url, concurrency=1), [_ask("a", temperature=0.7), _ask("b")])
    assert [getattr(one, "text", None) for one in answers] == ["ok", "ok"]
    assert len(api.requests) == 3
    assert [record.message for record in caplog.records if "no temperature" in record.message]


@BOTH
def test_nothing_is_sent_while_the_rate_limit_leaves_no_room(kind: Kind) -> None:
    def script(request: Request, before: int) -> Answer:
        if kind == "openai":
            return Answer(
                headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
            )
        reset = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
        headers = {"anthropic-ratelimit-tokens-remaining": "3", "anthropic-ratelimit-tokens-reset": reset}
        return Answer(headers=headers)

    with scripted_api(script) as api:
        _all(_open(kind, api.url, concurrency=1), [_ask("a"), _ask("b")])
    assert api.requests[1].at - api.requests[0].at > 0.25


def test_retry_after_holds_everybody_back() -> None:
    def script(request: Request, before: int) -> Answer:
        if request.question == "a" and before == 0:
            return Answer(status=429, headers={"retry-after": "0.4"})
        return Answer(wait_s=0.05)

    with scripted_api(script) as api:
        _all(_open("openai", api.url, concurrency=1), [_ask("a"), _ask("b")])
        waited = api.requests[1].at - api.requests[0].at
    assert 0.38 < waited < 1.5


def test_a_very_long_retry_after_ends_the_run() -> None:
    limited = scripted_api(lambda request, before: Answer(status=429, headers={"retry-after": "7200"}))
    with limited as api, pytest.raises(Unavailable, match="come back in 7200 s"):
        _one(_open("openai", api.url), _ask("a"))


def test_no_credit_ends_the_run() -> None:
    broke = scripted_api(lambda request, before: Answer("insufficient_quota: pay", status=429))
    with broke as api, pytest.raises(DistilsqlError, match="no credit"):
        _one(_open("openai", api.url), _ask("a"))
    assert len(api.requests) == 1


@BOTH
def test_as_many_questions_are_under_way_as_allowed(kind: Kind) -> None:
    with scripted_api(lambda request, before: Answer(wait_s=0.03)) as api:
        _all(_open(kind, api.url, concurrency=5), [_ask(f"question {number}") for number in range(25)])
    assert api.most_running == 5


def test_who_stops_iterating_stops_the_work() -> None:
    with scripted_api(lambda request, before: Answer()) as api:
        teacher = _open("openai", api.url, concurrency=2)
        answers = teacher.generate([_ask(f"question {number}") for number in range(100)])
        next(iter(answers))
        del answers
        teacher.close()
        teacher.close()
    assert len(api.requests) <= 4


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Unauthorized, match="OPENAI_API_KEY"):
        open_teacher(Teacher(kind="openai", model="big"), cache=None)
    with pytest.raises(Unauthorized, match="OTHER_KEY"):
        open_teacher(Teacher(kind="anthropic", model="big", api_key_env="OTHER_KEY"), cache=None)


def test_the_vendors_key_goes_to_the_vendor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-vendor")
    with scripted_api(lambda request, before: Answer()) as api:
        _one(_open("openai", api.url), _ask("a"))
    assert "sk-of-the-vendor" not in str(api.requests[0].headers)


def test_an_api_cannot_score() -> None:
    with pytest.raises(Unprocessable, match="name a `scorer`"):
        open_scorer(Teacher(kind="openai", model="big"))


def test_half_a_character_does_not_break_the_files() -> None:
    body = '{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    with scripted_api(lambda request, before: Answer(body=body)) as api:
        answer = _one(_open("openai", api.url), _ask("a"))
    assert isinstance(answer, Reply) and answer.text.encode() == b"a?b"


def test_a_sdk_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "distill.teachers.anthropic_api", raising=False)
    monkeypatch.setitem(sys.modules, "anthropic", None)
    with pytest.raises(Unavailable, match=r"needs the package anthropic.*distilsql\[train\]"):
        open_teacher(Teacher(kind="anthropic", model="big", base_url="http://127.0.0.1:9"), cache=None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("1h2m", 3720), ("7", 7), ("soon", None)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert pacing.duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_dates() -> None:
    assert pacing.until("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert pacing.until("2015-10-21T07:28:00Z") == 0
    assert pacing.until("tomorrow") is None
    assert pacing.retry_after({"retry-after": "nonsense"}) is None


def test_nothing_is_logged_by_the_sdks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), scripted_api(lambda request, before: Answer()) as api:
        _one(_open("openai", api.url), _ask("a"))
    assert not caplog.records


def test_our_own_server_is_a_teacher(tmp_path: Path) -> None:
    engine = FakeEngine(lambda prompt: Engines("name" if "<|fim" in prompt else "forty-two"), name="big")
    with serving(app_with(engine, Settings(home=tmp_path))) as server:
        answers = _all(_open("openai", server.url), [_ask("What?"), Ask(prefix="SELECT ", suffix=" FROM t")])
    assert [getattr(one, "text", None) for one in answers] == ["forty-two", "name"]
    assert all(isinstance(one, Reply) and one.prompt_tokens and one.completion_tokens for one in answers)
