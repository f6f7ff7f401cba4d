"""Rewriting: paraphrases whose meaning is checked.

A paraphrase must keep the numbers, quoted text and code names of the instruction, and (when `check_paraphrases` is
on) the teacher, asked anew, must find that both want the same. An answered record's paraphrase keeps the answer, as
it wants the same. Versions with reasoning are `chain_of_thought`, which `run` calls for the originals.
Knows no categories' checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from distill.agents import chain_of_thought, invariants
from distill.agents.chain_of_thought import with_answer
from distill.agents.language import NAMES, detect
from distill.agents.outcome import Outcome, distinct, tally
from distill.agents.prompt_files import prompt, question
from distill.agents.reading import ask_for, one_instruction, reads
from distill.agents.similarity import jaccard, shingles
from distill.agents.wordings import saying
from distill.asking import Asking
from distill.recipe import Rewriting
from distill.records import Record, Rejection
from distill.teachers.base import Ask

AGENT = "rewriting"
SOURCE = f"{AGENT}/paraphrase"
MEANING_CHANGED = "meaning changed"
_CHECK_TOKENS = 64
_SAME_WORDS = 0.9
"""Jaccard similarity from which a paraphrase has changed nothing."""


class _Verdict(BaseModel):
    same: bool


def run(records: Sequence[Record], settings: Rewriting, asking: Asking, *, seed: int) -> Outcome:
    """The records, then their paraphrases, then the versions with reasoning."""
    rejections: list[Rejection] = []
    paraphrases = _paraphrased(records, settings, asking, seed, rejections)
    reasoned = chain_of_thought.versions(records, settings, asking, seed, rejections)
    kept = distinct([*records, *paraphrases, *reasoned])
    metrics = tally(
        kept,
        rejections,
        paraphrases=len(paraphrases),
        long_reasoning=sum(record.source == chain_of_thought.LONG for record in reasoned),
        short_reasoning=sum(record.source == chain_of_thought.SHORT for record in reasoned),
    )
    return Outcome(kept, rejections, metrics)


def preview(records: Sequence[Record], settings: Rewriting, *, seed: int) -> list[Ask]:
    """What is asked first: the paraphrases, and answers to be rewritten with their reasoning."""
    asks = [ask for _, ask in _asks(records, settings, seed)]
    return asks + chain_of_thought.asks(records, settings, seed)


def _asks(records: Sequence[Record], settings: Rewriting, seed: int) -> list[tuple[Record, Ask]]:
    return [
        (
            record,
            question(
                prompt(
                    "rewriting_paraphrase",
                    instruction=record.instruction,
                    language=NAMES[record.language or detect(record.instruction) or "en"],
                ),
                purpose=SOURCE,
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
                seed=seed,
                salt=str(number),
            ),
        )
        for record in records
        if record.kind == "chat"
        for number in range(settings.paraphrases)
    ]


def _paraphrased(
    records: Sequence[Record],
    settings: Rewriting,
    asking: Asking,
    seed: int,
    rejections: list[Rejection],
) -> list[Record]:
    asks = _asks(records, settings, seed)
    candidates: list[tuple[Record, Record]] = []
    for (record, _), answer in zip(
        asks, ask_for([ask for _, ask in asks], one_instruction, asking), strict=True
    ):
        if answer.value is None:
            rejections.append(_rejected(record, answer.reason, answer.detail))
            continue
        child = _child(record, answer.value)
        reason, detail = _unlike(record, child)
        if reason:
            rejections.append(_rejected(child, reason, detail))
        else:
            candidates.append((record, child))
    if not settings.check_paraphrases:
        return [child for _, child in candidates]
    return _confirmed(candidates, asking, seed, rejections)


def _child(record: Record, instruction: str) -> Record:
    if requirement := saying(record.facts.get("constraint", "")):
        instruction = requirement.ensured(instruction, record.language or detect(instruction))
    child = record.asked(instruction, source=SOURCE, scores={})
    return with_answer(child, record.response) if record.response else child


def _unlike(record: Record, child: Record) -> tuple[str, str]:
    before, after = record.instruction, child.instruction
    if jaccard(shingles(before), shingles(after)) >= _SAME_WORDS:
        return "nothing changed", ""
    if detect(before) != detect(after):
        return "wrong language", f"{detect(after) or 'unknown'}, {detect(before) or 'unknown'} wanted"
    if gone := invariants.lost(before, after):
        return MEANING_CHANGED, f"lost: {gone}"
    if new := invariants.gained(before, after):
        return MEANING_CHANGED, f"new number: {new}"
    return "", ""


def _confirmed(
    candidates: Sequence[tuple[Record, Record]], asking: Asking, seed: int, rejections: list[Rejection]
) -> list[Record]:
    checks = [
        question(
            prompt("rewriting_check", before=before.instruction, after=after.instruction),
            purpose=f"{AGENT}/check",
            temperature=0.0,
            max_tokens=_CHECK_TOKENS,
            seed=seed,
        )
        for before, after in candidates
    ]
    kept = []
    for (_, child), answer in zip(candidates, ask_for(checks, reads(_Verdict), asking), strict=True):
        if answer.value is None:
            rejections.append(_rejected(child, answer.reason, answer.detail))
        elif not answer.value.same:
            rejections.append(_rejected(child, MEANING_CHANGED, "says the teacher"))
        else:
            kept.append(child)
    return kept


def _rejected(record: Record, reason: str, detail: str = "") -> Rejection:
    return Rejection(record=record, agent=AGENT, reason=reason, detail=detail)
