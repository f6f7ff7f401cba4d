"""The one record type of the distillation subsystem. Where records are kept, and in which formats they
come in and go out, is `record_files` and `imports`.

A record is frozen: an agent that changes one makes a child whose `parents` name where it came from.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["chat", "completion", "fim"]
Language = Literal["", "en", "zh", "ja"]
ID_LENGTH = 32


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class Record(BaseModel):
    """One example, finished (with a response) or still an instruction that waits for one.

    Three shapes, by `kind`: `chat` has `messages`, whose last is the assistant's once it is answered;
    `completion` has `prompt` and `completion`; `fim` (fill in the middle) has `prompt` (before the cursor),
    `suffix` (behind it) and `completion` (what belongs there).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "chat"
    messages: tuple[Message, ...] = ()
    prompt: str = ""
    suffix: str = ""
    completion: str = ""
    source: str
    """What made it: a file's name, or the agent's (`expansion/audience`, `sqltrack/join`, ...)."""
    category: str = ""
    """Task category, for the balance: `sql`, `maths`, `writing`, ..."""
    language: Language = ""
    parents: tuple[str, ...] = ()
    """Ids of the records it was made from."""
    scores: dict[str, float] = Field(default_factory=dict)
    """What agents measured, by `agent/measure`; no part of the id."""
    facts: dict[str, str] = Field(default_factory=dict)
    """What a checker needs and a model is not shown: `ddl`, `dialect`, `answer`, `constraint`, `references`,
    ...; no part of the id."""

    @model_validator(mode="after")
    def _has_its_shape(self) -> Record:
        if self.kind == "chat":
            if not self.messages:
                raise ValueError("a chat record needs messages")
            if self.prompt or self.suffix or self.completion:
                raise ValueError("a chat record has messages, and no prompt, suffix or completion")
            roles = [message.role for message in self.messages]
            turns = roles[1:] if roles[0] == "system" else roles
            if not turns or any(role != ("user", "assistant")[at % 2] for at, role in enumerate(turns)):
                raise ValueError(
                    "a chat's turns have to be user, assistant, user, ... (a system message may stand first)"
                )
        elif self.messages:
            raise ValueError(f"a {self.kind} record has prompt and completion, and no messages")
        elif self.kind == "completion" and self.suffix:
            raise ValueError("a completion record has no suffix; that is what kind 'fim' is for")
        return self

    @cached_property
    def id(self) -> str:
        """Hash of the content (kind, messages, prompt, suffix, completion): 32 hexadecimal digits."""
        content = [
            self.kind,
            [[message.role, message.content] for message in self.messages],
            self.prompt,
            self.suffix,
            self.completion,
        ]
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]

    @property
    def instruction(self) -> str:
        """What is asked: the last user message, or the prompt."""
        if self.kind != "chat":
            return self.prompt
        return next(message.content for message in reversed(self.messages) if message.role == "user")

    @property
    def response(self) -> str:
        """What is to be learned; empty while it is not answered."""
        if self.kind != "chat":
            return self.completion
        last = self.messages[-1]
        return last.content if last.role == "assistant" else ""

    @property
    def question(self) -> tuple[Message, ...]:
        """The messages a teacher is asked: all before the last response."""
        return (
            self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else self.messages
        )

    def answered(self, response: str, *, source: str, **changes: object) -> Record:
        """A child with `response` as its answer (the last one replaced, where there was one)."""
        update: dict[str, object] = {"source": source, "parents": (self.id,), **changes}
        if self.kind == "chat":
            update["messages"] = (*self.question, Message(role="assistant", content=response))
        else:
            update["completion"] = response
        return self.derive(**update)

    def asked(self, instruction: str, *, source: str, **changes: object) -> Record:
        """A child that asks `instruction` instead, with no response yet."""
        update: dict[str, object] = {"source": source, "parents": (self.id,), **changes}
        if self.kind == "chat":
            before = self.question[:-1]
            update["messages"] = (*before, Message(role="user", content=instruction))
        else:
            update |= {"prompt": instruction, "completion": ""}
        return self.derive(**update)

    def scored(self, **scores: float) -> Record:
        """The same record (same id) with more scores; write `agent__measure=` for `agent/measure`."""
        named = {name.replace("__", "/"): value for name, value in scores.items()}
        return self.model_copy(update={"scores": self.scores | named})

    def derive(self, **changes: object) -> Record:
        """A checked copy with `changes` (`model_copy` checks nothing and would keep the old id)."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return Record.model_validate({**fields, **changes})


def chat(
    instruction: str,
    response: str = "",
    *,
    source: str,
    system: str = "",
    category: str = "",
    language: Language = "",
    parents: tuple[str, ...] = (),
    facts: dict[str, str] | None = None,
) -> Record:
    """A conversation of one turn; without `response` it waits for an answer."""
    messages = [Message(role="system", content=system)] if system else []
    messages.append(Message(role="user", content=instruction))
    if response:
        messages.append(Message(role="assistant", content=response))
    return Record(
        messages=tuple(messages),
        source=source,
        category=category,
        language=language,
        parents=parents,
        facts=facts or {},
    )


class Rejection(BaseModel):
    """A record that did not come through an agent, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Record
    agent: str
    reason: str
    """A short, stable phrase that the data report counts by, such as `near-duplicate`."""
    detail: str = ""
