"""The vote of an independent model on whether answers are right; with documents, on whether those bear them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel

from distill.agents.checkers.base import Finding
from distill.agents.prompt_files import prompt, question
from distill.agents.reading import ask_for, reads
from distill.asking import Asking
from distill.records import Record
from distill.teachers.base import Ask

_TOKENS = 128
_TEMPERATURE = 0.7
"""Of several votes; a single one is greedy."""
_REFERENCE_CHARS = 6000


class _Vote(BaseModel):
    right: bool
    why: str = ""


def ballots(
    record: Record, votes: int, seed: int, references: Callable[[Record], str | None] | None
) -> list[Ask]:
    """The questions about one record."""
    known = ""
    if references and (text := references(record)):
        known = f"\nThe documents it must agree with, and nothing else counts:\n{text[:_REFERENCE_CHARS]}\n"
    return [
        question(
            prompt("verification_vote", instruction=record.instruction, answer=record.response, known=known),
            purpose="verification/vote",
            temperature=_TEMPERATURE if votes > 1 else 0.0,
            max_tokens=_TOKENS,
            seed=seed,
            salt=str(number),
        )
        for number in range(votes)
    ]


def vote(
    records: Sequence[Record],
    votes: int,
    asking: Asking,
    *,
    seed: int,
    references: Callable[[Record], str | None] | None = None,
) -> list[tuple[Finding, float]]:
    """For each record: whether more than half of all votes are for it, and the share that are.

    A vote that cannot be read is none for it.
    """
    asks = [ask for record in records for ask in ballots(record, votes, seed, references)]
    cast = ask_for(asks, reads(_Vote), asking)
    results = []
    for at in range(len(records)):
        mine = cast[at * votes : (at + 1) * votes]
        readable = [one.value for one in mine if one.value]
        for_it = sum(one.right for one in readable)
        why = next((one.why for one in readable if not one.right), "")
        if for_it * 2 > votes:
            finding = Finding(True)
        elif not readable:
            finding = Finding(False, "no readable vote", mine[0].reason)
        else:
            finding = Finding(False, "voted down", f"{for_it} of {votes} for it; {why}"[:300])
        results.append((finding, for_it / votes))
    return results
