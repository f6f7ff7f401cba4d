"""OpenAI's wire format, through the official SDK: chat completions, and completions with a suffix to fill a gap.

Any server that speaks it will do: the vendor's, vLLM's, a gateway, `distilsql serve`. Knows nothing of retries.
"""

from __future__ import annotations

import logging
from typing import Any

import openai
from openai import AsyncOpenAI

from distill.recipe import Teacher
from distill.teachers.api_backend import Answer, Refused, TryAgain, api_key, fault
from distill.teachers.base import Ask, Failure, Reply
from distill.teachers.budget import Usage
from distill.teachers.prompts import answer_of, estimated_prompt_tokens, seed_of

logger = logging.getLogger(__name__)

_VENDOR = "https://api.openai.com/v1"
_MOST_STOPS = 4
"""The API's own limit; the rest is cut off here."""


class OpenAIClient:
    """Implements `distill.teachers.api_backend.ApiClient`."""

    def __init__(self, settings: Teacher) -> None:
        """Raises Unauthorized when the key's variable is not set."""
        self._settings = settings
        self._sdk = AsyncOpenAI(
            api_key=api_key(settings, "OPENAI_API_KEY"),
            base_url=settings.base_url or _VENDOR,
            timeout=settings.timeout_s,
            max_retries=0,
        )
        self._limit = "max_tokens"
        self._takes_sampling = True

    async def once(self, ask: Ask) -> Answer:
        try:
            raw = await self._send(ask)
        except openai.APIStatusError as error:
            raise fault(self._settings, error.status_code, error.response.headers, error.message) from error
        except openai.APITimeoutError as error:
            raise TryAgain(f"no answer in {self._settings.timeout_s:g} s") from error
        except openai.APIConnectionError as error:
            raise TryAgain(f"no connection ({error.__cause__ or error})") from error
        try:
            completion = raw.parse()
        except (ValueError, openai.APIError) as error:
            raise TryAgain("an answer that is not JSON") from error
        return Answer(_reply(ask, completion), raw.headers)

    async def close(self) -> None:
        await self._sdk.close()

    async def _send(self, ask: Ask) -> Any:
        """What a model does not take, reasoning models above all, is left out from then on."""
        while True:
            try:
                return await self._create(ask)
            except openai.BadRequestError as error:
                if self._limit == "max_tokens" and "max_completion_tokens" in error.message:
                    self._limit = "max_completion_tokens"
                elif self._takes_sampling and any(one in error.message for one in ("temperature", "top_p")):
                    logger.warning(
                        "%s takes no temperature and top_p: it draws as it likes", self._settings.model
                    )
                    self._takes_sampling = False
                else:
                    raise

    async def _create(self, ask: Ask) -> Any:
        sampling = ask.sampling
        options: dict[str, Any] = {"model": self._settings.model}
        if self._takes_sampling:
            options["temperature"] = sampling.temperature
            if sampling.top_p < 1:
                options["top_p"] = sampling.top_p
        if sampling.seed is not None:
            options["seed"] = seed_of(ask)
        if stop := [one for one in sampling.stop if one][:_MOST_STOPS]:
            options["stop"] = stop
        if ask.prefix is not None:
            return await self._sdk.completions.with_raw_response.create(
                prompt=ask.prefix, suffix=ask.suffix, max_tokens=sampling.max_tokens, **options
            )
        options[self._limit] = sampling.max_tokens
        messages: list[Any] = [{"role": one.role, "content": one.content} for one in ask.messages]
        return await self._sdk.chat.completions.with_raw_response.create(messages=messages, **options)


def _reply(ask: Ask, completion: Any) -> Reply:
    """Raises TryAgain for what is no answer, Refused for one that was withheld."""
    usage = _usage(completion)
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise TryAgain("an answer without choices", usage=usage)
    choice = choices[0]
    reason = getattr(choice, "finish_reason", None)
    if reason == "content_filter":
        raise Refused("content filter")
    if ask.prefix is not None:
        text = getattr(choice, "text", None)
    else:
        message = getattr(choice, "message", None)
        text = getattr(message, "content", None)
        if refusal := getattr(message, "refusal", None):
            raise Refused(f"refusal: {refusal}")
    if not isinstance(text, str):
        raise TryAgain("an answer without text", usage=usage)
    answer = answer_of(
        ask,
        text,
        prompt_tokens=usage.prompt_tokens or estimated_prompt_tokens(ask),
        completion_tokens=usage.completion_tokens or len(text.encode("utf-8", "replace")) // 3,
        truncated=reason == "length",
    )
    if isinstance(answer, Failure):
        raise TryAgain(answer.reason, usage=usage)
    return answer


def _usage(completion: Any) -> Usage:
    counts = getattr(completion, "usage", None)
    prompt, answer = getattr(counts, "prompt_tokens", None), getattr(counts, "completion_tokens", None)
    return Usage(prompt if isinstance(prompt, int) else 0, answer if isinstance(answer, int) else 0)
