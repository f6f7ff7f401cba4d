"""The shipped seeds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from distill.agents import verification
from distill.agents.language import detect
from distill.agents.similarity import NearDuplicates
from distill.record_files import read_jsonl

_FOLDER = Path(verification.__file__).with_name("seeds")


@pytest.mark.parametrize("name", ["general", "sql"])
def test_seeds_are_unanswered_in_their_language_and_no_two_alike(name: str) -> None:
    records = read_jsonl(_FOLDER / f"{name}.jsonl")
    seen = NearDuplicates(0.6)
    for record in records:
        assert not record.response
        assert detect(record.instruction) == record.language
        assert seen.add(record.instruction) is None, record.instruction
    assert len(records) >= 20


def test_general_seeds_are_balanced_over_eight_categories() -> None:
    counts = Counter(record.category for record in read_jsonl(_FOLDER / "general.jsonl"))
    assert len(counts) == 8
    assert max(counts.values()) - min(counts.values()) <= 1
