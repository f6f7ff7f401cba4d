"""The one place that knows a prompt format: Qwen2.5's ChatML and fill-in-the-middle markers.

Works on token ids: user text is tokenized as plain text, so that a marker typed by a user stays
text and can never end a turn. Format: Qwen2.5 technical report (arXiv 2412.15115) and
Qwen2.5-Coder (arXiv 2409.12186), section on file-level fill-in-the-middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FIM_MARKERS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_FIM_STOPS = ("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", *FIM_MARKERS, "<|endoftext|>", "<|im_end|>")
_CHAT_STOPS = ("<|im_end|>", "<|endoftext|>")
_DEFAULT_SYSTEM = "You are a helpful assistant."


class Tokenizes(Protocol):
    """The part of an engine, or of a tokenizer alone, that a prompt format needs."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """As `serve.engines.base.Engine.tokenize`."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def marker_id(engine: Tokenizes, marker: str) -> int:
    """The id of a special token. ValueError when this model does not have it as one token."""
    ids = engine.tokenize(marker, special=True)
    if len(ids) != 1:
        raise ValueError(f"this model's vocabulary has no single token for {marker}")
    return ids[0]


def fim_prompt(engine: Tokenizes, prefix: Sequence[int], suffix: Sequence[int]) -> list[int]:
    """Prefix-suffix-middle order; an empty suffix stays in fill-in-the-middle form."""
    before, after, middle = (marker_id(engine, marker) for marker in FIM_MARKERS)
    return [before, *prefix, after, *suffix, middle]


def fim_stop_ids(engine: Tokenizes) -> frozenset[int]:
    """Every token that can only mean "the middle is over"."""
    return frozenset(marker_id(engine, marker) for marker in _FIM_STOPS)


def chat_prompt(engine: Tokenizes, messages: Iterable[ChatMessage]) -> list[int]:
    """ChatML with the assistant's turn opened; a default system message where none is given."""
    start = marker_id(engine, "<|im_start|>")
    ids = [id for turn in _turns(messages) for id in _turn(engine, turn)]
    return [*ids, start, *engine.tokenize("assistant\n")]


def chat_example(engine: Tokenizes, messages: Iterable[ChatMessage]) -> tuple[list[int], list[bool]]:
    """A whole conversation as ids, and which of them a model has to write itself: the content of the
    assistant's turns and the marker that ends each. Up to the last answer the ids are `chat_prompt`'s."""
    header = [marker_id(engine, "<|im_start|>"), *engine.tokenize("assistant\n")]
    ids: list[int] = []
    written: list[bool] = []
    for turn in _turns(messages):
        if turn.role == "assistant":
            body = engine.tokenize(turn.content)
            one = [*header, *body, marker_id(engine, "<|im_end|>"), *engine.tokenize("\n")]
            mine = (
                [False] * len(header)
                + [True] * (len(body) + 1)
                + [False] * (len(one) - len(header) - len(body) - 1)
            )
        else:
            one = _turn(engine, turn)
            mine = [False] * len(one)
        ids += one
        written += mine
    return ids, written


def fim_example(
    engine: Tokenizes, prefix: Sequence[int], suffix: Sequence[int], middle: Sequence[int]
) -> tuple[list[int], list[bool]]:
    """`fim_prompt` with its middle and the end of text; as in `chat_example`, which ids a model writes."""
    prompt = fim_prompt(engine, prefix, suffix)
    ids = [*prompt, *middle, marker_id(engine, "<|endoftext|>")]
    return ids, [at >= len(prompt) for at in range(len(ids))]


def _turns(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    turns = list(messages)
    if not turns or turns[0].role != "system":
        turns.insert(0, ChatMessage("system", _DEFAULT_SYSTEM))
    return turns


def _turn(engine: Tokenizes, turn: ChatMessage) -> list[int]:
    start, end = marker_id(engine, "<|im_start|>"), marker_id(engine, "<|im_end|>")
    return [start, *engine.tokenize(f"{turn.role}\n{turn.content}"), end, *engine.tokenize("\n")]


def chat_stop_ids(engine: Tokenizes) -> frozenset[int]:
    """Tokens that end the assistant's turn."""
    return frozenset(marker_id(engine, marker) for marker in _CHAT_STOPS)
