"""The agents' prompts: plain text files with `$placeholders`, one a question.

    prompts/expansion_wording.md
    prompts/judge.md
    ...

Knows no agent.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from string import Template

from distill.records import Message
from distill.teachers.base import Ask, Sampling

_FOLDER = Path(__file__).with_name("prompts")


def prompt(name: str, **values: object) -> str:
    """The prompt `name` with its placeholders filled. KeyError when one is missing.

    A value is put in as it is: a `$` in it stays a `$`.
    """
    return _template(name).substitute({key: str(value) for key, value in values.items()}).strip()


@cache
def _template(name: str) -> Template:
    return Template((_FOLDER / f"{name}.md").read_text(encoding="utf-8"))


def question(
    text: str, *, purpose: str, temperature: float, max_tokens: int, seed: int, salt: str = ""
) -> Ask:
    """One user turn. Its draw's seed follows from `seed`, the text and `salt`, whatever else is asked."""
    sampling = Sampling(
        max_tokens=max_tokens, temperature=temperature, seed=derived_seed(seed, purpose, text, salt)
    )
    return Ask(messages=(Message(role="user", content=text),), sampling=sampling, purpose=purpose, salt=salt)


def derived_seed(seed: int, *parts: str) -> int:
    """31 bits that depend on all of it and on nothing else."""
    digest = hashlib.sha256("\0".join((str(seed), *parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4]) & 0x7FFFFFFF
