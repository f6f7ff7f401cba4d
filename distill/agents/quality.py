"""Cheap, deterministic measures of a text, each from 0 to 1.

- density: distinct content words / all words. Content words are those of no stop list, numbers and code names
  included; in Chinese and Japanese pairs of neighbouring characters stand for words.
- noise: 1 - (1 - repetition)(1 - redundancy)(1 - boilerplate)(1 - breakage).
  repetition = 1 - distinct word 4-grams / all (Rae et al., arXiv 2112.11446, appendix A, filter by such shares);
  redundancy: how far zlib compresses below the 0.3 that plain prose of some length reaches;
  boilerplate: refusals, talk about being a model, template remains (0.6 for each kind found), fillers such as
  "I hope this helps" and gaps such as "[Your Name]", which a letter may have (0.25 for each kind);
  breakage: unclosed code fences and brackets, replacement characters, control tokens; 0.4 for each kind found.
- generality (of an instruction): share of its content words that are no numbers, no quoted text, no addresses
  and no names (capitalised inside a sentence): what of it would hold in other cases.

Knows no records.
"""

from __future__ import annotations

import re
import zlib

from distill.agents.constraints import CODE_BLOCK, words

_PROSE_RATIO = 0.3
_REDUNDANCY_FROM_BYTES = 256
"""Shorter texts compress badly whatever they say."""
_NGRAM = 4
_NGRAMS_FROM_WORDS = 16
_STOP = frozenset(
    "a an the and or but if then than that this these those is are was were be been being am do does did done has "
    "have had having i you he she it we they me him her us them my your his its our their of to in on at by for "
    "with from as into about over under not no nor so too very can could will would shall should may might must "
    "there here what which who whom when where why how all any both each more most other some only own same just "
    "also because while since until before after again such "
    "的 了 是 在 和 与 或 我 你 他 她 它 们 这 那 有 不 也 就 都 而 及 一 个 上 下 中 "
    "の に は を た が で て と し れ さ い も な".split()
)
_REFUSALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bas an? (ai|artificial intelligence|(large )?language model)\b"
        r"|作为(一个)?(人工智能|AI|语言模型)|AI(言語モデル)?として",
        r"\bI('m| am) (sorry|unable|not able)\b|\bI (cannot|can't|can not) (help|assist|provide|do that|answer)"
        r"|很抱歉|我无法|申し訳(ありません|ございません)",
        r"</?(instruction|answer)>|^\s*(assistant|user|system)\s*:|\{\{[^}\n]{1,40}\}\}|\blorem ipsum\b",
    )
)
_FILLERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bI hope this helps\b|\blet me know if (you|there)\b|\bfeel free to\b|如有.{0,8}问题.{0,8}请",
        r"\[(insert|your|name|todo|placeholder)\b[^\]\n]{0,40}\]",
    )
)
_BREAKAGE = tuple(
    re.compile(pattern) for pattern in ("\ufffd", r"<\|[a-z_]+\|>", r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
)
_SPECIFIC = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^”]*”|「[^」]*」|https?://\S+|\S+@\S+\.\w+|\b\w*\d\w*\b"
    r"|(?<=[a-z,;] )[A-Z][a-z]+",
    re.DOTALL,
)
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def density(text: str) -> float:
    """Distinct content words per word; 0 for a text without words."""
    found = words(text)
    return len(set(content_words(found))) / len(found) if found else 0.0


def content_words(found: list[str]) -> list[str]:
    """Content words in lower case; a CJK character counts together with the one behind it."""
    found = [word.casefold() for word in found]
    content = []
    for word, following in zip(found, [*found[1:], ""], strict=False):
        if word in _STOP:
            continue
        content.append(word + following if _is_cjk(word) and _is_cjk(following) else word)
    return content


def _is_cjk(word: str) -> bool:
    return len(word) == 1 and word >= "\u3040"


def noise(text: str) -> float:
    """From 0 (clean) to 1."""
    clean = 1.0
    for part in (repetition(text), redundancy(text), boilerplate(text), breakage(text)):
        clean *= 1.0 - part
    return 1.0 - clean


def repetition(text: str) -> float:
    """1 - distinct word 4-grams / all of them; 0 for short texts."""
    found = [word.casefold() for word in words(text)]
    if len(found) < _NGRAMS_FROM_WORDS:
        return 0.0
    grams = [tuple(found[at : at + _NGRAM]) for at in range(len(found) - _NGRAM + 1)]
    return 1.0 - len(set(grams)) / len(grams)


def redundancy(text: str) -> float:
    """0 where zlib leaves 0.3 of the bytes or more, rising to 1."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) < _REDUNDANCY_FROM_BYTES:
        return 0.0
    return max(0.0, 1.0 - len(zlib.compress(raw, 6)) / len(raw) / _PROSE_RATIO)


def boilerplate(text: str) -> float:
    """0.6 for a kind of refusal or template remains, 0.25 for a kind of filler; several add up as in `noise`."""
    prose = CODE_BLOCK.sub("", text)
    refusals = sum(bool(pattern.search(prose)) for pattern in _REFUSALS)
    fillers = sum(bool(pattern.search(prose)) for pattern in _FILLERS)
    return 1.0 - 0.4**refusals * 0.75**fillers


def breakage(text: str) -> float:
    """0.4 for one kind of broken markup, 0.64 for two, ..."""
    kinds = sum(bool(pattern.search(text)) for pattern in _BREAKAGE)
    kinds += text.count("```") % 2
    code = "\n".join(CODE_BLOCK.findall(text))
    kinds += any(code.count(opening) != code.count(closing) for opening, closing in _PAIRS.items())
    return 1.0 - 0.6**kinds


def generality(instruction: str) -> float:
    """Share of the content words that are not specific to one case; 1 for a text without words."""
    total = len(content_words(words(instruction)))
    general = len(content_words(words(_SPECIFIC.sub(" ", instruction))))
    return min(1.0, general / total) if total else 1.0
