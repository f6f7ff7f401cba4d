"""The OpenAI-compatible routes: models, completions (with fill-in-the-middle), chat completions."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from serve import openai_types as api
from serve import prompt_format
from serve.engines.base import Engine, GenerateRequest, Token
from serve.errors import InvalidRequest, NotFound, TooLarge
from serve.generation import Collected, Generations
from serve.metrics import Metrics
from serve.openapi import api_errors, or_stream
from serve.registry import ModelRegistry
from serve.responses import EventStream, sse

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])

_STARTED = int(time.time())
_DEFAULT_COMPLETION_TOKENS = 16
_DEFAULT_CHAT_TOKENS = 1024
_MOST_CHOICES = 64
_DONE = sse("[DONE]")


@router.get("/models", responses=api_errors())
async def models(request: Request) -> api.ModelList:
    """The models that can be asked for."""
    registry: ModelRegistry = request.app.state.registry
    return api.ModelList(data=[api.ModelCard(id=name, created=_STARTED) for name in registry.names()])


@router.get("/models/{model}", responses=api_errors())
async def model(request: Request, model: str) -> api.ModelCard:
    """One of them."""
    registry: ModelRegistry = request.app.state.registry
    names = registry.names()
    if model not in names:
        raise NotFound(f"there is no model {model} here; there are: {', '.join(names)}", param="model")
    return api.ModelCard(id=model, created=_STARTED)


@router.post(
    "/completions",
    response_model=api.Completion,
    responses=or_stream(api_errors(429)),
    operation_id="complete",
)
async def completions(request: Request, body: api.CompletionRequest) -> api.Completion | Response:
    """Continue a text, or fill the gap before `suffix`."""
    if body.echo and (body.logprobs is not None or body.suffix is not None):
        raise InvalidRequest("echo is not supported together with logprobs or suffix", param="echo")
    if len(body.prompts()) * (body.n or 1) > _MOST_CHOICES:
        raise InvalidRequest(f"at most {_MOST_CHOICES} choices in one request (prompts times n)", param="n")
    if body.stream:
        return EventStream(_stream_completions(request, body))
    async with _engine(request, body.model) as engine:
        # In a thread: a text of megabytes takes a while to tokenize before it is refused.
        requests = await asyncio.to_thread(_completion_requests, engine, body)
        async with Generations(engine, requests) as running:
            collected = await running.collect()
            answer = _new_completion(engine)
            for index, choice in enumerate(collected):
                answer.choices.append(
                    api.CompletionChoice(
                        index=index,
                        text=_echo(engine, body, index) + choice.text,
                        logprobs=_completion_logprobs(engine, body.logprobs, choice.tokens),
                        finish_reason=running.ended_because(index),
                    )
                )
            answer.usage = _usage(running, body.n or 1)
            return answer


async def _stream_completions(request: Request, body: api.CompletionRequest) -> AsyncGenerator[bytes, None]:
    async with _engine(request, body.model) as engine:
        # In a thread: a text of megabytes takes a while to tokenize before it is refused.
        requests = await asyncio.to_thread(_completion_requests, engine, body)
        async with Generations(engine, requests) as running:
            chunk = _new_completion(engine)
            offsets = [0] * len(running.running)
            if body.echo:
                for index in range(len(running.running)):
                    chunk.choices = [api.CompletionChoice(index=index, text=_echo(engine, body, index))]
                    yield _chunk(chunk, body)
            async with aclosing(running.merged()) as tokens:
                async for index, token in tokens:
                    choice = api.CompletionChoice(index=index, text=token.text if token else "")
                    if token is None:
                        choice.finish_reason = running.ended_because(index)
                    elif body.logprobs is not None:
                        choice.logprobs = _completion_logprobs(
                            engine, body.logprobs, [token], start=offsets[index]
                        )
                    elif not token.text:
                        continue
                    offsets[index] += len(choice.text)
                    chunk.choices = [choice]
                    yield _chunk(chunk, body)
            if body.include_usage:
                chunk.choices, chunk.usage = [], _usage(running, body.n or 1)
                yield _chunk(chunk, body)
            yield _DONE


@router.post(
    "/chat/completions",
    response_model=api.ChatCompletion,
    responses=or_stream(api_errors(429)),
    operation_id="chat",
)
async def chat_completions(request: Request, body: api.ChatRequest) -> api.ChatCompletion | Response:
    """Answer the last message of a conversation."""
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
    if body.stream:
        return EventStream(_stream_chat(request, body))
    async with (
        _engine(request, body.model) as engine,
        Generations(engine, await asyncio.to_thread(_chat_requests, engine, body)) as running,
    ):
        collected = await running.collect()
        return api.ChatCompletion(
            id=_new_id("chatcmpl"),
            created=int(time.time()),
            model=engine.info.name,
            choices=[
                api.ChatChoice(
                    index=index,
                    message=api.ChatAnswer(content=choice.text),
                    logprobs=_chat_logprobs(engine, choice) if body.logprobs else None,
                    finish_reason=running.ended_because(index),
                )
                for index, choice in enumerate(collected)
            ],
            usage=_usage(running, body.n or 1),
        )


async def _stream_chat(request: Request, body: api.ChatRequest) -> AsyncGenerator[bytes, None]:
    async with (
        _engine(request, body.model) as engine,
        Generations(engine, await asyncio.to_thread(_chat_requests, engine, body)) as running,
    ):
        chunk = api.ChatChunk(
            id=_new_id("chatcmpl"), created=int(time.time()), model=engine.info.name, choices=[]
        )
        for index in range(len(running.running)):
            first = api.Delta(role="assistant", content="")
            chunk.choices = [api.ChatChunkChoice(index=index, delta=first)]
            yield _chunk(chunk, body)
        async with aclosing(running.merged()) as tokens:
            async for index, token in tokens:
                choice = api.ChatChunkChoice(index=index, delta=api.Delta())
                if token is None:
                    choice.finish_reason = running.ended_because(index)
                elif token.text or body.logprobs:
                    choice.delta = api.Delta(content=token.text)
                    if body.logprobs:
                        choice.logprobs = _chat_logprobs(engine, Collected([token]))
                else:
                    continue
                chunk.choices = [choice]
                yield _chunk(chunk, body)
        if body.include_usage:
            chunk.choices, chunk.usage = [], _usage(running, body.n or 1)
            yield _chunk(chunk, body)
        yield _DONE


@asynccontextmanager
async def _engine(request: Request, name: str | None) -> AsyncIterator[Engine]:
    """The model asked for, measured and kept in memory for the length of the block."""
    registry: ModelRegistry = request.app.state.registry
    metrics: Metrics = request.app.state.metrics
    async with registry.lease(name) as engine:
        yield metrics.observe(engine)


def _new_id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def _new_completion(engine: Engine) -> api.Completion:
    return api.Completion(id=_new_id("cmpl"), created=int(time.time()), model=engine.info.name, choices=[])


def _chunk(chunk: BaseModel, body: api.CompletionRequest | api.ChatRequest) -> bytes:
    data = chunk.model_dump(mode="json", exclude=None if body.include_usage else {"usage"})
    for choice in data["choices"]:
        if "delta" in choice:  # A delta holds what is new and nothing else.
            choice["delta"] = {key: value for key, value in choice["delta"].items() if value is not None}
    return sse(_json(data))


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _completion_prompt(engine: Engine, prompt: str | list[int], suffix: str | None) -> list[int]:
    if isinstance(prompt, str):
        ids = engine.tokenize(prompt)
    else:
        ids = prompt
        if max(ids) >= engine.info.vocabulary_size:
            raise InvalidRequest(
                f"token ids end at {engine.info.vocabulary_size - 1} in {engine.info.name}", param="prompt"
            )
    try:
        if suffix is not None:
            return prompt_format.fim_prompt(engine, ids, engine.tokenize(suffix))
        return ids or [prompt_format.marker_id(engine, "<|endoftext|>")]
    except ValueError as error:
        raise InvalidRequest(str(error), param="suffix") from None


def _completion_requests(engine: Engine, body: api.CompletionRequest) -> list[GenerateRequest]:
    prompts = [_completion_prompt(engine, prompt, body.suffix) for prompt in body.prompts()]
    stop_ids = prompt_format.fim_stop_ids(engine) if body.suffix is not None else frozenset()
    return [
        GenerateRequest(
            prompt=prompt,
            max_tokens=body.max_tokens or _DEFAULT_COMPLETION_TOKENS,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=body.top_p or 1.0,
            seed=_seed(body.seed, index),
            stop=body.stops,
            stop_ids=stop_ids,
            top_logprobs=body.logprobs or 0,
        )
        for prompt in prompts
        for index in range(body.n or 1)
    ]


def _chat_requests(engine: Engine, body: api.ChatRequest) -> list[GenerateRequest]:
    turns = [
        prompt_format.ChatMessage("system" if m.role == "developer" else m.role, m.text)
        for m in body.messages
    ]
    try:
        prompt = prompt_format.chat_prompt(engine, turns)
        stop_ids = prompt_format.chat_stop_ids(engine)
    except ValueError as error:
        raise InvalidRequest(str(error), param="model") from None
    room = engine.info.context_length - len(prompt)
    if room < 1:
        raise TooLarge(
            f"the messages have {len(prompt)} tokens; the context holds {engine.info.context_length}, "
            "the answer included",
            param="messages",
        )
    max_tokens = body.max_completion_tokens or body.max_tokens or min(_DEFAULT_CHAT_TOKENS, room)
    return [
        GenerateRequest(
            prompt=prompt,
            max_tokens=max_tokens,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=body.top_p or 1.0,
            seed=_seed(body.seed, index),
            stop=body.stops,
            stop_ids=stop_ids,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else 0,
        )
        for index in range(body.n or 1)
    ]


def _seed(seed: int | None, index: int) -> int | None:
    """Each choice its own; engines take 32 bits."""
    return None if seed is None else (seed + index) % 2**32


def _echo(engine: Engine, body: api.CompletionRequest, index: int) -> str:
    """The prompt that the choice at `index` continues, where the request wants it back."""
    if not body.echo:
        return ""
    prompt = body.prompts()[index // (body.n or 1)]
    return prompt if isinstance(prompt, str) else engine.detokenize(prompt).decode(errors="replace")


def _usage(running: Generations, n: int) -> api.Usage:
    """A prompt with several choices counts once."""
    stats = [generation.stats for generation in running.running]
    prompt = sum(one.prompt_tokens for one in stats[::n])
    completion = sum(one.completion_tokens for one in stats)
    cached = sum(one.cached_tokens for one in stats[::n])
    return api.Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=api.PromptTokensDetails(cached_tokens=cached),
    )


def _completion_logprobs(
    engine: Engine, top: int | None, tokens: Sequence[Token], *, start: int = 0
) -> api.CompletionLogprobs | None:
    if top is None:
        return None
    offsets: list[int] = []
    at = start
    for token in tokens:
        offsets.append(at)
        at += len(token.text)
    return api.CompletionLogprobs(
        tokens=[_token_text(engine, token.id) for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[
            {_token_text(engine, one): logprob for one, logprob in ((token.id, token.logprob), *token.top)}
            for token in tokens
        ]
        if top
        else None,
        text_offset=offsets,
    )


def _chat_logprobs(engine: Engine, choice: Collected) -> api.ChatLogprobs:
    def one(token: int, logprob: float) -> api.TopLogprob:
        data = engine.detokenize([token])
        return api.TopLogprob(token=data.decode(errors="replace"), logprob=logprob, bytes=list(data))

    return api.ChatLogprobs(
        content=[
            api.TokenLogprob(
                **one(token.id, token.logprob).model_dump(), top_logprobs=[one(*top) for top in token.top]
            )
            for token in choice.tokens
        ]
    )


def _token_text(engine: Engine, token: int) -> str:
    return engine.detokenize([token]).decode(errors="replace")
