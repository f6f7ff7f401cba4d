"""Stands in for the `vllm` package: the part of its offline interface that is used, over a tiny PyTorch model.

Like the real one it reports K + 1 entries where the true token is outside the K likeliest, has no entry at
place 0, and counts padding rows among its ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class SamplingParams:
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    stop_token_ids: list[int] = field(default_factory=list)
    prompt_logprobs: int | None = None
    detokenize: bool = True


@dataclass
class Logprob:
    logprob: float
    rank: int


@dataclass
class Completion:
    text: str
    token_ids: list[int]
    finish_reason: str


@dataclass
class Output:
    prompt_logprobs: Any
    outputs: list[Completion]


class LLM:
    """Greedy only."""

    made: list[dict[str, Any]] = []  # noqa: RUF012

    def __init__(self, **arguments: Any) -> None:
        from pathlib import Path

        from distill.students import load_student
        from distill.tokenizer import Tokenizer

        LLM.made.append(arguments)
        self._limits = arguments
        self._model = load_student(Path(arguments["model"]), dtype=torch.float64)
        self._tokenizer = Tokenizer.load(Path(arguments["model"]))

    def generate(self, prompts: list[dict[str, Any]], params: Any, use_tqdm: bool = True) -> list[Output]:
        every = params if isinstance(params, list) else [params] * len(prompts)
        assert len(every) == len(prompts) and not use_tqdm
        return [self._one(one["prompt_token_ids"], how) for one, how in zip(prompts, every, strict=True)]

    def _one(self, ids: list[int], how: SamplingParams) -> Output:
        assert len(ids) + how.max_tokens <= self._limits["max_model_len"]
        ids, start = list(ids), len(ids)
        prompt_logprobs: list[Any] | None = None
        if how.prompt_logprobs is not None:
            assert how.prompt_logprobs <= self._limits.get("max_logprobs", 20)
            prompt_logprobs = [None]
            rows = torch.log_softmax(self._logits(ids), dim=-1)
            for place in range(1, len(ids)):
                row = rows[place - 1]
                order = row.argsort(descending=True).tolist()
                shown = order[: how.prompt_logprobs]
                if ids[place] not in shown:
                    shown = [ids[place], *shown]
                prompt_logprobs.append({id: Logprob(float(row[id]), order.index(id) + 1) for id in shown})
        reason = "length"
        for _ in range(how.max_tokens):
            # No trained model draws a padding row; this one's are random.
            token = int(self._logits(ids)[-1, : self._tokenizer.real_vocabulary].argmax())
            if token in how.stop_token_ids:
                reason = "stop"
                break
            ids.append(token)
        return Output(prompt_logprobs, [Completion(self._tokenizer.decode(ids[start:]), ids[start:], reason)])

    @torch.inference_mode()
    def _logits(self, ids: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self._model(input_ids=torch.tensor([ids])).logits[0]
        return logits
