"""Token healing: the last piece of text before the cursor is taken back and the model must spell it.

A tokenizer cuts "custo" otherwise than "customer", so a model asked to go on behind "custo" is in a
place it has never seen. What is taken back is the last unit of the tokenizer's own pre-splitting
(Qwen2's pattern, arXiv 2407.10671): nothing before it depends on what follows.
"""

from __future__ import annotations

import re

_LAST_UNIT = re.compile(
    r"(?:[^\r\n\w]|_)?[^\W\d_]+\Z"  # a word with the blank or mark before it
    r"|[^\S\r\n]+\Z"  # blanks
    r"|[ ]?(?:[^\s\w]|_)+\Z"  # marks
    r"|\s*[\r\n]+\Z"  # line ends
)
_MAX_FRAGMENT = 64


def split(text: str) -> tuple[str, str]:
    """`text` as what the prompt keeps and the fragment that is taken back ("" where none is)."""
    found = _LAST_UNIT.search(text, max(0, len(text) - _MAX_FRAGMENT))
    if found is None:
        return text, ""
    return text[: found.start()], found.group()
