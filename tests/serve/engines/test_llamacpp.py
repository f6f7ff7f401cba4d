"""The llama.cpp engine with the real 0.5B weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from serve.engines.base import FinishReason, GenerateRequest, GenerationStats, Token, TokenMask
from serve.engines.llama_model import BatchToken, LlamaModel
from serve.engines.llamacpp import LlamaCppEngine
from serve.errors import InvalidRequest, QueueFull, TooLarge, Unavailable
from serve.prompt_format import fim_prompt, fim_stop_ids

SCHEMA = "".join(
    f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT, {other}_id INTEGER, amount REAL);\n"
    for name, other in [("customer", "city"), ("orders", "customer"), ("city", "country"), ("item", "orders")]
)
NEAR_TIE = 0.3
"""Two logits this close may swap when other requests share the batch: other kernels round differently."""


def load(path: Path, folder: Path, **options: int) -> LlamaCppEngine:
    return LlamaCppEngine.load(
        path,
        name="small",
        sha256="1" * 64,
        family="qwen2.5-coder",
        snapshots_dir=folder / "kv",
        context_tokens=2048,
        **options,
    )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(model_05b: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaCppEngine]:
    loaded = load(model_05b, tmp_path_factory.mktemp("engine"), queue_limit=16)
    yield loaded
    await loaded.close()


def request(engine: LlamaCppEngine, statement: str, **options: object) -> GenerateRequest:
    schema = engine.tokenize(SCHEMA)
    prompt = fim_prompt(engine, schema + engine.tokenize(statement), [])
    settings: dict[str, object] = {
        "max_tokens": 16,
        "stop_ids": fim_stop_ids(engine),
        "shared_prefix": 1 + len(schema),
    }
    return GenerateRequest(prompt=prompt, **(settings | options))  # type: ignore[arg-type]


async def run(engine: LlamaCppEngine, to_run: GenerateRequest) -> tuple[list[Token], GenerationStats]:
    generation = await engine.generate(to_run)
    return [token async for token in generation], generation.stats


def text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)


pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


async def test_it_completes_a_join_on_the_key(engine: LlamaCppEngine) -> None:
    tokens, stats = await run(
        engine, request(engine, "SELECT * FROM orders JOIN customer ON orders.customer_id = ")
    )
    assert text(tokens).startswith("customer.id")
    assert stats.completion_tokens >= len(tokens)
    assert all(token.logprob <= 0 for token in tokens)


async def test_the_schema_is_computed_once(engine: LlamaCppEngine) -> None:
    first = request(engine, "SELECT name FROM city WHERE ")
    await run(engine, first)
    second = request(engine, "SELECT count(*) FROM item ")
    _, stats = await run(engine, second)
    assert stats.cached_tokens >= second.shared_prefix
    assert stats.prompt_tokens == len(second.prompt)


async def test_the_same_request_again_computes_one_token(engine: LlamaCppEngine) -> None:
    again = request(engine, "SELECT amount FROM orders ORDER BY ")
    await run(engine, again)
    _, stats = await run(engine, again)
    assert stats.cached_tokens == stats.prompt_tokens - 1


async def test_logprobs_are_those_of_one_plain_pass(engine: LlamaCppEngine, model_05b: Path) -> None:
    to_run = request(engine, "SELECT name FROM customer WHERE ", max_tokens=1, top_logprobs=5)
    (token,), _ = await run(engine, to_run)
    plain = LlamaModel(model_05b, context_tokens=512, sequences=1, batch_tokens=512, threads=2)
    last = len(to_run.prompt) - 1
    plain.decode([BatchToken(one, at, 0, at == last) for at, one in enumerate(to_run.prompt)])
    logits = plain.logits(last).astype(np.float64)
    plain.close()
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    assert token.id == token.top[0][0]
    for token_id, logprob in token.top:
        assert logprob == pytest.approx(expected[token_id], abs=NEAR_TIE)


async def test_eight_at_once_say_what_each_says_alone(engine: LlamaCppEngine) -> None:
    asked = [
        request(engine, f"SELECT name FROM {table} WHERE amount {comparison} ", top_logprobs=2)
        for table in ("customer", "orders", "city", "item")
        for comparison in (">", "=")
    ]
    alone = [(await run(engine, one))[0] for one in asked]
    together = await asyncio.gather(*(run(engine, one) for one in asked))
    for solo, (shared, _) in zip(alone, together, strict=True):
        for left, right in zip(solo, shared, strict=False):
            if left.id != right.id:
                gap = min(one.top[0][1] - one.top[1][1] for one in (left, right))
                assert gap < NEAR_TIE
                break


async def test_a_long_prompt_does_not_stall_somebody_elses_decoding(engine: LlamaCppEngine) -> None:
    decoding = await engine.generate(
        request(engine, "SELECT ", max_tokens=40, ignore_eog=True, stop_ids=frozenset())
    )
    tokens = aiter(decoding)
    await anext(tokens)
    filler = engine.tokenize("INSERT INTO item VALUES (1, 'x', 2, 3.5); " * 60)[:900]
    reading = await engine.generate(GenerateRequest(prompt=filler, max_tokens=1))
    first_of_long = asyncio.create_task(anext(aiter(reading)))
    arrived = 0
    async for _ in tokens:
        if first_of_long.done():
            break
        arrived += 1
    assert arrived >= 8
    reading.cancel()
    decoding.cancel()
    await asyncio.gather(first_of_long, return_exceptions=True)


async def test_a_short_prompt_is_read_in_one_step_and_a_long_one_is_not(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    decode = engine._model.decode

    def counting(batch: Sequence[BatchToken]) -> None:
        steps.append(len(batch))
        decode(batch)

    monkeypatch.setattr(engine._model, "decode", counting)
    unseen = engine.tokenize("DELETE FROM item WHERE amount < 3 AND name = 'y'; " * 40)
    await run(engine, GenerateRequest(prompt=unseen[:100], max_tokens=1))
    assert steps == [100]
    steps.clear()
    await run(engine, GenerateRequest(prompt=unseen[7:407], max_tokens=1))
    assert len(steps) > 2 and min(steps[:-1]) >= 64


async def test_cancelling_a_long_prompt_frees_the_engine_at_once(engine: LlamaCppEngine) -> None:
    filler = engine.tokenize("UPDATE item SET amount = 1 WHERE id = 7; " * 100)[:1500]
    generation = await engine.generate(GenerateRequest(prompt=filler, max_tokens=1))
    await asyncio.sleep(0.2)
    generation.cancel()
    assert [token async for token in generation] == []
    assert generation.stats.finish_reason is FinishReason.CANCELLED
    assert engine.status.running == 0
    tokens, _ = await run(engine, request(engine, "SELECT name FROM city WHERE "))
    assert tokens


async def test_stop_strings_and_stop_ids(engine: LlamaCppEngine) -> None:
    statement = "SELECT * FROM orders JOIN customer ON orders.customer_id = customer"
    tokens, stats = await run(engine, request(engine, statement, stop=(".id",)))
    assert text(tokens) == ""
    assert stats.finish_reason is FinishReason.STOP
    first_token = engine.tokenize(".id")[0]
    tokens, stats = await run(engine, request(engine, statement, stop_ids=frozenset({first_token})))
    assert text(tokens) == ""
    assert stats.finish_reason is FinishReason.STOP


async def test_a_constraint_decides_what_may_be_said(engine: LlamaCppEngine) -> None:
    class Only:
        def __init__(self, ids: list[int], size: int) -> None:
            self.ids, self.size = ids, size

        def mask(self, generated: Sequence[int]) -> TokenMask:
            allowed = np.zeros(self.size, np.bool_)
            allowed[self.ids[len(generated) : len(generated) + 1]] = True
            return allowed

    wanted = engine.tokenize(" city.name LIKE 'B%'")
    constraint = Only(wanted, engine.info.vocabulary_size)
    tokens, stats = await run(engine, request(engine, "SELECT name FROM city WHERE", constraint=constraint))
    assert text(tokens) == " city.name LIKE 'B%'"
    assert stats.finish_reason is FinishReason.STOP  # the mask allows nothing more


async def test_a_failing_constraint_fails_its_own_request_only(engine: LlamaCppEngine) -> None:
    class Broken:
        def mask(self, generated: Sequence[int]) -> TokenMask:
            raise KeyError("broken")

    good = asyncio.create_task(run(engine, request(engine, "SELECT name FROM city WHERE ")))
    with pytest.raises(KeyError):
        await run(engine, request(engine, "SELECT name FROM item WHERE ", constraint=Broken()))
    tokens, _ = await good
    assert tokens


async def test_the_same_seed_says_the_same(engine: LlamaCppEngine) -> None:
    statement = "SELECT name, amount FROM orders WHERE name LIKE '"
    settings = {"temperature": 1.2, "max_tokens": 12}
    await run(engine, request(engine, statement, **settings, seed=1))
    first, _ = await run(engine, request(engine, statement, **settings, seed=5))
    second, _ = await run(engine, request(engine, statement, **settings, seed=5))
    others = [
        text((await run(engine, request(engine, statement, **settings, seed=seed)))[0]) for seed in (6, 7)
    ]
    assert text(first) == text(second)
    assert any(other != text(first) for other in others)


async def test_what_does_not_fit_is_refused_with_the_counts(engine: LlamaCppEngine) -> None:
    with pytest.raises(TooLarge, match=r"2100 tokens.*10 more.*2048"):
        await engine.generate(GenerateRequest(prompt=[100] * 2100, max_tokens=10))
    with pytest.raises(InvalidRequest, match="empty"):
        await engine.generate(GenerateRequest(prompt=[], max_tokens=10))
    with pytest.raises(InvalidRequest, match="token ids"):
        await engine.generate(GenerateRequest(prompt=[10**6], max_tokens=10))


async def test_past_the_queue_requests_are_turned_away(engine: LlamaCppEngine) -> None:
    long = engine.tokenize("DELETE FROM item WHERE id = 3; " * 200)
    asked = [GenerateRequest(prompt=long[at : at + 200], max_tokens=1) for at in range(40)]
    running = []
    with pytest.raises(QueueFull) as refused:
        while True:
            running.append(await engine.generate(asked[len(running)]))
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    assert len(running) >= engine.status.queue_limit
    for generation in running:
        generation.cancel()
    for generation in running:
        async for _ in generation:
            pass
    assert engine.status.waiting == 0


async def test_a_prompt_that_fills_the_context_alone_still_runs(engine: LlamaCppEngine) -> None:
    filler = engine.tokenize("SELECT 1 FROM item; " * 400)[:2000]
    tokens, stats = await run(engine, GenerateRequest(prompt=filler, max_tokens=4))
    assert stats.prompt_tokens == 2000
    assert tokens
    assert engine.status.cache_tokens_used <= 2048


async def test_a_restart_starts_warm_and_damage_is_rebuilt(model_05b: Path, tmp_path: Path) -> None:
    first = load(model_05b, tmp_path)
    to_run = request(first, "SELECT name FROM city WHERE ")
    schema = list(to_run.prompt[: to_run.shared_prefix])
    assert await first.warm(schema) == len(schema)
    assert await first.warm(schema) == 0
    expected, _ = await run(first, to_run)
    await first.close()
    with pytest.raises(Unavailable):
        await first.generate(to_run)

    second = load(model_05b, tmp_path)
    tokens, stats = await run(second, to_run)
    assert stats.cached_tokens >= len(schema)
    assert text(tokens) == text(expected)
    await second.close()

    (snapshot,) = (tmp_path / "kv").iterdir()
    snapshot.write_bytes(snapshot.read_bytes()[:-10])
    third = load(model_05b, tmp_path)
    tokens, stats = await run(third, to_run)
    assert stats.cached_tokens == 0
    assert await third.warm(schema) == 0
    assert third.status.cached_sequences >= 1
    await third.close()
    (rebuilt,) = (tmp_path / "kv").iterdir()
    assert rebuilt.stat().st_size == snapshot.stat().st_size
    third.forget(schema)
    assert not list((tmp_path / "kv").iterdir())


async def test_a_file_that_is_no_model_is_a_clear_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(Unavailable, match="distilsql models verify"):
        load(bad, tmp_path)
