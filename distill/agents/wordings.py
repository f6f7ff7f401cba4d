"""In which ways a wish can be worded: for whom, how long, in which form, in which tone.

A `Requirement` says to the teacher what to change; where the change asks for a form that can be checked, it holds
the constraint, and the sentence to add where the teacher's wording has lost it. Which axes make sense
depends on the task category. Knows no teacher.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from distill.agents.constraints import Constraint
from distill.agents.prompt_files import derived_seed
from distill.records import Language


@dataclass(frozen=True, slots=True)
class Requirement:
    """One way to change an instruction."""

    axis: str
    """`audience`, `length`, `format`, `constraint`, `tone` or `situation`."""
    change: str
    """For the teacher."""
    constraint: Constraint | None = None
    said: tuple[str, str, str] = ("", "", "")
    """The constraint as a sentence: English, Chinese, Japanese."""
    signs: str = ""
    """Regular expression of what an instruction says that holds the constraint, in any of the languages."""

    def ensured(self, instruction: str, language: Language) -> str:
        """`instruction`, with the constraint said at its end where it does not say it."""
        if not self.constraint or re.search(self.signs, instruction, re.IGNORECASE):
            return instruction
        sentence = self.said[("en", "zh", "ja").index(language or "en")]
        gap = "" if language in ("zh", "ja") else " "
        return f"{instruction}\n\n{sentence}" if "\n" in instruction else f"{instruction}{gap}{sentence}"


def _plain(axis: str, *changes: str) -> list[Requirement]:
    return [Requirement(axis, change) for change in changes]


_AUDIENCE = _plain(
    "audience",
    "it adds that the answer has to suit a beginner who knows nothing of the subject.",
    "it adds that the answer has to suit a child of ten.",
    "it adds that the answer has to suit an expert in the field.",
    "it adds that the answer has to suit a manager who has two minutes.",
    "it adds that the answer has to suit a colleague from another field.",
)
_TONE = _plain(
    "tone",
    "it is worded formally, as in a letter to an authority.",
    "it is worded casually, as in a chat message to a friend.",
    "it is a terse command without any politeness.",
    "it is worded as a question.",
    "it begins with what it is about and ends with what is wanted.",
)
_SITUATION = _plain(
    "situation",
    "it first says in one sentence who is asking and why.",
    "it first names the everyday situation in which the question comes up.",
)
_LENGTH = [
    Requirement(
        "length",
        "it asks for an answer in one sentence.",
        Constraint(kind="max_sentences", count=1),
        ("Answer in one sentence.", "请用一句话回答。", "一文で答えてください。"),
        r"\b(one|a single|1) sentence|一句话|一文で|1文で",
    ),
    Requirement(
        "length",
        "it asks for an answer of at most 50 words.",
        Constraint(kind="max_words", count=50),
        (
            "Use at most 50 words.",
            "回答不超过50个字。",
            "50文字以内で答えてください。",
        ),
        r"\b(50|fifty)[ -]words?|50\s*个?字|50\s*文字",
    ),
    Requirement(
        "length",
        "it asks for an answer in exactly two paragraphs.",
        Constraint(kind="paragraphs", count=2),
        ("Answer in exactly two paragraphs.", "请分两段回答。", "二段落で答えてください。"),
        r"\b(two|2) paragraphs|[两二2]\s*个?段|[二2]\s*つの段落|[二2]段落",
    ),
]
_TABLE = Requirement(
    "format",
    "it asks for the answer as a Markdown table.",
    Constraint(kind="table"),
    ("Give the answer as a Markdown table.", "请用Markdown表格回答。", "Markdownの表で答えてください。"),
    r"\btable\b|表格|の表",
)
_JSON = Requirement(
    "format",
    "it asks for the answer as JSON and nothing else.",
    Constraint(kind="json"),
    ("Answer in JSON and nothing else.", "只用JSON回答。", "JSONだけで答えてください。"),
    r"\bJSON\b",
)
_STEPS = Requirement(
    "format",
    "it asks for the answer as a list of numbered steps.",
    Constraint(kind="numbered"),
    ("Answer in numbered steps.", "请用编号的步骤回答。", "番号付きの手順で答えてください。"),
    r"\bnumbered\b|编号|番号",
)
_BULLETS = [
    Requirement(
        "format",
        f"it asks for an answer of exactly {word} bullet points.",
        Constraint(kind="bullets", count=count),
        (
            f"Answer with exactly {word} bullet points.",
            f"请用{count}个要点（以“- ”开头）回答。",
            f"{count}個の箇条書き（「- 」で始める）で答えてください。",
        ),
        rf"\b({word}|{count}) bullet|{count}\s*个要点|{count}\s*[個つ]の箇条書き",
    )
    for word, count in (("three", 3), ("five", 5))
]
_RUNNING = Requirement(
    "constraint",
    "it forbids lists and headings in the answer.",
    Constraint(kind="running_text"),
    (
        "Write running text, without lists or headings.",
        "请写成连续的段落，不要使用列表或标题。",
        "箇条書きや見出しを使わず、文章で書いてください。",
    ),
    r"\b(without|no|avoid|not use)\b.{0,30}\b(lists?|bullets?)\b|不要.{0,6}列表|箇条書きや?.{0,8}(使わず|なし)",
)
_LAST_LINE = Requirement(
    "constraint",
    "it asks for the final answer alone on the last line.",
    Constraint(kind="last_line"),
    (
        "Put the final answer alone on the last line.",
        "请把最终答案单独写在最后一行。",
        "最終的な答えだけを最後の行に書いてください。",
    ),
    r"\blast line\b|最后一行|最後の行",
)
_CODE_ONLY = Requirement(
    "constraint",
    "it asks for code alone, in one code block, without any explanation.",
    Constraint(kind="code_only"),
    (
        "Reply with one code block and no explanation.",
        "只回复一个代码块，不要解释。",
        "説明なしで、コードブロックだけを返してください。",
    ),
    r"\bno (explanation|comment)|without (any )?explan|code only|only (the )?code|不要解释|説明なし",
)

_CODE = (_AUDIENCE, _TONE, [_CODE_ONLY], _SITUATION)
_REASONING = (_AUDIENCE, [_LAST_LINE], _TONE, [_STEPS])
_AXES: dict[str, tuple[list[Requirement], ...]] = {
    "code": _CODE,
    "sql": _CODE,
    "maths": _REASONING,
    "logic": _REASONING,
    "translation": (_TONE, _SITUATION),
    "extraction": ([_TABLE, _JSON], _TONE, _SITUATION),
}
_GENERAL = (_AUDIENCE, _LENGTH, [_TABLE, *_BULLETS, _STEPS], _TONE, [_RUNNING], _SITUATION)


_SAID = {
    one.constraint.text: one
    for axes in (*_AXES.values(), _GENERAL)
    for axis in axes
    for one in axis
    if one.constraint
}


def saying(constraint: str) -> Requirement | None:
    """The requirement behind a record's `constraint`; None where it is none of ours."""
    return _SAID.get(constraint)


def requirements(category: str, count: int, *, turn: int, seed: int, constrained: bool) -> list[Requirement]:
    """`count` ways to reword an instruction of `category`, fewer where there are no more.

    `turn` (the seed's number) decides with which axis it begins, so that all axes are used equally often; of each
    axis `seed` decides which comes first. An instruction that is `constrained` already gets no second form.
    """
    family = category.split("_")[0]
    axes = [
        [option for option in axis if not (constrained and option.constraint)]
        for axis in _AXES.get(family, _GENERAL)
    ]
    axes = [axis for axis in axes if axis]
    start = turn * count % len(axes)
    order = axes[start:] + axes[:start]
    turned = []
    for at, axis in enumerate(order):
        first = derived_seed(seed, str(turn), axis[0].axis, str(at)) % len(axis)
        turned.append(axis[first:] + axis[:first])
    rounds = range(max(map(len, turned)))
    return [axis[number] for number in rounds for axis in turned if number < len(axis)][:count]
