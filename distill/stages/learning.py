"""What the training stages share: which records are learned, which are held out, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.examples import Example, TooLong, encode_all
from distill.pipeline import Context
from distill.recipe import Distillation, Training
from distill.records import ID_LENGTH, Record
from distill.students import resolve_model
from distill.tokenizer import Tokenizer
from serve.errors import NotFound

HELD_OUT = "held_out"
"""Fact `split` of records that are for evaluation alone."""


@dataclass(frozen=True, slots=True)
class Split:
    """A run's records as examples."""

    tokenizer: Tokenizer
    train: list[Example]
    held_out: list[Example]
    too_long: list[TooLong]


def student_path(context: Context) -> Path:
    """The weights that the run begins with."""
    return resolve_model(context.recipe.student.model, context.settings)


def ranks(context: Context, settings: Training) -> int:
    """Devices that training is spread over."""
    return max(1, context.recipe.hardware.gpus) if settings.zero_stage else 1


def hostfile(context: Context) -> Path | None:
    """Where the nodes are listed. NotFound where the recipe names a file that is not there."""
    name = context.recipe.hardware.hostfile
    if not name:
        return None
    path = context.base / name
    if not path.is_file():
        raise NotFound(f"there is no hostfile {path}", param="hardware.hostfile")
    return path


def split(context: Context, settings: Training) -> Split:
    """Encode the run's records for `settings`; what is too long is told and counted."""
    records = context.records()
    if isinstance(settings, Distillation) and settings.on == "sql":
        records = [record for record in records if record.category.startswith("sql")]
    held_out = _held_out(records, settings.held_out)
    learned = [one for one in records if one.id not in held_out and one.facts.get("split") != HELD_OUT]
    tokenizer = Tokenizer.load(student_path(context))
    train, too_long = encode_all(learned, tokenizer, settings.max_tokens)
    kept, too_long_too = encode_all(
        [one for one in records if one.id in held_out], tokenizer, settings.max_tokens
    )
    left_out = [*too_long, *too_long_too]
    for one in left_out[:5]:
        context.say(f"{context.stage.name}: left out: {one}")
    if len(left_out) > 5:
        context.say(f"{context.stage.name}: left out: {len(left_out) - 5} more that are too long")
    context.stage.metrics |= {"examples": len(train), "held_out": len(kept), "too_long": len(left_out)}
    return Split(tokenizer, train, kept, left_out)


def _held_out(records: Sequence[Record], share: float) -> set[str]:
    """Ids of the held-out share: by the ids' own hash, so that a record is on the same side in every stage and
    whatever else there is; one at least where a share is asked for."""
    answered = [record.id for record in records if record.response]
    if not share or len(answered) < 2:
        return set()
    chosen = {id for id in answered if int(id, 16) / 16**ID_LENGTH < share}
    return chosen or {min(answered)}
