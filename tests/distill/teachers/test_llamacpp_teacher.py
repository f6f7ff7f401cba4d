"""A GGUF as a teacher: a tiny one against float64, and the real 0.5B against llama.cpp's own logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_qwen2
import torch
from dense_scores import assert_scores, dense_logprobs, random_requests
from numpy.typing import NDArray

from distill.export.weights import open_weights
from distill.export.writing import write_model
from distill.recipe import Budget, Teacher
from distill.records import Message
from distill.students import load_student
from distill.teachers import llamacpp_scorer
from distill.teachers.base import Ask, Failure, Reply, Sampling, ScoreRequest, TopK
from distill.teachers.budget import BudgetSpent
from distill.teachers.factory import open_scorer, open_teacher
from distill.teachers.llamacpp_scorer import LlamaCppScorer
from distill.tokenizer import Tokenizer
from serve.engines.llama_model import BatchToken, LlamaModel
from serve.errors import NotFound, TooLarge, Unavailable

TOLERANCE = 0.02
"""The tiny model's weights and its KV cache are float16."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen2.make_model(folder)
    path = folder / "tiny.gguf"
    write_model(path, open_weights(folder), Tokenizer.load(folder), "tiny")
    return path


@pytest.fixture(scope="module")
def dense(tiny: Path) -> Any:
    return load_student(tiny, dtype=torch.float64)


@pytest.fixture
def scorer(tiny: Path) -> Iterator[LlamaCppScorer]:
    scorer = LlamaCppScorer(Teacher(kind="llamacpp", model=str(tiny), context_tokens=512, threads=1))
    yield scorer
    scorer.close()
    scorer.close()


def test_the_vocabulary_is_told_like_the_tokenizers(scorer: LlamaCppScorer, tiny: Path) -> None:
    tokenizer = Tokenizer.load(tiny.parent)
    assert scorer.tokenizer_hash == tokenizer.hash == Tokenizer.load(tiny).hash
    assert scorer.real_vocabulary == tokenizer.real_vocabulary


def test_scores_are_those_of_the_dense_computation_position_by_position(
    scorer: LlamaCppScorer, dense: Any
) -> None:
    requests = random_requests(30, scorer.real_vocabulary, shared=20)
    found = dict(scorer.score(requests, 10))
    assert sorted(found) == list(range(30))
    for number, request in enumerate(requests):
        truth = dense_logprobs(dense, request, scorer.real_vocabulary)
        assert_scores(found[number], truth, request, TOLERANCE)


def test_many_long_and_short_requests_fill_and_outgrow_batches_sequences_and_cells(
    scorer: LlamaCppScorer, dense: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_scorer, "_BATCH_TOKENS", 48)
    monkeypatch.setattr(llamacpp_scorer, "_BATCH_ROWS", 7)
    requests = random_requests(150, scorer.real_vocabulary, longest=12, seed=1)
    requests += random_requests(30, scorer.real_vocabulary, longest=480, seed=2)
    found = dict(scorer.score(requests, 3))
    assert sorted(found) == list(range(180))
    for number in (*range(0, 150, 10), 151, 170):
        request = requests[number]
        some = np.linspace(0, len(request.positions) - 1, min(6, len(request.positions)), dtype=int)
        part = ScoreRequest(request.ids, request.positions[some])
        truth = dense_logprobs(dense, part, scorer.real_vocabulary)
        error = np.abs(
            found[number].target_logprobs[some] - truth[np.arange(len(some)), part.ids[part.positions]]
        )
        assert error.max() < 10 * TOLERANCE and np.median(error) < TOLERANCE


def test_what_requests_share_is_computed_once_and_changes_nothing(
    scorer: LlamaCppScorer, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = 0
    decode = LlamaModel.decode

    def counting(self: LlamaModel, tokens: list[BatchToken]) -> None:
        nonlocal computed
        computed += len(tokens)
        decode(self, tokens)

    monkeypatch.setattr(LlamaModel, "decode", counting)
    random = np.random.default_rng(5)
    start = random.integers(0, scorer.real_vocabulary, 200)
    requests = []
    for _ in range(12):
        ids = np.concatenate([start, random.integers(0, scorer.real_vocabulary, 20)]).astype(np.int32)
        requests.append(ScoreRequest(ids, np.arange(201, 220, dtype=np.int32)))
    together = dict(scorer.score(requests, 5))
    assert computed < 200 + 12 * 25
    for number, request in enumerate(requests):
        alone = LlamaCppScorer(Teacher(kind="llamacpp", model=str(tiny), context_tokens=512, threads=1))
        ((_, one),) = alone.score([request], 5)
        alone.close()
        np.testing.assert_allclose(together[number].target_logprobs, one.target_logprobs, atol=TOLERANCE)
        np.testing.assert_allclose(together[number].logprobs, one.logprobs, atol=TOLERANCE)


def test_padding_rows_are_never_reported(scorer: LlamaCppScorer) -> None:
    requests = random_requests(3, scorer.real_vocabulary)
    for number, top in scorer.score(requests, 10_000):
        assert top.ids.max() == scorer.real_vocabulary - 1
        used = top.ids >= 0
        assert (used.sum(1) == scorer.real_vocabulary).all()
        mass = np.exp(np.where(used, top.logprobs, -np.inf).astype(np.float64)).sum(1)
        np.testing.assert_allclose(mass, 1, atol=1e-5)
        assert len(mass) == len(requests[number].positions)


def test_draws_are_from_the_whole_distribution_and_the_same_in_any_order(
    scorer: LlamaCppScorer, tiny: Path, dense: Any
) -> None:
    requests = random_requests(8, scorer.real_vocabulary)
    one = dict(scorer.score(requests, 64, draws=50, seed=3))
    fresh = LlamaCppScorer(Teacher(kind="llamacpp", model=str(tiny), context_tokens=512, threads=1))
    other = dict(fresh.score(requests[::-1], 64, draws=50, seed=3))
    fresh.close()
    for number in range(8):
        counts = 50 * _counts(one[number], scorer.real_vocabulary)
        np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
        np.testing.assert_allclose(counts.sum(1), 50, atol=1e-3)
        np.testing.assert_array_equal(one[number].ids, other[7 - number].ids)
    request = next(one for one in requests if len(one.positions) > 3)
    ((_, many),) = scorer.score([request], 500, draws=100_000, seed=4)
    truth = np.exp(dense_logprobs(dense, request, scorer.real_vocabulary))
    shares = _counts(many, scorer.real_vocabulary)
    assert np.abs(shares - truth).sum(1).max() < 0.1
    ((_, again),) = scorer.score([request], 500, draws=100_000, seed=5)
    assert (again.ids != many.ids).any(), "another seed, other draws"


def _counts(top: TopK, real: int) -> NDArray[np.float64]:
    """[P, real]: the share of the draws that each id has."""
    shares = np.zeros((len(top.ids), real))
    for row, (ids, logprobs) in enumerate(zip(top.ids, top.logprobs, strict=True)):
        shares[row, ids[ids >= 0]] = np.exp(logprobs[ids >= 0].astype(np.float64))
    return shares


def test_a_consumer_that_stops_leaves_a_scorer_that_works(scorer: LlamaCppScorer, dense: Any) -> None:
    requests = random_requests(60, scorer.real_vocabulary, seed=9)
    for _ in range(3):
        next(scorer.score(requests, 4))
    found = dict(scorer.score(requests, 4))
    assert len(found) == 60
    truth = dense_logprobs(dense, requests[7], scorer.real_vocabulary)
    assert_scores(found[7], truth, requests[7], TOLERANCE)


def test_what_cannot_be_scored_is_told_before_anything_is_computed(scorer: LlamaCppScorer) -> None:
    fine = ScoreRequest(np.array([1, 2], np.int32), np.array([1], np.int32))
    long = ScoreRequest(np.zeros(600, np.int32), np.array([1], np.int32))
    with pytest.raises(TooLarge, match=r"request 1 has 600 tokens, the teacher's context_tokens is 512"):
        next(scorer.score([fine, long], 3))
    for ids, positions in (([1, 2], [0]), ([1, 2], [2]), ([1, 2, 3], [2, 1]), ([1, 10**6], [1])):
        bad = ScoreRequest(np.array(ids, np.int32), np.array(positions, np.int32))
        with pytest.raises(ValueError, match="request 1"):
            next(scorer.score([fine, bad], 3))
    nothing = ScoreRequest(np.array([1, 2], np.int32), np.array([], np.int32))
    ((number, top),) = scorer.score([nothing], 3)
    assert number == 0 and top.ids.shape == (0, 3)


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*none\.gguf"):
        open_scorer(Teacher(kind="llamacpp", model=str(tmp_path / "none.gguf")))
    with pytest.raises(NotFound, match="known models"):
        open_teacher(Teacher(kind="llamacpp", model="gpt-9"), cache=None)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF is how it begins, no more")
    with pytest.raises(Unavailable, match=r"bad\.gguf cannot be loaded"):
        open_teacher(Teacher(kind="llamacpp", model=str(tmp_path / "bad.gguf")), cache=None)


# Answers


def _asks() -> list[Ask]:
    asks = [
        Ask((Message(role="user", content=f"Tell {word}"),), sampling=Sampling(max_tokens=12 + at))
        for at, word in enumerate("one two three four five six".split())
    ]
    return [*asks, Ask(prefix="SELECT ", suffix=" FROM t", sampling=Sampling(max_tokens=9))]


def test_answers_together_are_those_one_by_one(tiny: Path) -> None:
    """Greedy, float weights: nothing but rounding tells a shared batch from a batch of one."""
    texts = []
    for concurrency in (1, 8):
        teacher = open_teacher(
            Teacher(kind="llamacpp", model=str(tiny), concurrency=concurrency, context_tokens=512, threads=1),
            cache=None,
        )
        answers = dict(teacher.generate(_asks()))
        teacher.close()
        texts.append([getattr(answers[at], "text", None) for at in range(7)])
        assert all(isinstance(one, Reply) and one.prompt_tokens > 5 for one in answers.values())
    assert texts[0] == texts[1] and len(set(texts[0])) > 3


def test_sampling_limits_and_stops_hold(tiny: Path, tmp_path: Path) -> None:
    settings = Teacher(kind="llamacpp", model=str(tiny), context_tokens=256, threads=1)
    teacher = open_teacher(settings, cache=tmp_path / "replies.sqlite")
    message = (Message(role="user", content="Draw"),)
    hot = Sampling(max_tokens=8, temperature=1.5)
    asks = [
        *(Ask(message, sampling=hot, salt=salt) for salt in "aba"),
        Ask(message, sampling=Sampling(max_tokens=250)),
        Ask((Message(role="user", content="x " * 300),)),
        Ask(prefix="a", suffix="b", sampling=Sampling(max_tokens=6)),
    ]
    first = dict(teacher.generate(asks))
    texts = [one.text for one in first.values() if isinstance(one, Reply)]
    assert first[0] == first[2] and first[0] != first[1]
    assert isinstance(first[3], Failure) and "too long" in first[3].reason and "256" in first[3].reason
    assert isinstance(first[4], Failure)
    assert all(one.truncated or one.completion_tokens < 8 for one in first.values() if isinstance(one, Reply))
    whole = texts[0]
    ((_, cut),) = teacher.generate([Ask(message, sampling=Sampling(max_tokens=8, temperature=1.5), salt="a")])
    assert isinstance(cut, Reply) and cut.cached and cut.text == whole
    teacher.close()


def test_a_local_teacher_has_a_budget_too(tiny: Path) -> None:
    settings = Teacher(kind="llamacpp", model=str(tiny), threads=1, budget=Budget(tokens=150))
    teacher = open_teacher(settings, cache=None)
    asks = [
        Ask((Message(role="user", content=f"{at}"),), sampling=Sampling(max_tokens=8)) for at in range(50)
    ]
    with pytest.raises(BudgetSpent):
        list(teacher.generate(asks))
    teacher.close()


# Real weights


def _text_request(model: LlamaModel, question: str, answer: str) -> ScoreRequest:
    prompt = model.tokenize(
        f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n"
        "<|im_start|>assistant\n",
        special=True,
    )
    ids = [*prompt, *model.tokenize(f"{answer}<|im_end|>", special=True)]
    return ScoreRequest(np.array(ids, np.int32), np.arange(len(prompt), len(ids), dtype=np.int32))


PAIRS = [
    ("How do I list all customers?", "SELECT * FROM customers;"),
    ("What is a JOIN?", "A JOIN combines the rows of two tables by a column that both have."),
    ("Count the orders of 2024.", "SELECT COUNT(*) FROM orders WHERE strftime('%Y', ordered_at) = '2024';"),
]


@pytest.mark.real
def test_real_scores_are_llama_cpps_own(model_05b: Path) -> None:
    """The same library on the same batch gives the same logits; another split of the batch moves them by what
    quantised activations round (see docs/architecture.md)."""
    scorer = LlamaCppScorer(Teacher(kind="llamacpp", model=str(model_05b), context_tokens=1024))
    plain = LlamaModel(model_05b, context_tokens=1024, sequences=128, batch_tokens=512, threads=2)
    assert scorer.real_vocabulary == 151665
    requests = [_text_request(plain, *pair) for pair in PAIRS]
    dense = []
    for request in requests:
        wanted = set((request.positions - 1).tolist())
        ids = request.ids[: request.positions[-1]]
        plain.decode([BatchToken(int(id), at, 0, at in wanted) for at, id in enumerate(ids)])
        rows = [plain.logits(at).astype(np.float64) for at in sorted(wanted)]
        dense.append(np.array([row - row.max() - np.log(np.exp(row - row.max()).sum()) for row in rows]))
        plain.truncate(0, 0)
    plain.close()
    ((_, first),) = scorer.score(requests[:1], 10)
    assert_scores(first, dense[0], requests[0], 1e-3)
    together = dict(scorer.score(requests, 10))
    for number, request in enumerate(requests):
        truth = dense[number][np.arange(len(request.positions)), request.ids[request.positions]]
        assert np.abs(together[number].target_logprobs - truth).mean() < 0.1
        same = together[number].ids[:, 0] == dense[number].argmax(1)
        assert same.mean() > 0.9
    scorer.close()


@pytest.mark.real
def test_real_answers_together_are_those_one_by_one(model_05b: Path) -> None:
    questions = [f"What is {left} + {left}? Answer with the number only." for left in range(1, 9)]
    asks = [Ask((Message(role="user", content=one),), sampling=Sampling(max_tokens=6)) for one in questions]
    texts = []
    for concurrency in (1, 8):
        settings = Teacher(kind="llamacpp", model=str(model_05b), concurrency=concurrency, context_tokens=512)
        teacher = open_teacher(settings, cache=None)
        answers = dict(teacher.generate(asks))
        teacher.close()
        texts.append([answers[at].text for at in range(8)])  # type: ignore[union-attr]
    assert texts[0] == texts[1] == [str(2 * left) for left in range(1, 9)]
