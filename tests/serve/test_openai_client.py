"""OpenAI's own Python client, unmodified, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from http_helpers import LiveServer, app_with, serving

from serve.engines.fake import FakeEngine, Reply
from serve.settings import Settings

QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "user", "content": "How many authors?"}
]


@pytest.fixture
def engine() -> FakeEngine:
    def script(prompt: str) -> Reply:
        if "endless" in prompt:
            return Reply("id " * 5000, token_delay_s=0.01)
        return Reply("SELECT COUNT(*) FROM author")

    return FakeEngine(script, name="small")


@pytest.fixture
def live(tmp_path: Path, engine: FakeEngine) -> Iterator[LiveServer]:
    with serving(app_with(engine, Settings(home=tmp_path, api_keys=("k",)))) as server:
        yield server


@pytest.fixture
def client(live: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=0) as client:
        yield client


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "distilsql"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("large")


def test_completions(client: openai.OpenAI) -> None:
    completion = client.completions.create(
        model="small", prompt="--", suffix=";", max_tokens=50, logprobs=1, temperature=0, seed=1, user="me"
    )
    choice = completion.choices[0]
    assert choice.text == "SELECT COUNT(*) FROM author"
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    assert "".join(choice.logprobs.tokens or []) == choice.text
    assert completion.usage is not None
    assert completion.usage.completion_tokens == len(choice.logprobs.tokens or [])


def test_streamed_completions(client: openai.OpenAI) -> None:
    stream = client.completions.create(
        model="small", prompt="--", max_tokens=50, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks if c.choices) == "SELECT COUNT(*) FROM author"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens_details is not None


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small", messages=QUESTION, logprobs=True, top_logprobs=3, n=2, stop=["author"]
    )
    assert [choice.message.content for choice in answer.choices] == ["SELECT COUNT(*) FROM "] * 2
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert bytes(logprobs.content[0].bytes or []) == b"SELECT"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_streamed_chat(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="small", messages=QUESTION) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "SELECT COUNT(*) FROM author"
    assert final.choices[0].finish_reason == "stop"


def test_errors_are_the_clients_own_exceptions(client: openai.OpenAI, live: LiveServer) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(
            model="small", messages=QUESTION, response_format={"type": "json_object"}
        )
    assert bad.value.param == "response_format"
    stranger = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.APIStatusError) as large:
        client.completions.create(model="small", prompt="?" * 10_000, stream=True)
    assert large.value.status_code == 413


def test_closing_a_stream_ends_its_generation(
    client: openai.OpenAI, live: LiveServer, engine: FakeEngine
) -> None:
    stream = client.completions.create(model="small", prompt="endless", max_tokens=4000, stream=True)
    next(iter(stream))
    stream.close()
    live.wait_until(lambda: engine.cancelled == 1)


async def test_the_async_client_side_by_side(live: LiveServer) -> None:
    import asyncio

    async with openai.AsyncOpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=0) as client:
        asked = [client.completions.create(model="small", prompt="--", max_tokens=50) for _ in range(8)]
        answers = await asyncio.gather(*asked)
    assert {answer.choices[0].text for answer in answers} == {"SELECT COUNT(*) FROM author"}
