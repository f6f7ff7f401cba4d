"""Answering: the teacher's responses to what waits for one. Records that have theirs pass through.

A truncated or empty answer is a rejection, never an example. Knows nothing of quality.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from distill.agents.outcome import Outcome, distinct, tally
from distill.agents.prompt_files import derived_seed
from distill.agents.reading import NO_REPLY
from distill.asking import Asking
from distill.recipe import Answering
from distill.records import Record, Rejection
from distill.teachers.base import Ask, Failure, Reply, Sampling

AGENT = "answering"
_LEAST_TEMPERATURE = 0.7
"""Of the second draw and those behind it: greedy ones would all be the same."""
_MARKERS = re.compile(r"<\|[a-z_]+\|>")


def run(records: Sequence[Record], settings: Answering, asking: Asking, *, seed: int) -> Outcome:
    """All records, answered; several draws of one stand behind each other."""
    planned = list(_planned(records, settings, seed))
    answers = asking.ask([ask for _, ask in planned])
    by_record: dict[str, list[Reply | Failure]] = {}
    for record, ask in planned:
        by_record.setdefault(record.id, []).append(answers[ask.key])
    kept: list[Record] = []
    rejections: list[Rejection] = []
    for record in records:
        if record.response:
            kept.append(record)
        for answer in by_record.pop(record.id, ()):
            child, reason, detail = _answered(record, answer)
            if child:
                kept.append(child)
            else:
                rejections.append(Rejection(record=record, agent=AGENT, reason=reason, detail=detail))
    given = [record for record in records if record.response]
    once = distinct(kept)
    metrics = tally(
        once,
        rejections,
        answered_before=len(given),
        asked=len(planned),
        same_draws=len(kept) - len(once),
    )
    return Outcome(once, rejections, metrics)


def preview(records: Sequence[Record], settings: Answering, *, seed: int) -> list[Ask]:
    """All that is asked."""
    return [ask for _, ask in _planned(records, settings, seed)]


def _planned(records: Sequence[Record], settings: Answering, seed: int) -> Iterator[tuple[Record, Ask]]:
    for record in distinct(record for record in records if not record.response):
        for draw in range(settings.draws):
            temperature = settings.temperature
            if draw:
                temperature = max(temperature, _LEAST_TEMPERATURE)
            sampling = Sampling(
                max_tokens=settings.max_tokens,
                temperature=temperature,
                seed=derived_seed(seed, AGENT, record.id, str(draw)),
            )
            if record.kind == "chat":
                ask = Ask(messages=record.question, sampling=sampling, purpose=AGENT, salt=str(draw))
            else:
                ask = Ask(
                    prefix=record.prompt,
                    suffix=record.suffix,
                    sampling=sampling,
                    purpose=AGENT,
                    salt=str(draw),
                )
            yield record, ask


def _answered(record: Record, answer: Reply | Failure) -> tuple[Record | None, str, str]:
    """The answered record, or why there is none."""
    if isinstance(answer, Failure):
        return None, NO_REPLY, answer.reason
    if answer.truncated:
        return None, "truncated answer", f"{answer.completion_tokens} tokens"
    if not answer.text.strip():
        return None, "empty answer", ""
    if found := _MARKERS.search(answer.text):
        return None, "control tokens in the answer", found[0]
    # Blanks count where an answer continues a text.
    text = answer.text.strip() if record.kind == "chat" else answer.text
    return record.answered(text, source=AGENT), "", ""
