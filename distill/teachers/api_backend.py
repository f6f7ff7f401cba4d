"""Asking over HTTP: how many questions at once, when a try is repeated, and when to give up.

The vendors' SDKs send and parse; their own retries are off, because here a whole teacher pauses when one
question is told to wait, and an answer that is empty or garbage is tried again like a failed request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from distill.recipe import Teacher
from distill.teachers import pacing
from distill.teachers.base import Ask, Failure, Reply
from distill.teachers.budget import NOTHING, Usage
from distill.teachers.loop_thread import LoopThread
from distill.teachers.metered import Outcome
from distill.teachers.prompts import estimated_prompt_tokens
from serve.errors import DistilsqlError, Forbidden, NotFound, Unauthorized, Unavailable

_HOPELESS = 8
"""Questions in a row, at least, that fail after all their tries before the teacher counts as down."""
_SHOWN_CHARS = 300


class TryAgain(Exception):
    """A try that gave no answer; another may."""

    def __init__(self, reason: str, *, after_s: float | None = None, usage: Usage = NOTHING) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_s = after_s
        self.usage = usage


class Refused(Exception):
    """This question will not be answered, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a try brought."""

    reply: Reply
    headers: Mapping[str, str]


class ApiClient(Protocol):
    """One vendor's API."""

    async def once(self, ask: Ask) -> Answer:
        """One try. Raises TryAgain, Refused, or a DistilsqlError when going on is pointless."""

    async def close(self) -> None: ...


class ApiBackend:
    """Implements `distill.teachers.metered.Backend` over a client."""

    def __init__(self, settings: Teacher, client: ApiClient) -> None:
        self._settings = settings
        self._client = client
        self._pacer = pacing.Pacer()
        self._loop = LoopThread(f"teacher {self.name}")
        self._failed_in_a_row = 0
        self._closed = False

    @property
    def name(self) -> str:
        at = f" at {self._settings.base_url}" if self._settings.base_url else ""
        return f"{self._settings.kind}: {self._settings.model}{at}"

    def answer(self, asks: Iterator[tuple[int, Ask]]) -> Iterator[tuple[int, Outcome]]:
        return self._loop.stream(asks, self._answer, self._settings.concurrency)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.run(self._client.close())
            self._loop.close()

    async def _answer(self, ask: Ask) -> Outcome:
        wasted, reason = NOTHING, ""
        tries = self._settings.max_retries + 1
        for number in range(1, tries + 1):
            await self._pacer.ready()
            pause = pacing.backoff(number)
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    answer = await self._client.once(ask)
            except TimeoutError:
                reason = f"no answer in {self._settings.timeout_s:g} s"
            except Refused as refusal:
                return Outcome(Failure(str(refusal)), wasted)
            except TryAgain as trouble:
                reason, wasted = trouble.reason, wasted + trouble.usage
                if trouble.after_s is not None:
                    pause = self._told_to_wait(trouble.after_s, pause)
            else:
                self._failed_in_a_row = 0
                self._pacer.note(answer.headers, estimated_prompt_tokens(ask) + ask.sampling.max_tokens)
                return Outcome(answer.reply, wasted)
            if number < tries:
                await asyncio.sleep(pause)
        self._count_failure(reason)
        return Outcome(Failure(f"{reason} after {tries} tries" if tries > 1 else reason), wasted)

    def _told_to_wait(self, seconds: float, jitter: float) -> float:
        """Everybody waits, and this question a random moment longer. Returns its pause."""
        if seconds > pacing.LONGEST_PAUSE_S:
            raise Unavailable(
                f"{self.name} asks to come back in {seconds:.0f} s; what was answered is kept: run it again then",
                retry_after=seconds,
            )
        self._pacer.pause(seconds)
        return seconds + min(jitter, 0.1 * seconds)

    def _count_failure(self, reason: str) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= max(_HOPELESS, self._settings.concurrency):
            raise Unavailable(
                f"{self.name}: the last {self._failed_in_a_row} questions all failed, the last with: {reason}. "
                "What was answered is kept: check that the API runs, then run it again"
            )


def fault(settings: Teacher, status: int, headers: Mapping[str, str], message: str) -> Exception:
    """What an HTTP error means: the exception to raise."""
    told = message.strip()[:_SHOWN_CHARS]
    where = settings.base_url or f"the {settings.kind} API"
    if status == 401:
        key = settings.api_key_env or "the key's environment variable"
        return Unauthorized(f"{where} does not accept the key in {key}: {told}")
    if status == 403:
        return Forbidden(f"{where} forbids this key to use {settings.model}: {told}")
    if status == 404:
        return NotFound(f"{where} has no model {settings.model} (or no such route; check base_url): {told}")
    if status == 402 or "insufficient_quota" in message:
        return DistilsqlError(f"{where} says that the account has no credit left: {told}")
    if status in (408, 409, 425, 429) or status >= 500:
        return TryAgain(f"HTTP {status}", after_s=pacing.retry_after(headers))
    return Refused(f"HTTP {status}: {told}")


def api_key(settings: Teacher, usual: str) -> str:
    """The key from the environment. Raises Unauthorized naming the variable that is not set.

    `usual` is the vendor's own variable: read for the vendor's own address alone, so that its key
    is never sent to another.
    """
    name = settings.api_key_env or ("" if settings.base_url else usual)
    if not name:
        return "none"
    key = os.environ.get(name, "").strip()
    if not key:
        raise Unauthorized(
            f"the teacher {settings.model} needs a key: set the environment variable {name}, or name another "
            "one as api_key_env in the recipe",
            param="api_key_env",
        )
    return key
