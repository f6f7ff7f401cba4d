"""An event loop on a thread of its own behind a synchronous iterator: many questions under way at once, and
no more begun than the consumer takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines; `close` ends what is still running."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        running = asyncio.all_tasks(self._loop)
        for task in running:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of one coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stream(
        self,
        items: Iterator[tuple[int, Item]],
        work: Callable[[Item], Awaitable[Result]],
        limit: int,
    ) -> Iterator[tuple[int, Result]]:
        """`work` on every item, at most `limit` at once, as (number, result) in the order they finish.

        An error in one stops taking items; the others under way finish and come out, then it is raised.
        A consumer that stops iterating cancels what is under way.
        """
        done: SimpleQueue[tuple[int, Future[Result]]] = SimpleQueue()
        running: dict[int, Future[Result]] = {}
        error: BaseException | None = None
        exhausted = False
        try:
            while True:
                while not exhausted and error is None and len(running) < limit:
                    following = next(items, None)
                    if following is None:
                        exhausted = True
                        break
                    number, item = following
                    future = asyncio.run_coroutine_threadsafe(_once(work, item), self._loop)
                    running[number] = future
                    future.add_done_callback(lambda ended, number=number: done.put((number, ended)))  # type: ignore[misc]
                if not running:
                    break
                number, ended = done.get()
                del running[number]
                failed = ended.exception()
                if failed is None:
                    yield number, ended.result()
                elif error is None:
                    error = failed
        finally:
            for future in running.values():
                future.cancel()
        if error is not None:
            raise error

    def close(self) -> None:
        """Cancel what runs and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


async def _once(work: Callable[[Item], Awaitable[Result]], item: Item) -> Result:
    return await work(item)
