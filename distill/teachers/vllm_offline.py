"""vLLM in process as a teacher: offline batches for answers, `prompt_logprobs` for scores.

What crosses to vLLM and back is token ids and plain numbers (`VllmModel`), so that the same code runs here and
inside the workers of `vllm_replicas`. vLLM is imported when a model is loaded, not before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from distill.recipe import Teacher
from distill.teachers import distribution
from distill.teachers.base import Ask, Failure, ScoreRequest, TopK
from distill.teachers.metered import Outcome
from distill.teachers.prompts import Prompt, answer_of, prompt_of, seed_of
from distill.tokenizer import Tokenizer
from serve.errors import TooLarge, Unprocessable

MOST_LOGPROBS = 128
"""Largest K; vLLM has to be told at the start."""
_SCORED_TOKENS = 2048
"""Tokens in one step while scoring: vLLM holds float32 logits, and their softmax, for all of them."""
_WINDOW = 512
"""vLLM makes its own batches, and gives its answers back when all of these have ended."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One generated answer."""

    text: str
    tokens: int
    truncated: bool


class Batches(Protocol):
    """Runs batches: this process's vLLM, or many replicas. Results come as (place in the batch, result)."""

    @property
    def window(self) -> int | None:
        """Questions worth handing over at once; None: all there are."""

    def generate(
        self, prompts: Sequence[Sequence[int]], options: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[int, Drawn]]: ...

    def score(self, requests: Sequence[ScoreRequest], top_k: int) -> Iterator[tuple[int, TopK]]: ...

    def close(self) -> None: ...


class VllmModel:
    """Implements `Batches` over one `vllm.LLM`."""

    window = _WINDOW

    def __init__(
        self, path: str, settings: Teacher, real_vocabulary: int, *, for_scores: bool = False
    ) -> None:
        from vllm import LLM

        self._real = real_vocabulary
        limits: dict[str, Any] = {}
        if for_scores:
            # A cached prefix has no logits to report, so nothing is cached while scoring.
            limits = {
                "max_num_batched_tokens": _SCORED_TOKENS,
                "enable_chunked_prefill": True,
                "enable_prefix_caching": False,
                "max_logprobs": MOST_LOGPROBS,
            }
        self._llm = LLM(
            model=path,
            dtype=settings.dtype,
            tensor_parallel_size=settings.tensor_parallel,
            max_model_len=settings.context_tokens,
            **limits,
        )

    def generate(
        self, prompts: Sequence[Sequence[int]], options: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[int, Drawn]]:
        from vllm import SamplingParams

        outputs = self._llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            [SamplingParams(**one) for one in options],
            use_tqdm=False,
        )
        for place, output in enumerate(outputs):
            one = output.outputs[0]
            yield place, Drawn(one.text, len(one.token_ids), one.finish_reason == "length")

    def score(self, requests: Sequence[ScoreRequest], top_k: int) -> Iterator[tuple[int, TopK]]:
        from vllm import SamplingParams

        how = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=top_k, detokenize=False)
        outputs = self._llm.generate(
            [{"prompt_token_ids": request.ids.tolist()} for request in requests], how, use_tqdm=False
        )
        for place, (request, output) in enumerate(zip(requests, outputs, strict=True)):
            yield place, rows_of(request, output.prompt_logprobs, top_k, self._real)

    def close(self) -> None:
        del self._llm


def rows_of(request: ScoreRequest, prompt_logprobs: Any, top_k: int, real_vocabulary: int) -> TopK:
    """vLLM's `prompt_logprobs` as a distribution.

    `prompt_logprobs[t]` maps ids to logprobs of the token at t given those before: no shift to make. It has
    the true token also where that is not among the K likeliest, so K + 1 entries: its rank tells. Ids of
    padding rows are left out and their places stay unused.
    """
    top = distribution.empty(len(request.positions), top_k)
    for row, position in enumerate(request.positions):
        entries = prompt_logprobs[int(position)]
        top.target_logprobs[row] = entries[int(request.ids[position])].logprob
        likeliest = sorted(
            (int(one.rank), int(id), float(one.logprob))
            for id, one in entries.items()
            if one.rank <= top_k and int(id) < real_vocabulary
        )
        for place, (_, id, logprob) in enumerate(likeliest[:top_k]):
            top.ids[row, place] = id
            top.logprobs[row, place] = logprob
    return top


class VllmBackend:
    """Implements `distill.teachers.metered.Backend`."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model: takes half a minute and more."""
        self._settings = settings
        path = _model_path(settings)
        self._tokenizer = Tokenizer.load(path)
        self._batches = open_batches(path, settings, self._tokenizer.real_vocabulary)

    @property
    def name(self) -> str:
        return f"vllm: {self._settings.model}"

    def answer(self, asks: Iterator[tuple[int, Ask]]) -> Iterator[tuple[int, Outcome]]:
        while window := list(islice(asks, self._batches.window)):
            numbers: list[int] = []
            questions: list[tuple[Ask, Prompt]] = []
            for number, ask in window:
                prompt = prompt_of(self._tokenizer, ask)
                needed = len(prompt.ids) + ask.sampling.max_tokens
                if needed > self._settings.context_tokens:
                    told = (
                        f"too long: up to {needed} tokens, context_tokens is {self._settings.context_tokens}"
                    )
                    yield number, Outcome(Failure(told))
                else:
                    numbers.append(number)
                    questions.append((ask, prompt))
            prompts = [prompt.ids for _, prompt in questions]
            options = [_sampling(ask, prompt) for ask, prompt in questions]
            for place, drawn in self._batches.generate(prompts, options) if prompts else ():
                yield numbers[place], _outcome(*questions[place], drawn)

    def close(self) -> None:
        self._batches.close()


class VllmScorer:
    """Implements `distill.teachers.base.Scorer`."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model: takes half a minute and more."""
        self._settings = settings
        path = _model_path(settings)
        tokenizer = Tokenizer.load(path)
        self._hash, self._real = tokenizer.hash, tokenizer.real_vocabulary
        self._batches = open_batches(path, settings, self._real, for_scores=True)

    @property
    def name(self) -> str:
        return f"vllm: {self._settings.model}"

    @property
    def tokenizer_hash(self) -> str:
        return self._hash

    @property
    def real_vocabulary(self) -> int:
        return self._real

    def score(
        self, requests: Sequence[ScoreRequest], top_k: int, *, draws: int = 0, seed: int = 0
    ) -> Iterator[tuple[int, TopK]]:
        """As `Scorer.score`. Raises Unprocessable, TooLarge, ValueError before anything is computed."""
        if draws:
            raise Unprocessable("vLLM reports the likeliest tokens alone: leave `capture.draws` at 0 with it")
        if top_k > MOST_LOGPROBS:
            raise Unprocessable(f"a vLLM teacher reports at most {MOST_LOGPROBS} tokens, not {top_k}")
        for number, request in enumerate(requests):
            distribution.check(request, number, self._real)
            if len(request.ids) >= self._settings.context_tokens:  # one token is generated behind it
                raise TooLarge(
                    f"request {number} has {len(request.ids)} tokens, which do not fit the teacher's context_tokens "
                    f"of {self._settings.context_tokens}: raise it, or leave longer examples out (max_tokens)"
                )
        order = sorted(range(len(requests)), key=lambda one: -len(requests[one].ids))
        step = self._batches.window or len(order) or 1
        for first in range(0, len(order), step):
            numbers = order[first : first + step]
            for place, top in self._batches.score([requests[one] for one in numbers], top_k):
                yield numbers[place], top

    def close(self) -> None:
        self._batches.close()


def open_batches(path: Path, settings: Teacher, real_vocabulary: int, *, for_scores: bool = False) -> Batches:
    """One vLLM here, or replicas on Ray."""
    if settings.replicas > 1:
        from distill.teachers.vllm_replicas import VllmReplicas

        return VllmReplicas(str(path), settings, real_vocabulary, for_scores=for_scores)
    return VllmModel(str(path), settings, real_vocabulary, for_scores=for_scores)


def _outcome(ask: Ask, prompt: Prompt, drawn: Drawn) -> Outcome:
    return Outcome(
        answer_of(
            ask,
            drawn.text,
            prompt_tokens=len(prompt.ids),
            completion_tokens=drawn.tokens,
            truncated=drawn.truncated,
        )
    )


def _sampling(ask: Ask, prompt: Prompt) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams`."""
    sampling = ask.sampling
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": seed_of(ask),
        "stop": [one for one in sampling.stop if one],
        "stop_token_ids": sorted(prompt.stop_ids),
    }


def _model_path(settings: Teacher) -> Path:
    from distill.students import resolve_model

    path = resolve_model(settings.model)
    if path.is_file():
        raise Unprocessable(
            f"{path} is a GGUF file: a vllm teacher needs a Hugging Face folder or hub name (for a GGUF: "
            "kind llamacpp)"
        )
    return path
