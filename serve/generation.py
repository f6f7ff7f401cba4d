"""Runs several generations side by side for one HTTP request: collected, or merged as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from serve.engines.base import Engine, FinishReason, GenerateRequest, Generation, Token
from serve.errors import Unavailable


@dataclass(slots=True)
class Collected:
    """A finished generation."""

    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)


class Generations:
    """Generations started together and cancelled together::

    async with Generations(engine, requests) as running:
        await running.collect()
    """

    def __init__(self, engine: Engine, requests: Sequence[GenerateRequest]) -> None:
        self._engine = engine
        self._requests = requests
        self.running: list[Generation] = []

    async def __aenter__(self) -> Generations:
        try:
            for request in self._requests:
                self.running.append(await self._engine.generate(request))
        except BaseException:
            self.cancel()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """No effect on those that have ended."""
        for generation in self.running:
            generation.cancel()

    def ended_because(self, index: int) -> Literal["stop", "length"]:
        """Why that generation ended. Raises Unavailable when it was cancelled (a shutdown)."""
        reason = self.running[index].stats.finish_reason
        if reason is FinishReason.STOP:
            return "stop"
        if reason is FinishReason.LENGTH:
            return "length"
        raise Unavailable("the generation was cancelled; try again in a moment", retry_after=5)

    async def collect(self) -> list[Collected]:
        """Every generation's tokens, in the order of the requests."""
        collected = [Collected() for _ in self.running]
        async with aclosing(self.merged()) as tokens:
            async for index, token in tokens:
                if token is not None:
                    collected[index].tokens.append(token)
        return collected

    async def merged(self) -> AsyncGenerator[tuple[int, Token | None], None]:
        """(index, token) as they come; (index, None) when that generation has ended."""
        if len(self.running) == 1:
            async for token in self.running[0]:
                yield 0, token
            yield 0, None
            return
        queue: asyncio.Queue[tuple[int, Token | Exception | None]] = asyncio.Queue()
        pumps = [asyncio.create_task(_pump(i, g, queue)) for i, g in enumerate(self.running)]
        try:
            open_ones = len(pumps)
            while open_ones:
                index, item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                open_ones -= item is None
                yield index, item
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(
    index: int, generation: Generation, queue: asyncio.Queue[tuple[int, Token | Exception | None]]
) -> None:
    try:
        async for token in generation:
            queue.put_nowait((index, token))
    except Exception as error:  # noqa: BLE001 - raised again by the reader of the queue
        queue.put_nowait((index, error))
    else:
        queue.put_nowait((index, None))
