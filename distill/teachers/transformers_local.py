"""A Hugging Face folder (or a dequantised GGUF) under PyTorch as a teacher that answers, in batches padded on
the left. Scoring is `transformers_scorer`. No chat template is run: prompts are `serve.prompt_format`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from distill.recipe import Teacher
from distill.students import load_student, resolve_model
from distill.teachers.base import Ask, Failure
from distill.teachers.metered import Outcome
from distill.teachers.prompts import Prompt, answer_of, cut_at_stop, prompt_of, seed_of
from distill.tokenizer import Tokenizer
from serve.errors import Unavailable, Unprocessable

_WINDOW = 8
"""Questions looked at together, in units of `concurrency`, to put such of like length into a batch."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Weights on their device, and the tokenizer."""

    model: Any
    """A `Qwen2ForCausalLM` in eval mode."""
    tokenizer: Tokenizer
    device: torch.device


def load(settings: Teacher) -> LoadedModel:
    """Raises NotFound, Unprocessable, Unavailable (no such device)."""
    path = resolve_model(settings.model)
    device = _device(settings.device)
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    tokenizer = Tokenizer.load(path)
    model = load_student(path, dtype=getattr(torch, dtype), device=device)
    if model.config.vocab_size < tokenizer.real_vocabulary:
        raise Unprocessable(f"{path}: the model has fewer rows than its tokenizer has tokens")
    return LoadedModel(model, tokenizer, device)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise Unprocessable(f"{name} is no device: name cpu, cuda or cuda:1", param="device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Unavailable(f"there is no GPU for device {name}: take cpu or auto", param="device")
    return device


@dataclass(frozen=True, slots=True)
class _Question:
    number: int
    ask: Ask
    prompt: Prompt

    @property
    def most_tokens(self) -> int:
        return len(self.prompt.ids) + self.ask.sampling.max_tokens


class TransformersBackend:
    """Implements `distill.teachers.metered.Backend`."""

    def __init__(self, settings: Teacher) -> None:
        """Loads the model. Raises as `load`."""
        self._settings = settings
        self._loaded: LoadedModel | None = load(settings)

    @property
    def name(self) -> str:
        return f"transformers: {self._settings.model}"

    def answer(self, asks: Iterator[tuple[int, Ask]]) -> Iterator[tuple[int, Outcome]]:
        while window := list(islice(asks, _WINDOW * self._settings.concurrency)):
            questions: list[_Question] = []
            for number, ask in window:
                question = _Question(number, ask, prompt_of(self._open().tokenizer, ask))
                longest = self._open().model.config.max_position_embeddings
                if question.most_tokens > longest:
                    told = f"too long: up to {question.most_tokens} tokens, the model's context is {longest}"
                    yield number, Outcome(Failure(told))
                else:
                    questions.append(question)
            questions.sort(key=lambda one: one.most_tokens)
            for batch in self._batches(questions):
                yield from zip((one.number for one in batch), self._generate(batch), strict=True)

    def close(self) -> None:
        self._loaded = None

    def _open(self) -> LoadedModel:
        if self._loaded is None:
            raise Unavailable(f"the teacher {self.name} is closed")
        return self._loaded

    def _batches(self, questions: list[_Question]) -> Iterator[list[_Question]]:
        """Neighbours in length, as many as fit `batch_tokens` with their padding, `concurrency` at most."""
        batch: list[_Question] = []
        for question in questions:  # ascending: the newcomer is the longest
            size = (len(batch) + 1) * question.most_tokens
            if batch and (size > self._settings.batch_tokens or len(batch) == self._settings.concurrency):
                yield batch
                batch = []
            batch.append(question)
        if batch:
            yield batch

    @torch.inference_mode()
    def _generate(self, batch: list[_Question]) -> list[Outcome]:
        loaded = self._open()
        ids, mask = _padded_left([one.prompt.ids for one in batch], loaded.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        draws = [_Draw(one, loaded) for one in batch]
        cache = None
        while True:
            out = loaded.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            logits = out.logits[:, -1, : loaded.tokenizer.real_vocabulary].float()
            chosen = [draw.next(row) for draw, row in zip(draws, logits, strict=True)]
            if all(draw.over for draw in draws):
                return [draw.outcome() for draw in draws]
            ids = torch.tensor(chosen, device=loaded.device)[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1


class _Draw:
    """One answer as it grows."""

    def __init__(self, question: _Question, loaded: LoadedModel) -> None:
        self._question = question
        self._tokenizer = loaded.tokenizer
        self._random = torch.Generator(loaded.device).manual_seed(seed_of(question.ask))
        self._ids: list[int] = []
        self._ended = False
        self.over = False

    def next(self, logits: torch.Tensor) -> int:
        """The token after `logits` [V]; any once the answer is over."""
        if self.over:
            return 0
        token = int(_draw(logits, self._question.ask, self._random))
        sampling = self._question.ask.sampling
        if token in self._question.prompt.stop_ids:
            self._ended = self.over = True
            return token
        self._ids.append(token)
        if sampling.stop and cut_at_stop(self._text(), sampling.stop)[1]:
            self._ended = self.over = True
        elif len(self._ids) >= sampling.max_tokens:
            self.over = True
        return token

    def _text(self) -> str:
        return self._tokenizer.decode(self._ids)

    def outcome(self) -> Outcome:
        return Outcome(
            answer_of(
                self._question.ask,
                self._text(),
                prompt_tokens=len(self._question.prompt.ids),
                completion_tokens=len(self._ids),
                truncated=not self._ended,
            )
        )


def _draw(logits: torch.Tensor, ask: Ask, random: torch.Generator) -> torch.Tensor:
    """Greedy, or nucleus sampling (Holtzman et al. 2019, arXiv 1904.09751)."""
    sampling = ask.sampling
    if sampling.temperature <= 0:
        return logits.argmax()
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        outside = ordered.cumsum(0) - ordered >= sampling.top_p
        probabilities = probabilities.index_fill(0, order[outside], 0.0)
    return torch.multinomial(probabilities, 1, generator=random)


def _padded_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and attention mask, both [rows, longest]."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, longest - len(row) :] = torch.tensor(row)
        mask[at, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)
