"""From a recipe's `teacher` to what answers, or what scores. Each kind's packages are imported when it is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import assert_never

from distill.recipe import Teacher
from distill.teachers.base import Generator, Scorer
from distill.teachers.budget import BudgetMeter
from distill.teachers.metered import Backend, MeteredGenerator
from distill.teachers.response_cache import ResponseCache
from serve.errors import Unavailable, Unprocessable

_INSTALL = {
    "openai": "pip install 'distilsql[train]'",
    "anthropic": "pip install 'distilsql[train]'",
    "torch": "pip install 'distilsql[train]'",
    "transformers": "pip install 'distilsql[train]'",
    "ray": "pip install 'distilsql[cluster]'",
    "vllm": "pip install vllm, in an environment of its own with 'distilsql[train]'",
}


def open_teacher(settings: Teacher, *, cache: Path | None) -> Generator:
    """What answers questions.

    `cache` is the SQLite file of replies and spending; a run's stages share it, so that the budget holds for
    the whole run. Without it nothing is cached, and the budget holds while the teacher is open. Local models are
    loaded now. Raises NotFound (no such model), Unauthorized (no key), Unprocessable, Unavailable (a
    package that is not installed, no memory), DistilsqlError (the cache's disk).
    """
    with _packages(settings):
        backend = _backend(settings)
    try:
        replies = ResponseCache(cache, _identity(settings))
    except BaseException:
        backend.close()
        raise
    return MeteredGenerator(backend, replies, BudgetMeter(settings.budget, settings.price, replies))


def open_scorer(settings: Teacher) -> Scorer:
    """What scores tokens. Raises as `open_teacher`; Unprocessable for an API, which cannot."""
    with _packages(settings):
        match settings.kind:
            case "llamacpp":
                from distill.teachers.llamacpp_scorer import LlamaCppScorer

                return LlamaCppScorer(settings)
            case "transformers":
                from distill.teachers.transformers_scorer import TransformersScorer

                return TransformersScorer(settings)
            case "vllm":
                from distill.teachers.vllm_offline import VllmScorer

                return VllmScorer(settings)
            case "openai" | "anthropic":
                raise Unprocessable(
                    f"the teacher is an API ({settings.kind}), which cannot score tokens: name a `scorer` of kind "
                    "llamacpp, transformers or vllm in the recipe",
                    param="scorer",
                )
            case _:
                assert_never(settings.kind)


def _backend(settings: Teacher) -> Backend:
    match settings.kind:
        case "llamacpp":
            from distill.teachers.llamacpp import LlamaCppBackend

            return LlamaCppBackend(settings)
        case "transformers":
            from distill.teachers.transformers_local import TransformersBackend

            return TransformersBackend(settings)
        case "vllm":
            from distill.teachers.vllm_offline import VllmBackend

            return VllmBackend(settings)
        case "openai":
            from distill.teachers.api_backend import ApiBackend
            from distill.teachers.openai_api import OpenAIClient

            return ApiBackend(settings, OpenAIClient(settings))
        case "anthropic":
            from distill.teachers.anthropic_api import AnthropicClient
            from distill.teachers.api_backend import ApiBackend

            return ApiBackend(settings, AnthropicClient(settings))
        case _:
            assert_never(settings.kind)


def _identity(settings: Teacher) -> str:
    """Whose replies they are: everything that decides an answer besides the question."""
    parts = [settings.kind, settings.model, settings.base_url]
    if settings.kind in ("transformers", "vllm"):
        parts.append(settings.dtype)
    if settings.kind == "llamacpp" and (file := Path(settings.model)).is_file():
        parts.append(f"{file.stat().st_size}:{file.stat().st_mtime_ns}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@contextmanager
def _packages(settings: Teacher) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _INSTALL:
            raise
        raise Unavailable(
            f"a teacher of kind {settings.kind} needs the package {package}, which is not installed: "
            f"{_INSTALL[package]}"
        ) from error
