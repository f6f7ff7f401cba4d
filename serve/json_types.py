"""JSON's numbers as Python takes them: 3.0 is a whole number there, "3" and true are none."""

from __future__ import annotations

from pydantic import BeforeValidator


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""For an integer of a strict model: `Annotated[int, Field(ge=1), WHOLE]` also takes 3.0."""
