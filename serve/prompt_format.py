"""The one place that knows a prompt format: Qwen2.5's ChatML and fill-in-the-middle markers.

Works on token ids: user text is tokenized as plain text, so that a marker typed by a user stays
text and can never end a turn. Format: Qwen2.5 technical report (arXiv 2412.15115) and
Qwen2.5-Coder (arXiv 2409.12186), section on file-level fill-in-the-middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from serve.engines.base import Engine

FIM_MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_FIM_STOPS = ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", *FIM_MARKERS, "<|endoftext|>", "<|im_end|>")
_CHAT_STOPS = ("<|im_end|>", "<|endoftext|>")
_DEFAULT_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def marker_id(engine: Engine, marker: str) -> int:
    """The id of a special token. ValueError when this model does not have it as one token."""
    ids = engine.tokenize(marker, special=True)
    if len(ids) != 1:
        raise ValueError(f"{engine.info.name} has no single token for {marker}")
    return ids[0]


def fim_prompt(engine: Engine, prefix: Sequence[int], suffix: Sequence[int]) -> list[int]:
    """Prefix-suffix-middle order; an empty suffix stays in fill-in-the-middle form."""
    before, after, middle = (marker_id(engine, marker) for marker in FIM_MARKERS)
    return [before, *prefix, after, *suffix, middle]


def fim_stop_ids(engine: Engine) -> frozenset[int]:
    """Every token that can only mean "the middle is over"."""
    return frozenset(marker_id(engine, marker) for marker in _FIM_STOPS)


def chat_prompt(engine: Engine, messages: Iterable[ChatMessage]) -> list[int]:
    """ChatML with the assistant's turn opened; a default system message where none is given."""
    turns = list(messages)
    if not turns or turns[0].role != "system":
        turns.insert(0, ChatMessage("system", _DEFAULT_SYSTEM))
    start, end = marker_id(engine, "<|im_start|>"), marker_id(engine, "<|im_end|>")
    newline = engine.tokenize("\n")
    ids: list[int] = []
    for turn in turns:
        body = engine.tokenize(f"{turn.role}\n{turn.content}")
        ids += [start, *body, end, *newline]
    return [*ids, start, *engine.tokenize("assistant\n")]


def chat_stop_ids(engine: Engine) -> frozenset[int]:
    """Tokens that end the assistant's turn."""
    return frozenset(marker_id(engine, marker) for marker in _CHAT_STOPS)
