"""Anthropic's Messages API through the official SDK. Knows nothing of retries."""

from __future__ import annotations

import logging
from typing import Any

import anthropic
from anthropic import AsyncAnthropic

from distill.recipe import Teacher
from distill.teachers.api_backend import Answer, Refused, TryAgain, api_key, fault
from distill.teachers.base import Ask, Failure, Reply
from distill.teachers.budget import Usage
from distill.teachers.prompts import answer_of, estimated_prompt_tokens
from serve.errors import Unprocessable

logger = logging.getLogger(__name__)

_HOTTEST = 1.0
_VENDOR = "https://api.anthropic.com"


class AnthropicClient:
    """Implements `distill.teachers.api_backend.ApiClient`."""

    def __init__(self, settings: Teacher) -> None:
        """Raises Unauthorized when the key's variable is not set."""
        self._settings = settings
        self._sdk = AsyncAnthropic(
            api_key=api_key(settings, "ANTHROPIC_API_KEY"),
            base_url=settings.base_url or _VENDOR,
            timeout=settings.timeout_s,
            max_retries=0,
        )
        self._takes_sampling = True

    async def once(self, ask: Ask) -> Answer:
        if ask.prefix is not None:
            raise Unprocessable(
                "Anthropic's API cannot fill a gap in a text: take a local teacher, or an OpenAI-compatible one, "
                "for fill-in-the-middle records"
            )
        try:
            raw = await self._send(ask)
        except anthropic.APIStatusError as error:
            raise fault(self._settings, error.status_code, error.response.headers, error.message) from error
        except anthropic.APITimeoutError as error:
            raise TryAgain(f"no answer in {self._settings.timeout_s:g} s") from error
        except anthropic.APIConnectionError as error:
            raise TryAgain(f"no connection ({error.__cause__ or error})") from error
        try:
            message = await raw.parse()
        except (ValueError, anthropic.APIError) as error:
            raise TryAgain("an answer that is not JSON") from error
        return Answer(_reply(ask, message), raw.headers)

    async def close(self) -> None:
        await self._sdk.close()

    async def _send(self, ask: Ask) -> Any:
        try:
            return await self._create(ask)
        except anthropic.BadRequestError as error:
            if self._takes_sampling and any(name in error.message for name in ("temperature", "top_p")):
                logger.warning(
                    "%s takes no temperature and top_p: it draws as it likes", self._settings.model
                )
                self._takes_sampling = False
                return await self._create(ask)
            raise

    async def _create(self, ask: Ask) -> Any:
        sampling = ask.sampling
        options: dict[str, Any] = {}
        if self._takes_sampling:  # older models only, and the SDK no longer has names for them
            body = {"temperature": min(sampling.temperature, _HOTTEST)}
            options["extra_body"] = body | ({"top_p": sampling.top_p} if sampling.top_p < 1 else {})
        # It refuses blank stop texts; those are cut off here.
        if stop := [one for one in sampling.stop if one.strip()]:
            options["stop_sequences"] = stop
        if system := "\n\n".join(one.content for one in ask.messages if one.role == "system"):
            options["system"] = system
        messages: list[Any] = [
            {"role": one.role, "content": one.content} for one in ask.messages if one.role != "system"
        ]
        return await self._sdk.messages.with_raw_response.create(
            model=self._settings.model, max_tokens=sampling.max_tokens, messages=messages, **options
        )


def _reply(ask: Ask, message: Any) -> Reply:
    """Raises TryAgain for what is no answer, Refused for one that was withheld."""
    usage = _usage(message)
    content = getattr(message, "content", None)
    if not isinstance(content, list):
        raise TryAgain("an answer without content", usage=usage)
    reason = getattr(message, "stop_reason", None)
    if reason == "refusal":
        raise Refused("refusal")
    texts = [getattr(part, "text", None) for part in content if getattr(part, "type", None) == "text"]
    text = "".join(one for one in texts if isinstance(one, str))
    answer = answer_of(
        ask,
        text,
        prompt_tokens=usage.prompt_tokens or estimated_prompt_tokens(ask),
        completion_tokens=usage.completion_tokens or len(text.encode("utf-8", "replace")) // 3,
        truncated=reason == "max_tokens",
    )
    if isinstance(answer, Failure):
        raise TryAgain(answer.reason, usage=usage)
    return answer


def _usage(message: Any) -> Usage:
    counts = getattr(message, "usage", None)
    prompt, answer = getattr(counts, "input_tokens", None), getattr(counts, "output_tokens", None)
    return Usage(prompt if isinstance(prompt, int) else 0, answer if isinstance(answer, int) else 0)
