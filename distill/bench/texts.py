"""Answered questions to measure with: of the length that instruction data has, about SQL."""

from __future__ import annotations

import json
from pathlib import Path

from distill.records import Record, chat

_FILE = Path(__file__).with_name("texts.jsonl")


def texts() -> list[Record]:
    """Eight of them."""
    pairs = [json.loads(line) for line in _FILE.read_text(encoding="utf-8").splitlines()]
    return [chat(pair["question"], pair["answer"], source="bench") for pair in pairs]
