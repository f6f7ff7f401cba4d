"""A GGUF model in this process as a teacher that answers: many questions at once over the serving engine,
which batches them and shares what their prompts have in common. Scoring is `llamacpp_scorer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.recipe import Teacher
from distill.teachers.base import Ask, Failure
from distill.teachers.loop_thread import LoopThread
from distill.teachers.metered import Outcome
from distill.teachers.prompts import answer_of, prompt_of, seed_of
from serve.catalog import Catalog
from serve.console import load_settings
from serve.engines.base import FinishReason, GenerateRequest
from serve.engines.llamacpp import LlamaCppEngine
from serve.errors import NotFound, Unavailable

_CACHE_TOKENS = 16_384
"""Cells for all questions under way together, where one question may not take more by itself."""
_MOST_PARALLEL = 32
"""Each sequence costs a row of logits; decoding gains little from more on a CPU."""


def gguf_path(model: str) -> Path:
    """A GGUF file, or the installed file of a catalog name. Raises NotFound saying how to get it."""
    if model.endswith(".gguf") or Path(model).is_file():
        path = Path(model).expanduser()
        if not path.is_file():
            raise NotFound(f"there is no file {model}: name a GGUF file or a model of `distilsql models`")
        return path
    catalog = Catalog.load(load_settings())
    return catalog.path(catalog.get(model))


class LlamaCppBackend:
    """Implements `distill.teachers.metered.Backend`."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model: takes seconds. Raises NotFound, Unavailable."""
        self._settings = settings
        self._parallel = min(settings.concurrency, _MOST_PARALLEL)
        cells = max(settings.context_tokens, min(_CACHE_TOKENS, self._parallel * settings.context_tokens))
        self._engine = LlamaCppEngine.load(
            gguf_path(settings.model),
            name=settings.model,
            sha256="",
            family="",
            snapshots_dir=load_settings().snapshots_dir,
            context_tokens=cells,
            max_parallel=self._parallel,
            queue_limit=self._parallel,
            threads=settings.threads,
        )
        self._loop = LoopThread(f"teacher {self.name}")
        self._closed = False

    @property
    def name(self) -> str:
        return f"llamacpp: {self._settings.model}"

    def answer(self, asks: Iterator[tuple[int, Ask]]) -> Iterator[tuple[int, Outcome]]:
        return self._loop.stream(asks, self._answer, self._parallel)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.run(self._engine.close())
            self._loop.close()

    async def _answer(self, ask: Ask) -> Outcome:
        sampling = ask.sampling
        prompt = prompt_of(self._engine, ask)
        longest = min(self._settings.context_tokens, self._engine.info.context_length)
        if len(prompt.ids) + sampling.max_tokens > longest:
            return Outcome(
                Failure(
                    f"too long: {len(prompt.ids)} tokens and up to {sampling.max_tokens} more; "
                    f"the teacher's context_tokens is {longest}"
                )
            )
        generation = await self._engine.generate(
            GenerateRequest(
                prompt=prompt.ids,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=seed_of(ask),
                stop=tuple(one for one in sampling.stop if one),
                stop_ids=prompt.stop_ids,
            )
        )
        try:
            text = "".join([token.text async for token in generation])
        except Unavailable as error:  # no room for this question just now
            return Outcome(Failure(error.message))
        finally:
            generation.cancel()
        stats = generation.stats
        return Outcome(
            answer_of(
                ask,
                text,
                prompt_tokens=stats.prompt_tokens,
                completion_tokens=stats.completion_tokens,
                truncated=stats.finish_reason is FinishReason.LENGTH,
            )
        )
