"""Errors that are told to the person who can act on them; each knows the HTTP status it becomes.

Raised anywhere below the HTTP layer and turned into `{"error": {"type", "message", "param"}}` by
`serve.app`; the command line prints the message and exits with 1.
"""

from __future__ import annotations


class DistilsqlError(Exception):
    """What was wrong, where, and what to do about it, in one message.

    `param` names the offending request field or setting; `retry_after` is in seconds and only set
    where trying again later can help.
    """

    status = 500
    type = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(DistilsqlError):
    """The request cannot be understood as sent."""

    status = 400
    type = "invalid_request_error"


class Unauthorized(DistilsqlError):
    """No API key, or one that is not known."""

    status = 401
    type = "authentication_error"


class Forbidden(DistilsqlError):
    """Known or not, this may not be done from there (another site's page)."""

    status = 403
    type = "permission_error"


class NotFound(DistilsqlError):
    """The thing named (model, schema, completion) does not exist here."""

    status = 404
    type = "not_found_error"


class Conflict(DistilsqlError):
    """The thing exists already, or is in a state that forbids this."""

    status = 409
    type = "conflict_error"


class TooLarge(DistilsqlError):
    """The body, the statement or the prompt is over a limit; the message holds both counts."""

    status = 413
    type = "too_large_error"


class Unprocessable(DistilsqlError):
    """Well-formed, but the content is not usable (DDL that does not parse, an unknown dialect)."""

    status = 422
    type = "unprocessable_error"


class QueueFull(DistilsqlError):
    """More requests wait than the server is set to hold; `retry_after` says when to come back."""

    status = 429
    type = "rate_limit_error"


class Unavailable(DistilsqlError):
    """The server is starting, draining, or an upstream does not answer."""

    status = 503
    type = "unavailable_error"
