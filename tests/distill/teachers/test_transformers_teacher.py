"""A Hugging Face folder as a teacher, against the plain computation in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_qwen2
import torch
from dense_scores import assert_scores, dense_logprobs, random_requests

from distill.recipe import Teacher
from distill.records import Message
from distill.students import load_student
from distill.teachers import transformers_scorer
from distill.teachers.base import Ask, Failure, Reply, Sampling, ScoreRequest
from distill.teachers.factory import open_scorer, open_teacher
from distill.teachers.prompts import prompt_of
from distill.tokenizer import Tokenizer
from serve.errors import NotFound, TooLarge, Unavailable, Unprocessable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen2.make_model(folder, tied=False)
    return folder


def _settings(folder: Path, **changes: Any) -> Teacher:
    return Teacher(kind="transformers", model=str(folder), dtype="float32", device="cpu", **changes)


@pytest.mark.parametrize("batch_tokens", [1, 100, 8192])
def test_scores_are_those_of_the_dense_computation_position_by_position(
    folder: Path, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = load_student(folder, dtype=torch.float64)
    scorer = open_scorer(_settings(folder, batch_tokens=batch_tokens))
    real = scorer.real_vocabulary
    monkeypatch.setattr(scorer, "_chunk", 7)
    requests = random_requests(20, real)
    found = dict(scorer.score(requests, 10))
    assert sorted(found) == list(range(20))
    for number, request in enumerate(requests):
        assert_scores(found[number], dense_logprobs(dense, request, real), request, 1e-4)
    scorer.close()


def test_bfloat16_weights_are_scored_in_float32(folder: Path) -> None:
    scorer = open_scorer(_settings(folder).model_copy(update={"dtype": "bfloat16"}))
    transformers_scorer._SLAB_ROWS, kept = 50, transformers_scorer._SLAB_ROWS
    try:
        requests = random_requests(4, scorer.real_vocabulary)
        tops = dict(scorer.score(requests, scorer.real_vocabulary))
    finally:
        transformers_scorer._SLAB_ROWS = kept
    dense = load_student(folder, dtype=torch.float64)
    for number, top in tops.items():
        truth = dense_logprobs(dense, requests[number], scorer.real_vocabulary)
        error = np.abs(
            top.target_logprobs
            - truth[np.arange(len(truth)), requests[number].ids[requests[number].positions]]
        )
        assert error.mean() < 0.3
        np.testing.assert_allclose(np.exp(top.logprobs.astype(np.float64)).sum(1), 1, atol=1e-4)
        assert len(np.unique(top.logprobs[0])) > 0.9 * scorer.real_vocabulary, "bfloat16 logits would tie"
    scorer.close()


def test_no_logits_are_wider_than_the_budget(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_scorer, "_LOGIT_BYTES", 4 * 300 * 5)
    scorer = open_scorer(_settings(folder))
    seen: list[int] = []
    plain = torch.log_softmax

    def watched(logits: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        seen.append(logits.numel() * logits.element_size())
        return plain(logits, *args, **options)

    monkeypatch.setattr(torch, "log_softmax", watched)
    requests = random_requests(6, scorer.real_vocabulary)
    assert len(dict(scorer.score(requests, 4))) == 6
    assert max(seen) <= 4 * 300 * 5 and len(seen) > 10
    scorer.close()


def test_draws_do_not_depend_on_batches(folder: Path) -> None:
    found = []
    for batch_tokens, back in ((1, False), (4000, True)):
        scorer = open_scorer(_settings(folder, batch_tokens=batch_tokens))
        requests = random_requests(6, scorer.real_vocabulary)
        given = requests[::-1] if back else requests
        tops = dict(scorer.score(given, 20, draws=12, seed=1))
        found.append([tops[5 - at if back else at] for at in range(6)])
        scorer.close()
    for left, right in zip(*found, strict=True):
        shares = np.exp(left.logprobs.astype(np.float64))
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(shares * 12, (shares * 12).round(), atol=1e-4)
        assert (left.ids == right.ids).all(1).mean() > 0.95
        np.testing.assert_allclose(left.target_logprobs, right.target_logprobs, atol=1e-4)


def test_what_cannot_be_scored_is_told(folder: Path) -> None:
    scorer = open_scorer(_settings(folder))
    with pytest.raises(TooLarge, match="request 0 has 2000 tokens"):
        next(scorer.score([ScoreRequest(np.zeros(2000, np.int32), np.array([1], np.int32))], 3))
    nothing = ScoreRequest(np.array([1, 2], np.int32), np.array([], np.int32))
    ((number, top),) = scorer.score([nothing], 3)
    assert number == 0 and top.ids.shape == (0, 3)
    assert scorer.tokenizer_hash == Tokenizer.load(folder).hash
    scorer.close()


def test_devices_and_models_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no model"):
        open_teacher(_settings(tmp_path / "none"), cache=None)
    with pytest.raises(Unprocessable, match="no device"):
        open_teacher(_settings(folder).model_copy(update={"device": "abacus"}), cache=None)
    if not torch.cuda.is_available():
        with pytest.raises(Unavailable, match="no GPU"):
            open_teacher(_settings(folder).model_copy(update={"device": "cuda"}), cache=None)


def _asks() -> list[Ask]:
    words = "one two three four five six seven".split()
    asks = [
        Ask(
            (Message(role="user", content=f"Tell {word} " * (at + 1)),), sampling=Sampling(max_tokens=10 + at)
        )
        for at, word in enumerate(words)
    ]
    return [*asks, Ask(prefix="SELECT ", suffix=" FROM t", sampling=Sampling(max_tokens=9))]


def test_greedy_answers_are_the_models_own_whatever_stands_beside_them(folder: Path) -> None:
    model, tokenizer = load_student(folder), Tokenizer.load(folder)
    for concurrency in (1, 3, 8):
        teacher = open_teacher(_settings(folder, concurrency=concurrency), cache=None)
        answers = dict(teacher.generate(_asks()))
        teacher.close()
        for at, ask in enumerate(_asks()):
            prompt = prompt_of(tokenizer, ask)
            ids = list(prompt.ids)
            with torch.inference_mode():
                for _ in range(ask.sampling.max_tokens):
                    logits = model(input_ids=torch.tensor([ids])).logits[0, -1, : tokenizer.real_vocabulary]
                    token = int(logits.argmax())
                    if token in prompt.stop_ids:
                        break
                    ids.append(token)
            answer = answers[at]
            assert isinstance(answer, Reply)
            assert answer.text == tokenizer.decode(ids[len(prompt.ids) :])
            assert answer.completion_tokens == len(ids) - len(prompt.ids)
            assert answer.truncated == (answer.completion_tokens == ask.sampling.max_tokens)


def test_draws_follow_the_question_and_stops_hold(folder: Path) -> None:
    teacher = open_teacher(_settings(folder, concurrency=4), cache=None)
    message = (Message(role="user", content="Draw"),)
    hot = Sampling(max_tokens=12, temperature=2.0, top_p=0.95)
    first = dict(teacher.generate([Ask(message, sampling=hot, salt=salt) for salt in "aba"]))
    assert first[0] == first[2] != first[1]
    (greedy,) = dict(teacher.generate([Ask(message, sampling=Sampling(max_tokens=12))])).values()
    assert isinstance(greedy, Reply) and len(greedy.text) > 4
    stop = greedy.text[3:5]
    ask = Ask(message, sampling=Sampling(max_tokens=12, stop=(stop,)))
    ((_, cut),) = teacher.generate([ask])
    assert isinstance(cut, Reply) and cut.text == greedy.text[: greedy.text.find(stop)] and not cut.truncated
    ((_, long),) = teacher.generate([Ask((Message(role="user", content="x" * 3000),))])
    assert isinstance(long, Failure) and "too long" in long.reason
    teacher.close()
