"""What is said to vLLM and how its answers are read; a stand-in computes with a tiny model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fake_vllm
import numpy as np
import pytest
import tiny_qwen2
import torch
from dense_scores import dense_logprobs, random_requests

from distill.recipe import Teacher
from distill.records import Message
from distill.students import load_student
from distill.teachers.base import Ask, Failure, Reply, Sampling, ScoreRequest
from distill.teachers.factory import open_scorer, open_teacher
from distill.tokenizer import Tokenizer
from serve.errors import TooLarge, Unavailable, Unprocessable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen2.make_model(folder, padding=30)
    return folder


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setitem(sys.modules, "vllm", fake_vllm)
    monkeypatch.setattr(fake_vllm.LLM, "made", [])
    return fake_vllm.LLM.made


def _settings(folder: Path, **changes: Any) -> Teacher:
    return Teacher(kind="vllm", model=str(folder), context_tokens=128, **changes)


def test_each_row_belongs_to_its_position_and_holds_no_more_than_the_k_likeliest_real_ids(
    folder: Path, vllm: list[dict[str, Any]]
) -> None:
    dense = load_student(folder, dtype=torch.float64)
    rows = dense.config.vocab_size
    scorer = open_scorer(_settings(folder))
    real = scorer.real_vocabulary
    assert scorer.tokenizer_hash == Tokenizer.load(folder).hash
    requests = random_requests(12, real)
    dropped = 0
    for number, top in scorer.score(requests, 6):
        request = requests[number]
        truth = dense_logprobs(dense, request, rows)  # vLLM normalises over the padding rows too
        targets = request.ids[request.positions]
        np.testing.assert_allclose(top.target_logprobs, truth[np.arange(len(targets)), targets], atol=1e-5)
        for row in range(len(targets)):
            likeliest = [id for id in np.argsort(-truth[row])[:6] if id < real]
            used = top.ids[row] >= 0
            assert top.ids[row][used].tolist() == likeliest
            np.testing.assert_allclose(top.logprobs[row][used], truth[row, likeliest], atol=1e-5)
            assert np.isneginf(top.logprobs[row][~used]).all()
            dropped += int((~used).sum())
    assert dropped > 0, "the model puts some padding rows among the likeliest, or nothing was tested"
    (made,) = vllm
    assert made["max_num_batched_tokens"] == 2048 and made["enable_prefix_caching"] is False
    scorer.close()


def test_what_vllm_cannot_do_is_told(folder: Path, vllm: list[dict[str, Any]]) -> None:
    scorer = open_scorer(_settings(folder))
    request = ScoreRequest(np.array([1, 2], np.int32), np.array([1], np.int32))
    with pytest.raises(Unprocessable, match="draws"):
        next(scorer.score([request], 3, draws=5))
    with pytest.raises(Unprocessable, match="at most 128"):
        next(scorer.score([request], 500))
    with pytest.raises(TooLarge, match="request 1 has 128 tokens"):
        next(scorer.score([request, ScoreRequest(np.zeros(128, np.int32), np.array([1], np.int32))], 3))
    scorer.close()


def test_answers(folder: Path, vllm: list[dict[str, Any]]) -> None:
    asks = [
        Ask((Message(role="user", content="Tell one"),), sampling=Sampling(max_tokens=6)),
        Ask((Message(role="user", content="x" * 400),)),
        Ask(prefix="SELECT ", suffix=" FROM t", sampling=Sampling(max_tokens=9)),
    ]
    plain = open_teacher(
        Teacher(kind="transformers", model=str(folder), dtype="float32", device="cpu"), cache=None
    )
    expected = dict(plain.generate(asks))
    plain.close()
    teacher = open_teacher(_settings(folder, dtype="bfloat16", tensor_parallel=2), cache=None)
    found = dict(teacher.generate(asks))
    teacher.close()
    assert found[0] == expected[0] and found[2] == expected[2]
    assert isinstance(found[0], Reply) and isinstance(found[1], Failure) and "128" in found[1].reason
    assert vllm[0]["tensor_parallel_size"] == 2 and vllm[0]["dtype"] == "bfloat16"


def test_without_vllm_the_way_to_install_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(Unavailable, match="pip install vllm"):
        open_teacher(_settings(folder), cache=None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unavailable, match=r"distilsql\[cluster\]"):
        open_teacher(_settings(folder, replicas=2), cache=None)


def test_a_gguf_is_not_for_vllm(tmp_path: Path, vllm: list[dict[str, Any]]) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(Unprocessable, match="kind llamacpp"):
        open_teacher(_settings(tmp_path / "model.gguf"), cache=None)
