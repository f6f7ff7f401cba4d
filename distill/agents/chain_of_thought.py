"""Chain of thought: the same task with its reasoning asked for, step by step (long) or brief (short).

A record that waits for an answer gets the request added to its instruction, and the teacher then answers that. Of an
answered one the answer is rewritten too, short to long or long to short, and must come to the same result.
Only for the task categories that the recipe calls reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distill.agents import invariants
from distill.agents.constraints import CODE_BLOCK, words
from distill.agents.language import NAMES, detect
from distill.agents.prompt_files import derived_seed, prompt, question
from distill.agents.reading import ask_for, tagged
from distill.asking import Asking
from distill.recipe import Rewriting
from distill.records import Language, Message, Record, Rejection
from distill.teachers.base import Ask

LONG = "rewriting/long"
SHORT = "rewriting/short"
_LONG_FROM_WORDS = 60
"""An answer of so many words, code aside, counts as long: it is made shorter, a shorter one longer."""
_REQUESTS: dict[str, dict[str, tuple[str, ...]]] = {
    LONG: {
        "en": (
            "Think step by step and show each step before you give the result.",
            "Explain your reasoning in detail, step by step, and then give the final answer.",
            "Work it out one step at a time, with the reason for each step.",
        ),
        "zh": ("请一步一步思考，写出每一步，再给出结果。", "请详细说明推理过程，最后给出答案。"),
        "ja": (
            "一歩ずつ考え、各段階を示してから結果を書いてください。",
            "推論の過程を詳しく説明し、最後に答えを書いてください。",
        ),
    },
    SHORT: {
        "en": (
            "Give the result with the key step only.",
            "Explain in one or two short sentences, then give the final answer.",
            "Keep the reasoning brief.",
        ),
        "zh": ("请只写关键步骤和结果。", "请简要说明理由，然后给出答案。"),
        "ja": ("要点となる段階と結果だけを書いてください。", "理由を簡潔に述べてから答えを書いてください。"),
    },
}
_ANSWER_LINE = {
    "en": 'End with a line "Answer: ...".',
    "zh": "最后一行写“答案：……”。",
    "ja": "最後の行に「答え：……」と書いてください。",
}


@dataclass(frozen=True, slots=True)
class _Version:
    record: Record
    style: str
    instruction: str
    ask: Ask | None
    """None where there is no answer to rewrite yet."""


def versions(
    records: Sequence[Record],
    settings: Rewriting,
    asking: Asking,
    seed: int,
    rejections: list[Rejection],
) -> list[Record]:
    """The versions with reasoning; what does not come to the same result is added to `rejections`."""
    planned = list(_planned(records, settings, seed))
    asks = [version.ask for version in planned if version.ask]
    answers = iter(ask_for(asks, lambda text: tagged(text, "answer"), asking))
    made: list[Record] = []
    for version in planned:
        child = version.record.asked(version.instruction, source=version.style, scores={})
        if version.ask is None:
            made.append(child)
            continue
        answer = next(answers)
        if answer.value is None:
            rejections.append(_rejected(child, answer.reason, answer.detail))
            continue
        child = with_answer(child, answer.value)
        reason, detail = _wrong(version, answer.value)
        if reason:
            rejections.append(_rejected(child, reason, detail))
        else:
            made.append(child)
    return made


def with_answer(record: Record, response: str) -> Record:
    """The same record (source and parents as they are) with a response."""
    return record.derive(messages=(*record.question, Message(role="assistant", content=response)))


def asks(records: Sequence[Record], settings: Rewriting, seed: int) -> list[Ask]:
    """The questions that rewrite existing answers."""
    return [version.ask for version in _planned(records, settings, seed) if version.ask]


def _planned(records: Sequence[Record], settings: Rewriting, seed: int) -> Iterator[_Version]:
    wanted = {"none": (), "long": (LONG,), "short": (SHORT,), "both": (LONG, SHORT)}[
        settings.chain_of_thought
    ]
    for record in records:
        # A required form (one sentence, JSON alone, ...) leaves no room for reasoning.
        if record.kind != "chat" or "constraint" in record.facts:
            continue
        if (
            record.category.split("_")[0] not in settings.reasoning
            and record.category not in settings.reasoning
        ):
            continue
        is_long = len(words(CODE_BLOCK.sub("", record.response))) >= _LONG_FROM_WORDS
        for style in wanted:
            if not record.response:
                yield _Version(record, style, _requested(record, style, seed), None)
            elif (style == LONG) != is_long:
                instruction = _requested(record, style, seed)
                yield _Version(record, style, instruction, _ask(record, style, settings, seed))


def _requested(record: Record, style: str, seed: int) -> str:
    language: Language = record.language or detect(record.instruction) or "en"
    choices = _REQUESTS[style][language]
    request = choices[derived_seed(seed, style, record.id) % len(choices)]
    if "answer" in record.facts:
        request += ("" if language in ("zh", "ja") else " ") + _ANSWER_LINE[language]
    return f"{record.instruction}\n\n{request}"


def _ask(record: Record, style: str, settings: Rewriting, seed: int) -> Ask:
    return question(
        prompt(
            "rewriting_longer" if style == LONG else "rewriting_shorter",
            instruction=record.instruction,
            answer=record.response,
            language=NAMES[record.language or detect(record.instruction) or "en"],
        ),
        purpose=style,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=seed,
    )


def _wrong(version: _Version, answer: str) -> tuple[str, str]:
    known = version.record.facts.get("answer") or invariants.final_answer(version.record.response)
    found = invariants.final_answer(answer)
    if known and not invariants.same_answer(found, known):
        return "answer changed", f"{found[:80] or 'nothing'}, {known[:80]} wanted"
    before, after = len(words(version.record.response)), len(words(answer))
    if (version.style == LONG and after <= before) or (version.style == SHORT and after >= before):
        return "length unchanged", f"{before} words before, {after} after"
    return "", ""


def _rejected(record: Record, reason: str, detail: str) -> Rejection:
    return Rejection(record=record, agent="rewriting", reason=reason, detail=detail)
