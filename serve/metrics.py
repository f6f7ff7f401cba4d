"""Prometheus metrics of one application: requests, tokens, latencies, and each engine's queue and cache.

Each application has a registry of its own (no global state), so two of them in one process do not mix.
Names follow Prometheus: base units (seconds), `_total` for counters.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from serve.engines.base import (
    Engine,
    EngineStatus,
    GenerateRequest,
    Generation,
    GenerationStats,
    ModelInfo,
    Token,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 60.0),
)
"""Seconds. Fine between 50 ms and 1 s, where a completion feels fast or slow."""
_TOKEN_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0)


class Metrics:
    """What `GET /metrics` shows. Safe to call from any thread."""

    def __init__(self, engines: Callable[[], Mapping[str, Engine]]) -> None:
        """`engines` gives the loaded models by name at each scrape."""
        self.registry = CollectorRegistry()
        self.registry.register(_EngineCollector(engines))
        by_model = ("model",)
        self._requests = Histogram(
            "distilsql_http_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("method", "route", "status"),
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._first_token = Histogram(
            "distilsql_time_to_first_token_seconds",
            "Time from asking an engine to its first token, queueing included.",
            by_model,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._next_token = Histogram(
            "distilsql_inter_token_seconds",
            "Time between two tokens of one generation.",
            by_model,
            buckets=_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._queue = Histogram(
            "distilsql_queue_seconds",
            "Time a generation waited for its turn.",
            by_model,
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._prompt_tokens = Counter(
            "distilsql_prompt_tokens", "Tokens of prompts.", by_model, registry=self.registry
        )
        self._cached_tokens = Counter(
            "distilsql_cached_prompt_tokens",
            "Tokens of prompts that came from the cache.",
            by_model,
            registry=self.registry,
        )
        self._completion_tokens = Counter(
            "distilsql_completion_tokens", "Tokens generated.", by_model, registry=self.registry
        )
        self._finished = Counter(
            "distilsql_generations",
            "Generations by how they ended: stop, length, cancelled, error.",
            ("model", "finish_reason"),
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    def request_ended(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one HTTP request."""
        # Anything may stand where a method should: label values stay few.
        method = method if method in {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"} else "other"
        self._requests.labels(method, route, str(status)).observe(seconds)

    def observe(self, engine: Engine) -> Engine:
        """`engine`, with its generations measured."""
        return _MeteredEngine(engine, self)

    def generation_ended(self, model: str, stats: GenerationStats, reason: str) -> None:
        """Count one generation, by why it ended."""
        self._queue.labels(model).observe(stats.queue_ms / 1000)
        self._prompt_tokens.labels(model).inc(stats.prompt_tokens)
        self._cached_tokens.labels(model).inc(stats.cached_tokens)
        self._completion_tokens.labels(model).inc(stats.completion_tokens)
        self._finished.labels(model, reason).inc()

    def token(self, model: str, seconds: float, *, first: bool) -> None:
        """Count one token; `seconds` since the request (`first`) or since the token before."""
        (self._first_token if first else self._next_token).labels(model).observe(seconds)


class _EngineCollector(Collector):
    """Reads every engine's status at the moment of the scrape."""

    _GAUGES: tuple[tuple[str, str, Callable[[EngineStatus], float]], ...] = (
        ("running_generations", "Generations being computed.", lambda s: s.running),
        ("queue_depth", "Generations waiting for their turn.", lambda s: s.waiting),
        ("queue_limit", "Generations that may wait; one more is refused.", lambda s: s.queue_limit),
        ("cache_tokens", "Tokens held in the KV cache.", lambda s: s.cache_tokens_used),
        ("cache_capacity_tokens", "Tokens the KV cache can hold.", lambda s: s.cache_tokens_total),
        ("cached_sequences", "Sequences held in the KV cache.", lambda s: s.cached_sequences),
    )

    def __init__(self, engines: Callable[[], Mapping[str, Engine]]) -> None:
        self.engines = engines

    def collect(self) -> Iterable[Metric]:
        statuses = {name: engine.status for name, engine in self.engines().items()}
        for name, text, read in self._GAUGES:
            gauge = GaugeMetricFamily(f"distilsql_{name}", text, labels=["model"])
            for model, status in statuses.items():
                gauge.add_metric([model], read(status))
            yield gauge


class _MeteredGeneration:
    def __init__(self, generation: Generation, model: str, metrics: Metrics, asked: float) -> None:
        self._generation = generation
        self._model = model
        self._metrics = metrics
        self._last = asked
        self._counted = False

    @property
    def stats(self) -> GenerationStats:
        return self._generation.stats

    async def __aiter__(self) -> AsyncIterator[Token]:
        first = True
        try:
            async for token in self._generation:
                now = time.perf_counter()
                self._metrics.token(self._model, now - self._last, first=first)
                self._last, first = now, False
                yield token
        except Exception:
            self._count("error")
            raise
        finally:
            # Abandoned before its end: nobody waits for it any more.
            self._count("cancelled")

    def cancel(self) -> None:
        self._generation.cancel()

    def _count(self, otherwise: str) -> None:
        if not self._counted:
            self._counted = True
            reason = self.stats.finish_reason
            self._metrics.generation_ended(self._model, self.stats, reason.value if reason else otherwise)


class _MeteredEngine:
    """An `Engine` that measures what it generates and leaves the rest as it is."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    @property
    def status(self) -> EngineStatus:
        return self._engine.status

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return self._engine.tokenize(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> bytes:
        return self._engine.detokenize(ids)

    def token_bytes(self) -> Sequence[bytes]:
        return self._engine.token_bytes()

    async def generate(self, request: GenerateRequest) -> Generation:
        asked = time.perf_counter()
        generation = await self._engine.generate(request)
        return _MeteredGeneration(generation, self.info.name, self._metrics, asked)

    async def warm(self, prompt: Sequence[int]) -> int:
        return await self._engine.warm(prompt)

    def forget(self, prompt: Sequence[int]) -> None:
        self._engine.forget(prompt)

    async def close(self) -> None:
        await self._engine.close()
