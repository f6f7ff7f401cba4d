"""From a record to the tokens that are learned, scored and looked up: one encoding for all three.

The teacher scores exactly `Example.ids` at `Example.positions`; the student learns exactly those; the logit
store is keyed by `Example.key`. Nothing is ever cut off: what does not fit is a `TooLong` that is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.records import Record
from distill.tokenizer import Tokenizer
from serve import prompt_format
from serve.prompt_format import ChatMessage


@dataclass(frozen=True, slots=True)
class Example:
    """One record as tokens."""

    record_id: str
    ids: NDArray[np.int32]
    """[T] token ids, special ones included."""
    positions: NDArray[np.int32]
    """[P] ascending places t ≥ 1 whose token is learned: a causal model predicts ids[t] from ids[:t], so its
    logits at t - 1 belong to `positions` t. Row j of a teacher's distribution belongs to positions[j]."""

    @property
    def key(self) -> str:
        """Hash of ids and positions, 64 hexadecimal digits: equal tokens, equal key, whatever made them."""
        digest = hashlib.sha256(np.ascontiguousarray(self.ids, "<i4").tobytes())
        digest.update(b"\0positions\0")
        digest.update(np.ascontiguousarray(self.positions, "<i4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TooLong:
    """A record that has more tokens than the model is trained with."""

    record_id: str
    tokens: int
    limit: int

    def __str__(self) -> str:
        return f"record {self.record_id} has {self.tokens} tokens; the limit (max_tokens) is {self.limit}"


def encode(record: Record, tokenizer: Tokenizer, max_tokens: int) -> Example | TooLong:
    """Tokens of an answered record. ValueError when it has no response."""
    if not record.response:
        raise ValueError(f"record {record.id} has no response to learn from")
    if record.kind == "chat":
        turns = [ChatMessage(message.role, message.content) for message in record.messages]
        ids, written = prompt_format.chat_example(tokenizer, turns)
    elif record.kind == "fim":
        prefix, suffix, middle = map(tokenizer.tokenize, (record.prompt, record.suffix, record.completion))
        ids, written = prompt_format.fim_example(tokenizer, prefix, suffix, middle)
    else:
        prompt, completion = tokenizer.tokenize(record.prompt), tokenizer.tokenize(record.completion)
        end = prompt_format.marker_id(tokenizer, "<|endoftext|>")
        ids = [*prompt, *completion, end]
        written = [at >= max(1, len(prompt)) for at in range(len(ids))]
    if len(ids) > max_tokens:
        return TooLong(record.id, len(ids), max_tokens)
    return Example(record.id, np.asarray(ids, np.int32), np.flatnonzero(written).astype(np.int32))


def encode_all(
    records: Iterable[Record], tokenizer: Tokenizer, max_tokens: int
) -> tuple[list[Example], list[TooLong]]:
    """Examples in the records' order, and what was too long."""
    examples: list[Example] = []
    too_long: list[TooLong] = []
    for record in records:
        found = encode(record, tokenizer, max_tokens)
        if isinstance(found, Example):
            examples.append(found)
        else:
            too_long.append(found)
    return examples, too_long
