"""Identifiers of requests: UUIDs of version 7 (RFC 9562), which sort by time and so index well."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A new id, 32 hexadecimal digits: 48 bits of milliseconds, then random bits."""
    value = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"{value:032x}"
