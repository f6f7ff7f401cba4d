"""Language by script, constraints, what survives a rewording, near-duplicates, quality."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.agents import invariants, quality
from distill.agents.constraints import Constraint, broken, sentences, words
from distill.agents.language import detect
from distill.agents.similarity import NearDuplicates, jaccard, shingles


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Explain why the sky is blue.", "en"),
        ("请解释天空为什么是蓝色的。", "zh"),
        ("空が青い理由を説明してください。", "ja"),
        ("请用Python写一个函数，返回列表的长度。", "zh"),
        ("Translate into Chinese: “博物馆星期一闭馆，请改天再来参观。”", "en"),
        ('把这句话翻译成英文："The river often floods in spring, and everybody knows it."', "zh"),
        ("12 + 30 = 42", ""),
        ("Объясните, почему небо голубое.", ""),
        ("`SELECT 1`", "en"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert detect(text) == language


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (Constraint(kind="max_sentences", count=1), "It costs 3.50 euros, e.g. on Monday.", "One. Two."),
        (Constraint(kind="max_sentences", count=1), "天空是蓝色的。", "天空是蓝色的。因为散射。"),
        (Constraint(kind="max_words", count=3), "just three words", "these are four words"),
        (Constraint(kind="paragraphs", count=2), "One.\n\nTwo.", "One.\nTwo."),
        (Constraint(kind="bullets", count=2), "Here:\n- one\n- two", "- one\n- two\n- three"),
        (Constraint(kind="numbered"), "1. one\n2. two", "1. one\n3. three"),
        (Constraint(kind="table"), "| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"),
        (Constraint(kind="json"), '```json\n{"a": [1]}\n```', 'Here: {"a": [1]}'),
        (Constraint(kind="code_only"), "```python\nx = 1\n```", "So:\n```python\nx = 1\n```"),
        (
            Constraint(kind="last_line"),
            "First we add.\n42",
            "We add and find, as was to be shown in all of this text here, 42",
        ),
        (Constraint(kind="running_text"), "It rose - and fell.", "- It rose\n- and fell"),
    ],
)
def test_a_constraint_is_kept_or_broken(constraint: Constraint, good: str, bad: str) -> None:
    assert broken(constraint, good) == ""
    assert broken(constraint, bad) != ""
    assert Constraint.model_validate_json(constraint.text) == constraint


@given(st.lists(st.from_regex(r"[A-Za-z]{2,9}", fullmatch=True), min_size=1, max_size=9), st.integers(1, 6))
def test_words_and_sentences_are_counted(some: list[str], count: int) -> None:
    text = " ".join([f"{' '.join(some)} now."] * count)
    assert len(words(text)) == (len(some) + 1) * count
    assert sentences(text) == count


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        ("Add 1,250 and 3.", "What do 1250 and three make?", ""),
        ("Add 17 and 25.", "Add 17 and 24.", "25"),
        ('Translate "good day".', "Translate “good day”.", ""),
        ('Translate "good day".', 'Translate "good morning".', "good day"),
        ("Call `total_price` in it.", "Call total_price in it.", ""),
        ("Use count_vowels(text).", "Use a function that counts vowels.", "count_vowels"),
        ("Mend:\n```python\nx = [1\n```", "Please mend this:\n```\nx = [1\n```", ""),
    ],
)
def test_what_is_lost(before: str, after: str, gone: str) -> None:
    assert invariants.lost(before, after) == gone


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First 3 + 4 = 7, then twice that: 14.", "14"),
        ("Some steps 1, 2.\n**Answer: 42 apples**", "42 apples"),
        ("So \\boxed{17} it is, from 9.", "17"),
        ("#### 8\nbecause of 9", "8"),
        ("答案：25", "25"),
        ("Like so:\n```python\nx = 1\n```\nand 2 more", "x = 1"),
        ("none at all", ""),
    ],
)
def test_final_answer(text: str, answer: str) -> None:
    assert invariants.final_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1,000", "1000.0", True),
        ("42 apples", "42", True),
        ("1/4", "0.25", True),
        ("**Dora**.", "dora", True),
        ("41", "42", False),
        ("12 and 42", "42", False),
    ],
)
def test_same_answer(one: str, other: str, same: bool) -> None:
    assert invariants.same_answer(one, other) is same


def test_near_duplicates_are_found_and_others_are_not() -> None:
    seen = NearDuplicates(0.7)
    text = "Explain in simple words why the sky looks blue at noon and red at sunset."
    assert seen.add(text) is None
    assert seen.add("Explain, in simple words, why the sky looks BLUE at noon and red at sunset!") == text
    assert seen.add("Explain in simple words why bread dough rises when it is left alone.") is None
    assert seen.add(text, variant='{"kind":"table"}') is None, "another required form is another wish"
    assert seen.add(text, variant='{"kind":"table"}') == text


def test_every_pair_above_the_threshold_is_found_among_many() -> None:
    seen = NearDuplicates(0.7)
    base = [
        f"Write a note about subject number {n * n} for the reader called {chr(97 + n % 26) * 6}."
        for n in range(300)
    ]
    kept = [text for text in base if seen.add(text) is None]
    pieces = [shingles(text) for text in kept]
    above = sum(jaccard(a, b) >= 0.7 for at, a in enumerate(pieces) for b in pieces[:at])
    assert above <= len(kept) // 100, "hashing misses hardly any"


def test_noise_tells_clean_from_broken() -> None:
    clean = "Light of short wavelengths is scattered more by the air, so the sky looks blue at noon."
    assert quality.noise(clean) == 0
    loop = "The sky is blue and it is so. " * 12
    assert quality.repetition(loop) > 0.8
    assert quality.noise(loop) > 0.9
    assert quality.boilerplate("As an AI language model, I cannot help with that.") > 0.8
    assert quality.boilerplate("Dear neighbours, ...\n\nBest regards,\n[Your Name]") == 0.25
    assert quality.breakage("```python\nprint((1)\n```") > 0
    assert quality.breakage("```python\nprint(1)\n```") == 0
    assert quality.breakage("```python\nprint(1)") > 0


def test_density_and_generality_order_texts_as_a_reader_would() -> None:
    assert quality.density("blue blue blue blue") < quality.density("short waves scatter more")
    assert quality.density("the of and to") == 0
    assert quality.density("天空看起来是蓝色的") > 0.5
    assert quality.generality("How does a bicycle stay upright?") == 1
    specific = quality.generality('What did Anna Schmidt pay on 3 May 2021 for "Lamp 39"?')
    assert specific < 0.5
