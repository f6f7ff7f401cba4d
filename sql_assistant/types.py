"""The request and response bodies of the SQL endpoints, one pydantic model each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve.json_types import WHOLE
from sql_assistant import dialects

IssueKind = Literal["syntax", "unknown_table", "unknown_column", "ambiguous_column", "type", "execution"]
DialectName = Annotated[str, Field(json_schema_extra={"enum": list(dialects.names())})]
"""Checked by `dialects.get`, which says what there is; the schema document lists them."""
Action = Literal["shown", "accepted", "partially_accepted", "rejected", "persisted", "not_shown"]


class Issue(BaseModel):
    """One finding about a statement; `start` and `end` are character offsets into the text sent."""

    model_config = ConfigDict(frozen=True)

    kind: IssueKind
    message: str
    start: int
    end: int
    severity: Literal["error", "warning"] = "error"
    """A warning never makes a statement invalid: the validator may be the one that is wrong."""


class Suggestion(BaseModel):
    """Text to insert at the cursor."""

    model_config = ConfigDict(frozen=True)

    text: str
    valid: bool
    """prefix + text + suffix holds a complete statement at the cursor that parses and qualifies."""
    issues: list[Issue] = Field(default_factory=list)
    logprob: float
    """Mean log-probability (natural) per generated token of the text kept."""


class Usage(BaseModel):
    """Token counts of one request."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Timings(BaseModel):
    """Where the time went, in milliseconds."""

    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    validate_ms: float = 0.0
    total_ms: float = 0.0


class WithSchema(BaseModel):
    """What every request on SQL says of its schema: a registered one, DDL, or none (syntax only)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dialect: DialectName = "sqlite"
    schema_id: str | None = None
    ddl: str | None = None


class CompleteRequest(WithSchema):
    """Complete the statement at the cursor, which stands between `prefix` and `suffix`."""

    prefix: str
    suffix: str = ""
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=8), WHOLE] = 1
    max_tokens: Annotated[int, Field(ge=1, le=512), WHOLE] = 64
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    stream: bool = False
    include_invalid: bool = False


class CompleteResponse(BaseModel):
    """Suggestions, best first; empty where nothing fits (inside a string literal, say)."""

    id: str
    model: str
    suggestions: list[Suggestion]
    usage: Usage
    timings: Timings
    nothing_because: str | None = None
    """Why there is no suggestion, where there is none."""


class Edit(BaseModel):
    """Replace the characters [start, end) of the statement sent by `text`."""

    model_config = ConfigDict(frozen=True)

    start: int
    end: int
    text: str


class RepairRequest(WithSchema):
    """Mend a broken statement; `error` is what the database said, where it said something."""

    sql: str
    error: str | None = None
    n: Annotated[int, Field(ge=1, le=8), WHOLE] = 1


class RepairSuggestion(BaseModel):
    """A mended statement and how it differs from the one sent."""

    sql: str
    edits: list[Edit]
    valid: bool
    issues: list[Issue]
    source: Literal["rule", "model"]
    explanation: str


class RepairResponse(BaseModel):
    """Best first."""

    id: str
    suggestions: list[RepairSuggestion]
    timings: Timings


class ValidateRequest(WithSchema):
    """Check every statement of `sql`."""

    sql: str


class ValidateResponse(BaseModel):
    """`valid` is false when any issue is an error."""

    valid: bool
    issues: list[Issue]


class SchemaRequest(BaseModel):
    """Register a schema from DDL, or from a database that settings allow (`url`)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    ddl: str | None = None
    url: str | None = None
    dialect: DialectName = "sqlite"


class EventRequest(BaseModel):
    """What became of a suggestion in the editor."""

    model_config = ConfigDict(extra="forbid", strict=True)

    completion_id: Annotated[str, Field(min_length=1, max_length=64)]
    action: Action
    accepted_chars: Annotated[int, Field(ge=0, le=10_000_000), WHOLE] | None = None
    client_latency_ms: Annotated[float, Field(ge=0, le=3_600_000)] | None = None
    reason: Annotated[str, Field(max_length=100)] | None = None
    """Why nothing was shown (`not_shown`) or it was dismissed."""
