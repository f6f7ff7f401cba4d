"""From a question to the token ids that a local teacher continues, and back from its text to an answer.

The prompt formats themselves are `serve.prompt_format`'s. Knows no model and no API.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill.teachers.base import Ask, Failure, Reply
from serve import prompt_format
from serve.errors import Unprocessable
from serve.prompt_format import ChatMessage, Tokenizes

_BYTES_PER_TOKEN = 3
"""Rather too few: English has about four bytes a token, Chinese and Japanese about three."""
_TOKENS_PER_MESSAGE = 6
"""The markers around a turn."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a local teacher continues."""

    ids: list[int]
    stop_ids: frozenset[int]
    """Tokens that end the answer."""


def prompt_of(tokenizer: Tokenizes, ask: Ask) -> Prompt:
    """Raises Unprocessable where this model's vocabulary lacks the markers of the format."""
    try:
        if ask.prefix is not None:
            prefix, suffix = tokenizer.tokenize(ask.prefix), tokenizer.tokenize(ask.suffix)
            return Prompt(
                prompt_format.fim_prompt(tokenizer, prefix, suffix), prompt_format.fim_stop_ids(tokenizer)
            )
        turns = [ChatMessage(message.role, message.content) for message in ask.messages]
        return Prompt(prompt_format.chat_prompt(tokenizer, turns), prompt_format.chat_stop_ids(tokenizer))
    except ValueError as error:
        raise Unprocessable(f"this teacher cannot be asked in Qwen2.5's prompt format: {error}") from error


def answer_of(
    ask: Ask, text: str, *, prompt_tokens: int, completion_tokens: int, truncated: bool
) -> Reply | Failure:
    """The text as a reply. Nothing at all is no answer, except where a gap is to be filled."""
    text, cut = cut_at_stop(text, ask.sampling.stop)
    text = text.encode("utf-8", "replace").decode()  # JSON can hold half a character; a file cannot
    if ask.prefix is None and not text.strip():
        return Failure("empty answer")
    return Reply(
        text,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        truncated=truncated and not cut,
    )


def cut_at_stop(text: str, stop: tuple[str, ...]) -> tuple[str, bool]:
    """`text` before the first stop string, and whether there was one."""
    found = [at for one in stop if one and (at := text.find(one)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


def seed_of(ask: Ask) -> int:
    """The seed that an answer is drawn with, 0 to 2**31 - 1: from the whole question, so that draws that
    differ only in their salt differ, and the same question gets the same answer."""
    return int(ask.key[:8], 16) & 0x7FFF_FFFF


def estimated_prompt_tokens(ask: Ask) -> int:
    """About how many tokens the question takes, for a budget and a rate limit; rather too many."""
    texts = [message.content for message in ask.messages]
    if ask.prefix is not None:
        texts += [ask.prefix, ask.suffix]
    return sum(
        len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE for text in texts
    )
