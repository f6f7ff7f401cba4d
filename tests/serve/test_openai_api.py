"""The OpenAI-compatible routes, by what they send and by what the engine is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_helpers import app_with, client_of, events_of

from serve.engines.fake import FakeEngine, Reply
from serve.settings import Settings


async def _post(settings: Settings, engine: FakeEngine, path: str, **body: Any) -> Any:
    async with client_of(app_with(engine, settings)) as client:
        answer = await client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer


async def test_a_suffix_makes_a_fill_in_the_middle_prompt(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: " id FROM")
    answer = await _post(
        settings, engine, "/v1/completions", prompt="SELECT", suffix=" author", temperature=0
    )
    assert engine.prompts == ["<|fim_prefix|>SELECT<|fim_suffix|> author<|fim_middle|>"]
    assert engine.requests[0].stop_ids
    assert answer.json()["choices"][0]["text"] == " id FROM"


async def test_typed_markers_stay_text(settings: Settings) -> None:
    engine = FakeEngine()
    await _post(settings, engine, "/v1/completions", prompt="<|fim_middle|>", suffix="<|endoftext|>")
    specials = [token for token in engine.requests[0].prompt if not engine.token_bytes()[token]]
    assert len(specials) == 3


async def test_prompts_may_be_a_list_or_token_ids(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: f"<{prompt}>")
    ids = engine.tokenize("SELECT id")
    for prompt, expected in [
        (["a", "b"], ["<a>", "<b>"]),
        (ids, ["<SELECT id>"]),
        ([ids, [ids[0]]], ["<SELECT id>", "<SELECT>"]),
    ]:
        answer = await _post(settings, FakeEngine(engine.script), "/v1/completions", prompt=prompt)
        assert [choice["text"] for choice in answer.json()["choices"]] == expected
        assert [choice["index"] for choice in answer.json()["choices"]] == list(range(len(expected)))


async def test_token_ids_out_of_the_vocabulary_are_refused(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        answer = await client.post("/v1/completions", json={"prompt": [10**6]})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"


async def test_completion_logprobs_are_parallel_lists(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "SELECT id")
    answer = await _post(settings, engine, "/v1/completions", prompt="x", logprobs=2)
    logprobs = answer.json()["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["SELECT", " id"]
    assert logprobs["token_logprobs"] == [-0.1, -0.1]
    assert logprobs["text_offset"] == [0, 6]
    assert logprobs["top_logprobs"][0] == {"SELECT": -0.1}
    assert engine.requests[0].top_logprobs == 2
    streamed = await _post(
        settings, FakeEngine(engine.script), "/v1/completions", prompt="x", logprobs=0, stream=True
    )
    chunks = [json.loads(data) for _, data in events_of(streamed.text)[:-1]]
    offsets = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks[:2]]
    assert offsets == [[0], [6]]


async def test_choices_differ_by_seed_and_the_prompt_counts_once(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "id")
    answer = await _post(
        settings, engine, "/v1/completions", prompt="SELECT", n=3, seed=7, stop="x", top_p=0.5
    )
    assert [request.seed for request in engine.requests] == [7, 8, 9]
    assert {(request.stop, request.top_p) for request in engine.requests} == {(("x",), 0.5)}
    usage = answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1, 3, 4)


async def test_finish_reasons(settings: Settings) -> None:
    def script(prompt: str) -> str:
        return "SELECT id FROM author"

    for body, expected in [
        ({"max_tokens": 2}, ("SELECT id", "length")),
        ({"stop": [" FROM"]}, ("SELECT id", "stop")),
        ({}, ("SELECT id FROM author", "stop")),
    ]:
        answer = await _post(settings, FakeEngine(script), "/v1/completions", prompt="x", **body)
        choice = answer.json()["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == expected


async def test_echo_gives_the_prompt_back(settings: Settings) -> None:
    for stream in (False, True):
        engine = FakeEngine(lambda prompt: " id")
        answer = await _post(settings, engine, "/v1/completions", prompt="SELECT", echo=True, stream=stream)
        if stream:
            chunks = [json.loads(data) for _, data in events_of(answer.text)[:-1]]
            assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "SELECT id"
        else:
            assert answer.json()["choices"][0]["text"] == "SELECT id"


async def test_a_chat_becomes_chatml(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "hello")
    answer = await _post(
        settings,
        engine,
        "/v1/chat/completions",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "refusal": None, "tool_calls": None},
            {"role": "user", "content": "c"},
        ],
        max_completion_tokens=9,
        user="someone",
        metadata={"a": "b"},
    )
    assert engine.prompts == [
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nab<|im_end|>\n"
        "<|im_start|>assistant\n<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    ]
    assert engine.requests[0].max_tokens == 9
    choice = answer.json()["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "hello", "refusal": None}
    assert choice["finish_reason"] == "stop"


async def test_a_chat_stream_starts_with_the_role_and_ends_with_usage(settings: Settings) -> None:
    engine = FakeEngine(lambda prompt: "SELECT id")
    answer = await _post(
        settings,
        engine,
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "x"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = [data for _, data in events_of(answer.text)]
    assert done == "[DONE]"
    *parts, usage = [json.loads(chunk) for chunk in chunks]
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "SELECT"}, {"content": " id"}, {}]
    assert [part["choices"][0]["finish_reason"] for part in parts] == [None, None, None, "stop"]
    assert len({part["id"] for part in parts}) == 1
    assert all(part["usage"] is None for part in parts)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2


async def test_several_streamed_choices_come_side_by_side(settings: Settings) -> None:
    texts = iter(["SELECT id", "COUNT name id"])
    engine = FakeEngine(lambda prompt: Reply(next(texts), token_delay_s=0.001))
    answer = await _post(settings, engine, "/v1/completions", prompt="x", n=2, stream=True)
    got = {0: "", 1: ""}
    for _, data in events_of(answer.text)[:-1]:
        for choice in json.loads(data)["choices"]:
            got[choice["index"]] += choice["text"]
    assert got == {0: "SELECT id", 1: "COUNT name id"}


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0"),
        ({"messages": []}, "messages"),
    ],
)
async def test_what_would_change_the_answer_is_refused_by_name(
    settings: Settings, extra: dict[str, Any], param: str
) -> None:
    async with client_of(app_with(FakeEngine(), settings)) as client:
        body = {"messages": [{"role": "user", "content": "x"}], **extra}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_an_unknown_model_is_not_found(settings: Settings) -> None:
    async with client_of(app_with(FakeEngine(name="small"), settings)) as client:
        assert [card["id"] for card in (await client.get("/v1/models")).json()["data"]] == ["small"]
        assert (await client.get("/v1/models/small")).json()["object"] == "model"
        answer = await client.get("/v1/models/large")
    assert answer.status_code == 404
    assert "small" in answer.json()["error"]["message"]


async def test_a_failure_in_mid_stream_is_an_event_and_frees_the_other_choices(settings: Settings) -> None:
    replies = iter([Reply("SELECT id", error=ValueError("secret")), Reply("id " * 500, token_delay_s=0.01)])
    engine = FakeEngine(lambda prompt: next(replies))
    async with client_of(app_with(engine, settings)) as client:
        answer = await client.post("/v1/completions", json={"prompt": "x", "n": 2, "stream": True})
    event, data = events_of(answer.text)[-1]
    assert event == "error"
    assert json.loads(data)["error"]["type"] == "internal_error"
    assert "secret" not in answer.text
    assert engine.status.running == 0
