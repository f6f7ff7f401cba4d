"""What a request and an action become in the database; which text of a user is kept at all.

Pure functions from records to SQL parameters. When and by whom they are written is `events`' work.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from serve.settings import Settings
from sql_assistant.types import EventRequest


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One answered request. Times in milliseconds; a naive `at` counts as UTC."""

    id: str
    """Unique, at most 64 characters; what `EventRequest.completion_id` refers to."""
    task: str
    """"complete", "repair", "validate", ..."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: int = 200
    """The HTTP status it was answered with; 499 for one whose client went away."""
    model: str = ""
    schema_id: str | None = None
    dialect: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    queue_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    validate_ms: float = 0.0
    total_ms: float = 0.0
    suggestions: int = 0
    valid: bool | None = None
    """Whether the best suggestion is valid; None where that was not decided."""
    nothing_because: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    suggestion: str | None = None
    """The three texts are stored as `log_text` says: as they are, hashed, or not at all."""


class TextKeeper:
    """Turns a user's text into what may be stored of it."""

    def __init__(self, mode: str, key: bytes = b"") -> None:
        self._mode = mode
        self._key = key

    @classmethod
    def open(cls, settings: Settings) -> TextKeeper:
        """Reads the installation's own hash key where it is needed, and makes it the first time."""
        if settings.log_text != "hash":
            return cls(settings.log_text)
        return cls("hash", _installation_key(settings.state_dir / "text-hash.key"))

    def __call__(self, text: str | None) -> str | None:
        """The text itself, its keyed SHA-256 in hexadecimal, or None."""
        if text is None or self._mode == "none":
            return None
        if self._mode == "hash":
            # Keyed, because the hash of a short text could be found by hashing guesses.
            return hmac.new(self._key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        return storable(text)


def storable(text: str) -> str:
    """`text` without what a database column cannot hold (NUL in PostgreSQL, lone surrogates)."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _installation_key(path: Path) -> bytes:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where the file exists: of two processes starting at once, one key wins.
        os.link(aside, path)
    except FileExistsError:
        return path.read_bytes()
    finally:
        aside.unlink()
    return path.read_bytes()


_TEXT = ("task", "model", "schema_id", "dialect", "nothing_because")
_PLAIN = (
    "status",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "queue_ms",
    "prefill_ms",
    "decode_ms",
    "validate_ms",
    "total_ms",
    "suggestions",
)
_SQL_TEXT = ("prefix", "suffix", "suggestion")
_COLUMNS = ("id", "at_ms", "valid", *_TEXT, *_PLAIN, *_SQL_TEXT)

INSERT_REQUEST = (
    f"INSERT INTO distilsql_requests ({', '.join(_COLUMNS)}) "  # noqa: S608 (names from above)
    f"VALUES ({', '.join('?' for _ in _COLUMNS)}) ON CONFLICT (id) DO NOTHING"
)


def request_row(record: RequestRecord, keep: TextKeeper) -> tuple[object, ...]:
    """The parameters of INSERT_REQUEST."""
    texts = [None if value is None else storable(value) for value in (getattr(record, n) for n in _TEXT)]
    return (
        storable(record.id),
        _milliseconds(record.at),
        None if record.valid is None else int(record.valid),
        *texts,
        *(getattr(record, name) for name in _PLAIN),
        *(keep(getattr(record, name)) for name in _SQL_TEXT),
    )


_STAMPS = ("shown_ms", "accepted_ms", "partially_accepted_ms", "rejected_ms", "persisted_ms", "not_shown_ms")
# The first report of a fact stays, so that a client may send it again.
UPDATE_ACTION = (
    "UPDATE distilsql_requests SET "  # noqa: S608 (names from above)
    + ", ".join(f"{name} = COALESCE({name}, ?)" for name in _STAMPS)
    + ", reason = COALESCE(reason, ?), client_latency_ms = COALESCE(client_latency_ms, ?)"
    + ", accepted_chars = CASE WHEN accepted_chars > ? THEN accepted_chars"
    + " ELSE COALESCE(?, accepted_chars) END WHERE id = ?"
)


def action_row(event: EventRequest, at: datetime) -> tuple[object, ...]:
    """The parameters of UPDATE_ACTION.

    What an action implies is written with it: nothing is accepted that was not shown, and what
    still stands was accepted. So reports may arrive in any order.
    """
    action = event.action
    stamp = _milliseconds(at)
    true = {
        "shown_ms": action in ("shown", "accepted", "partially_accepted", "rejected", "persisted"),
        "accepted_ms": action == "accepted",
        "partially_accepted_ms": action == "partially_accepted",
        "rejected_ms": action == "rejected",
        "persisted_ms": action == "persisted",
        "not_shown_ms": action == "not_shown",
    }
    reason = None if event.reason is None else storable(event.reason)
    return (
        *(stamp if true[name] else None for name in _STAMPS),
        reason,
        event.client_latency_ms,
        event.accepted_chars,
        event.accepted_chars,
        storable(event.completion_id),
    )


def _milliseconds(at: datetime) -> int:
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
