"""When the next question may be sent: what an API's rate-limit headers say, shared by all questions.

Headers: OpenAI's `x-ratelimit-remaining-requests` and `x-ratelimit-reset-requests` (likewise `-tokens`;
durations such as `6m0s`), Anthropic's `anthropic-ratelimit-requests-remaining` and `-reset` (likewise
`tokens`; RFC 3339 times), and `Retry-After` (seconds or an HTTP date, RFC 9110).
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_PAUSE_S = 600.0
"""No header makes us wait longer than this."""
_FIRST_PAUSE_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Pacer:
    """Holds questions back while the API has no room for them. Used on one event loop."""

    def __init__(self) -> None:
        self._until = 0.0

    async def ready(self) -> None:
        """Return when nothing is to be waited for."""
        waited_for = 0.0
        while self._until > max(waited_for, time.monotonic()):
            waited_for = self._until
            wait = waited_for - time.monotonic()
            await asyncio.sleep(wait + random.uniform(0, 0.05 * wait))

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._until = max(self._until, time.monotonic() + min(seconds, LONGEST_PAUSE_S))

    def note(self, headers: Mapping[str, str], tokens: int) -> None:
        """Pause until the reset when the headers leave no room for another question of `tokens`."""
        for what, needed in (("requests", 1), ("tokens", tokens)):
            left = _number(
                headers.get(f"x-ratelimit-remaining-{what}")
                or headers.get(f"anthropic-ratelimit-{what}-remaining")
            )
            if left is None or left >= needed:
                continue
            reset = headers.get(f"x-ratelimit-reset-{what}")
            at = headers.get(f"anthropic-ratelimit-{what}-reset")
            wait = duration(reset) if reset else until(at) if at else None
            if wait:
                self.pause(wait)


def backoff(tries: int) -> float:
    """Seconds before the next try after `tries` failed ones: doubling, half of it random."""
    full = min(_FIRST_PAUSE_S * 2.0 ** (tries - 1), _LONGEST_BACKOFF_S)
    return random.uniform(full / 2, full)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait; None when it does not say."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text)
    return max(0.0, seconds) if seconds is not None else until(text)


def duration(text: str) -> float | None:
    """Seconds of `1s`, `6m0s`, `20ms` or a bare number."""
    if (seconds := _number(text)) is not None:
        return max(0.0, seconds)
    parts = _DURATION.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None


def until(text: str) -> float | None:
    """Seconds from now to an RFC 3339 time or an HTTP date; 0 when it is past."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None
