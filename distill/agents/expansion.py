"""Expansion: many wordings of the same wish, and wholly new instructions, from seeds.

A wording changes one thing (audience, length, format, constraint, tone, situation, language) and has to keep the
seed's numbers, quoted text and code; then the facts of the seed (its `answer`, ...) hold for it too. New
instructions come in equal numbers for every task category, and bring no facts. Whatever is made is checked for
language and length, and against everything there is for near-duplicates. Knows no answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.agents import invariants
from distill.agents.language import NAMES, detect
from distill.agents.outcome import Outcome, counted, distinct, tally
from distill.agents.prompt_files import derived_seed, prompt, question
from distill.agents.reading import ask_for, instructions, one_instruction
from distill.agents.similarity import NearDuplicates
from distill.agents.wordings import Requirement, requirements
from distill.asking import Asking
from distill.recipe import Expansion
from distill.records import Language, Record, Rejection, chat
from distill.teachers.base import Ask

AGENT = "expansion"
_AT_ONCE = 4
"""New instructions asked for in one question: small teachers repeat themselves in longer lists."""
_ROUNDS = 3
"""After that a category that is still short stays short, and the metrics say so."""
_TOKENS_EACH = 160


@dataclass(frozen=True, slots=True)
class _Wording:
    seed: Record
    requirement: Requirement
    language: Language
    ask: Ask


def run(records: Sequence[Record], settings: Expansion, asking: Asking, *, seed: int) -> Outcome:
    """The seeds, then their wordings, then new instructions."""
    filters = _Filters(settings, records)
    rejections: list[Rejection] = []
    wordings = list(_wordings(records, settings, seed))
    made = _worded(wordings, asking, filters, rejections)
    new, short = _new(records, settings, asking, seed, filters, rejections)
    kept = distinct([*records, *made, *new])
    return Outcome(
        kept,
        rejections,
        tally(
            kept,
            rejections,
            seeds=len(records),
            wordings=len(made),
            new=len(new),
            axes=counted(record.source.partition("/")[2] for record in made),
            languages=counted(detect(record.instruction) or "?" for record in kept),
            short_of=short,
        ),
    )


def preview(records: Sequence[Record], settings: Expansion, *, seed: int) -> list[Ask]:
    """What is asked first: all wordings, and the first round of new instructions."""
    asks = [wording.ask for wording in _wordings(records, settings, seed)]
    for category, examples in _by_category(records).items():
        wanted = settings.new_per_category
        asks += [ask for ask, _ in _new_asks(category, examples, wanted, settings, seed, 0)]
    return asks


class _Filters:
    """Language, length and near-duplicates; remembers what it has let through."""

    def __init__(self, settings: Expansion, seeds: Sequence[Record]) -> None:
        self._settings = settings
        self._seen = NearDuplicates(settings.near_duplicate)
        for record in seeds:
            self._seen.add(record.instruction, record.facts.get("constraint", ""))

    def against(self, record: Record) -> tuple[str, str]:
        """Reason and detail of a rejection; ("", "") lets it through."""
        text = record.instruction
        if len(text) < self._settings.min_chars:
            return "too short", f"{len(text)} characters"
        if len(text) > self._settings.max_chars:
            return "too long", f"{len(text)} characters"
        found = detect(text)
        if found != record.language:
            return "wrong language", f"{found or 'unknown'}, {record.language} wanted"
        if seen := self._seen.add(text, record.facts.get("constraint", "")):
            return "near-duplicate", f"of: {seen[:200]}"
        return "", ""


def _wordings(records: Sequence[Record], settings: Expansion, seed: int) -> Iterator[_Wording]:
    for turn, record in enumerate(record for record in records if record.kind == "chat"):
        own = record.language or detect(record.instruction)
        first = own if own in settings.languages else settings.languages[0]
        languages = [first, *(language for language in settings.languages if language != first)]
        chosen = requirements(
            record.category,
            settings.per_seed,
            turn=turn,
            seed=seed,
            constrained="constraint" in record.facts,
        )
        for at, requirement in enumerate(chosen):
            language: Language = languages[at % len(languages)]
            text = prompt(
                "expansion_wording",
                instruction=record.instruction,
                change=requirement.change,
                language=NAMES[language],
            )
            ask = question(
                text,
                purpose=f"{AGENT}/{requirement.axis}",
                temperature=settings.temperature,
                max_tokens=settings.max_tokens,
                seed=seed,
            )
            yield _Wording(record, requirement, language, ask)


def _worded(
    wordings: Sequence[_Wording], asking: Asking, filters: _Filters, rejections: list[Rejection]
) -> list[Record]:
    made: list[Record] = []
    answers = ask_for([wording.ask for wording in wordings], one_instruction, asking)
    for wording, answer in zip(wordings, answers, strict=True):
        if answer.value is None:
            rejections.append(_rejected(wording.seed, answer.reason, answer.detail))
            continue
        record = _record(wording, answer.value)
        reason, detail = _unfaithful(wording, record) or filters.against(record)
        if reason:
            rejections.append(_rejected(record, reason, detail))
        else:
            made.append(record)
    return made


def _record(wording: _Wording, written: str) -> Record:
    requirement, seed = wording.requirement, wording.seed
    facts = dict(seed.facts)
    if requirement.constraint:
        facts["constraint"] = requirement.constraint.text
    return seed.asked(
        requirement.ensured(written, wording.language),
        source=f"{AGENT}/{requirement.axis}",
        language=wording.language,
        facts=facts,
        scores={},
    )


def _unfaithful(wording: _Wording, record: Record) -> tuple[str, str] | None:
    before, after = wording.seed.instruction, record.instruction
    same_language = detect(before) == wording.language
    if gone := invariants.lost(before, after, quotes=same_language):
        return "meaning changed", f"lost: {gone}"
    if "answer" in wording.seed.facts and not wording.requirement.constraint:
        if new := invariants.gained(before, after):
            return "meaning changed", f"new number: {new}"
    return None


def _by_category(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.kind == "chat":
            groups.setdefault(record.category or "other", []).append(record)
    return dict(sorted(groups.items()))


def _new(
    records: Sequence[Record],
    settings: Expansion,
    asking: Asking,
    seed: int,
    filters: _Filters,
    rejections: list[Rejection],
) -> tuple[list[Record], dict[str, int]]:
    """New instructions, and how many each category is short of."""
    groups = _by_category(records)
    made: dict[str, list[Record]] = {category: [] for category in groups}
    for number in range(_ROUNDS):
        planned = [
            (category, ask, language)
            for category, examples in groups.items()
            for ask, language in _new_asks(
                category, examples, settings.new_per_category - len(made[category]), settings, seed, number
            )
        ]
        answers = ask_for([ask for _, ask, _ in planned], instructions, asking)
        for (category, _, language), answer in zip(planned, answers, strict=True):
            if answer.value is None:
                rejections.append(_rejected(groups[category][0], answer.reason, answer.detail))
                continue
            for text in answer.value[:_AT_ONCE]:
                if len(made[category]) == settings.new_per_category:
                    break
                record = chat(text, source=f"{AGENT}/new", category=category, language=language)
                reason, detail = filters.against(record)
                if reason:
                    rejections.append(_rejected(record, reason, detail))
                else:
                    made[category].append(record)
    short = {
        category: settings.new_per_category - len(found)
        for category, found in made.items()
        if len(found) < settings.new_per_category
    }
    return [record for found in made.values() for record in found], short


def _new_asks(
    category: str, examples: list[Record], wanted: int, settings: Expansion, seed: int, number: int
) -> Iterator[tuple[Ask, Language]]:
    questions = -(-max(0, wanted) // _AT_ONCE)
    for at in range(questions):
        language: Language = settings.languages[at % len(settings.languages)]
        count = min(_AT_ONCE, wanted - at * _AT_ONCE)
        shown = sorted(examples, key=lambda one: derived_seed(seed, category, str(number), str(at), one.id))
        text = prompt(
            "expansion_new",
            category=category,
            examples="\n".join(
                f"<instruction>\n{one.instruction}\n</instruction>"
                for one in shown[: settings.examples_shown]
            ),
            count="one new instruction" if count == 1 else f"{count} new instructions",
            language=NAMES[language],
        )
        yield (
            question(
                text,
                purpose=f"{AGENT}/new",
                temperature=settings.temperature,
                max_tokens=max(settings.max_tokens, count * _TOKENS_EACH),
                seed=seed,
                salt=f"{number}/{at}",
            ),
            language,
        )


def _rejected(record: Record, reason: str, detail: str = "") -> Rejection:
    return Rejection(record=record, agent=AGENT, reason=reason, detail=detail)
