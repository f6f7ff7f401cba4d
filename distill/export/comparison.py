"""Whether an exported file says what its checkpoint says: the tokenizer's ids, and the next token's distribution.

The checkpoint is computed by transformers in float32 (an adapter unmerged), the file by the very engine that will
serve it. Knows no file formats.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.tokenizer import Tokenizer
from serve.engines.llama_model import BatchToken, LlamaModel
from serve.errors import DistilsqlError

PROMPTS = (
    "<|fim_prefix|>CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);\n"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), total REAL);\n"
    "SELECT c.name, SUM(o.total) FROM customers c <|fim_suffix|> GROUP BY c.name;<|fim_middle|>"
    "JOIN orders o ON o.customer_id = c.id",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHow many days has a leap "
    "year, and why?<|im_end|>\n<|im_start|>assistant\nA leap year has 366 days, because",
    "<|im_start|>user\n用一句话解释什么是数据库。<|im_end|>\n<|im_start|>assistant\n数据库是",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n\n\nprint(mean([1, 2.5]))  # 1.",
)
"""What both compute. Markers are parsed."""
TEXTS = (
    *PROMPTS,
    "SELECT * FROM t WHERE a <> 'it''s' AND b >= 12345.678 -- <|im_end|> <tool_call>\r\n\t;  ",
    "日本語の文章、한국어, हिन्दी, e\u0301 a\u0308 \u00e9, 👩‍👩‍👧‍👦 🇩🇪 \u200b\u00a0\u3000x",
)
"""What both tokenize, with and without parsing markers."""
_NEAR_TIE = 0.05
"""Nats: a token this near the best one counts as agreement (rounding flips such pairs)."""
_ROWS = 32
"""Positions whose logits llama.cpp hands over at once."""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Bound:
    """What is still taken for the same model."""

    divergence: float
    """Mean Kullback-Leibler divergence of the file from the checkpoint, in nats."""
    agreement: float
    """Share of positions where the file's best token is the checkpoint's best, or all but."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the file is from the checkpoint, over all positions of the prompts."""

    positions: int
    divergence: float
    largest_divergence: float
    logprob_difference: float
    """Mean absolute difference of the log-probability of the token that stands there."""
    agreement: float

    def within(self, bound: Bound) -> bool:
        """Whether the file passes; what is not a number does not."""
        return self.divergence <= bound.divergence and self.agreement >= bound.agreement

    def __str__(self) -> str:
        return (
            f"divergence {self.divergence:.5f} nats (largest {self.largest_divergence:.4f}), log-probabilities "
            f"{self.logprob_difference:.4f} apart, best token the same at {self.agreement:.1%} of {self.positions} "
            "positions"
        )


def checkpoint_logprobs(student: Any, tokenizer: Tokenizer) -> list[Array]:
    """Of each prompt [T, real vocabulary], natural logarithms, computed in float32.

    A student in bfloat16 is widened one block at a time, which loses nothing and saves the memory.
    """
    found = []
    with _widened(student), torch.inference_mode():
        for ids in _prompt_ids(tokenizer):
            logits = student(input_ids=torch.tensor([ids])).logits[0].float()
            logits[:, tokenizer.real_vocabulary :] = -torch.inf
            logprobs = torch.log_softmax(logits, -1)[:, : tokenizer.real_vocabulary]
            found.append(logprobs.numpy().astype(np.float32, copy=True))
    return found


def compare(
    file: Path, expected: Sequence[Array], tokenizer: Tokenizer, *, adapter: Path | None = None
) -> Comparison:
    """Load `file` (a base, with `adapter`) as the server would. Raises DistilsqlError where a text has other token
    ids than in the checkpoint's tokenizer, naming it."""
    prompts = _prompt_ids(tokenizer)
    model = LlamaModel(
        file,
        context_tokens=max(256, *map(len, prompts)),
        sequences=_ROWS,
        batch_tokens=_ROWS,
        threads=torch.get_num_threads(),
        adapter=adapter,
    )
    try:
        _compare_tokenizers(model, tokenizer)
        parts = [
            _differences(reference, _logprobs(model, ids), ids)
            for reference, ids in zip(expected, prompts, strict=True)
        ]
    finally:
        model.close()
        gc.collect()
    divergences, distances, agreements = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Comparison(
        positions=len(divergences),
        divergence=float(divergences.mean()),
        largest_divergence=float(divergences.max()),
        logprob_difference=float(distances.mean()),
        agreement=float(agreements.mean()),
    )


def _prompt_ids(tokenizer: Tokenizer) -> list[list[int]]:
    return [tokenizer.tokenize(prompt, special=True) for prompt in PROMPTS]


def _compare_tokenizers(model: LlamaModel, tokenizer: Tokenizer) -> None:
    if model.real_vocabulary != tokenizer.real_vocabulary:
        raise DistilsqlError(
            f"the file has {model.real_vocabulary} tokens, the checkpoint's tokenizer {tokenizer.real_vocabulary}"
        )
    for text in TEXTS:
        for special in (False, True):
            ours, theirs = tokenizer.tokenize(text, special=special), model.tokenize(text, special=special)
            if ours != theirs:
                at = next(
                    (at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
                    min(len(ours), len(theirs)),
                )
                raise DistilsqlError(
                    f"the file tokenizes {text!r} otherwise than the checkpoint: from token {at} on "
                    f"{theirs[at : at + 5]} instead of {ours[at : at + 5]}"
                )


def _logprobs(model: LlamaModel, ids: list[int]) -> Iterator[Array]:
    """Blocks of rows [≤ _ROWS, real vocabulary]."""
    model.truncate(0, 0)
    for first in range(0, len(ids), _ROWS):
        part = ids[first : first + _ROWS]
        model.decode([BatchToken(id, first + at, 0, True) for at, id in enumerate(part)])
        logits = np.stack([model.logits(at) for at in range(len(part))]).astype(np.float32)
        logits -= logits.max(-1, keepdims=True)
        yield logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def _differences(expected: Array, found: Iterator[Array], ids: list[int]) -> tuple[Array, Array, Array]:
    """Per position: KL divergence, distance of the next token's log-probability, agreement (0 or 1)."""
    columns: list[tuple[Array, Array, Array]] = []
    first = 0
    for theirs in found:
        ours = expected[first : first + len(theirs)]
        rows = np.arange(len(theirs))
        divergence = (np.exp(ours) * (ours - theirs)).sum(-1)
        following = np.asarray([*ids[1:], ids[-1]][first : first + len(theirs)])
        distance = np.abs(ours[rows, following] - theirs[rows, following])
        lost = ours.max(-1) - ours[rows, theirs.argmax(-1)]
        columns.append((divergence, distance, (lost <= _NEAR_TIE).astype(np.float32)))
        first += len(theirs)
    divergences, distances, agreements = (np.concatenate(part) for part in zip(*columns, strict=True))
    return divergences, distances, agreements


@contextmanager
def _widened(student: Any) -> Iterator[None]:
    """For the length of a block, a model's layers compute in float32; their own types are put back."""
    base = student.get_base_model() if hasattr(student, "get_base_model") else student
    own: dict[torch.nn.Parameter, torch.dtype] = {}

    def widen(module: Any, _inputs: object) -> None:
        for parameter in module.parameters():
            own[parameter] = parameter.dtype
            parameter.data = parameter.data.float()

    def narrow(module: Any, _inputs: object, _output: object) -> None:
        for parameter in module.parameters():
            parameter.data = parameter.data.to(own[parameter])

    embedding = base.model.embed_tokens
    handles = [embedding.register_forward_hook(lambda _module, _inputs, output: output.float())]
    for module in (*base.model.layers, base.model.norm, base.lm_head):
        handles += [module.register_forward_pre_hook(widen), module.register_forward_hook(narrow)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
