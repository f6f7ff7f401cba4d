"""Bodies of the OpenAI-compatible routes, as their public API reference describes them.

What changes the answer and is not supported is refused by name rather than ignored; what changes
nothing (`user`, `metadata`, ...) is accepted and ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from serve.errors import InvalidRequest
from serve.json_types import WHOLE

FinishReason = Literal["stop", "length"]
_TokenId = Annotated[int, Field(ge=0), WHOLE]
_Stop = Annotated[str, Field(min_length=1, max_length=1000)]
_Zero = Annotated[float, Field(ge=0, le=0)]
_Ignored = Any

_NEUTRAL: dict[str, tuple[object, ...]] = {
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "best_of": (None, 1),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "web_search_options": (None,),
}
"""Parameters that are not supported, and the values that ask for nothing."""


class StreamOptions(BaseModel):
    """`stream_options` of a request."""

    model_config = ConfigDict(extra="ignore", strict=True)

    include_usage: bool = False
    """One more chunk before the end, with the token counts."""


class _GenerationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)

    model: str | None = None
    """Empty or absent: the default model."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Absent: 1. 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Absent: 1."""
    seed: Annotated[int, WHOLE] | None = None
    """Same seed, same output on the same machine."""
    stop: _Stop | Annotated[list[_Stop], Field(max_length=8)] | None = None
    """Generation ends before the first of these."""
    n: Annotated[int, Field(ge=1, le=16), WHOLE] | None = None
    """Choices per prompt; absent: 1."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    presence_penalty: _Zero | None = None
    """Not supported: only 0."""
    frequency_penalty: _Zero | None = None
    """Not supported: only 0."""
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    """Not supported: only empty."""

    user: _Ignored = None
    metadata: _Ignored = None
    store: _Ignored = None
    service_tier: _Ignored = None
    safety_identifier: _Ignored = None
    prompt_cache_key: _Ignored = None
    prompt_cache_retention: _Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, data: object) -> object:
        if isinstance(data, dict):
            for name, neutral in _NEUTRAL.items():
                if name in cls.model_fields and data.get(name) not in neutral:
                    raise InvalidRequest(f"{name} is not supported here; leave it out", param=name)
        return data

    @property
    def stops(self) -> tuple[str, ...]:
        """`stop` as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class CompletionRequest(_GenerationRequest):
    """Continue a text, or fill the gap between it and `suffix`."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=64)]
        | Annotated[list[_TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[_TokenId], Field(min_length=1)]], Field(min_length=1, max_length=64)]
    )
    """A text, a list of texts, a list of token ids, or a list of those."""
    suffix: str | None = None
    """The text after the gap: the prompt takes the model's fill-in-the-middle form."""
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Absent: 16."""
    logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    """How many of the likeliest tokens to report at each step."""
    echo: bool | None = None
    """Put the prompt before the text; not together with `logprobs` or `suffix`."""
    best_of: Annotated[int, Field(ge=1, le=1), WHOLE] | None = None
    """Not supported: only 1."""

    def prompts(self) -> list[str | list[int]]:
        """The prompts, one a choice (or `n`)."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [item for item in self.prompt if not isinstance(item, int)]


class ContentPart(BaseModel):
    """One part of a message; only text is supported."""

    model_config = ConfigDict(extra="ignore", strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_tool_calls(cls, data: object) -> object:
        if isinstance(data, dict) and (data.get("tool_calls") or data.get("function_call")):
            raise InvalidRequest("tool calls are not supported here", param="messages")
        return data

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of the {self.role} needs content")
        return self

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or ())


class TextFormat(BaseModel):
    """The only `response_format` there is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]


class ChatRequest(_GenerationRequest):
    """Answer the last message of a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=2048)]
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Absent: what the context leaves, at most 1024. The older name of `max_completion_tokens`."""
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    logprobs: bool | None = None
    """Report the log-probability of each token."""
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    """With `logprobs`: how many of the likeliest tokens to report at each step."""

    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    """Not supported: only empty."""
    tool_choice: Literal["none", "auto"] | None = None
    functions: Annotated[list[Any], Field(max_length=0)] | None = None
    """Not supported: only empty."""
    function_call: Literal["none", "auto"] | None = None
    response_format: TextFormat | None = None
    """Not supported beyond text."""
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    audio: None = None
    """Not supported."""
    prediction: None = None
    """Not supported."""
    web_search_options: None = None
    """Not supported."""
    parallel_tool_calls: _Ignored = None
    reasoning_effort: _Ignored = None
    verbosity: _Ignored = None


class PromptTokensDetails(BaseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0


class Usage(BaseModel):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class CompletionLogprobs(BaseModel):
    """Parallel lists, one item a token; `text_offset` in characters of the choice's text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(BaseModel):
    """A whole completion, or one chunk of a stream."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The answer to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """One chunk of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "distilsql"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]
