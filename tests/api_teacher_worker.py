"""Run as a process that a test kills: asks a scripted server many questions, with a cache and a budget."""

from __future__ import annotations

import sys
from pathlib import Path

from distill.recipe import Budget, Price, Teacher
from distill.records import Message
from distill.teachers.base import Ask, Sampling
from distill.teachers.factory import open_teacher


def settings(url: str, tokens: int = 0) -> Teacher:
    return Teacher(
        kind="openai",
        model="big",
        base_url=url,
        concurrency=4,
        price=Price(prompt=1.0, completion=2.0),
        budget=Budget(tokens=tokens),
    )


def asks(count: int) -> list[Ask]:
    sampling = Sampling(max_tokens=20)
    return [Ask((Message(role="user", content=f"question {n}"),), sampling=sampling) for n in range(count)]


if __name__ == "__main__":
    teacher = open_teacher(settings(sys.argv[1]), cache=Path(sys.argv[2]))
    for index, _ in teacher.generate(asks(1000)):
        sys.stdout.write(f"{index}\n")
        sys.stdout.flush()
