"""Which language a text is in, by its script: English, Chinese or Japanese. Knows no words.

Kana decide for Japanese, Han characters without kana for Chinese, Latin letters for English. Code, quoted text,
addresses and markup do not count, as an instruction in one language may well quote another.
"""

from __future__ import annotations

import re

from distill.records import Language

NAMES: dict[str, str] = {"en": "English", "zh": "Chinese", "ja": "Japanese"}
_SET_ASIDE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^”]*”|「[^」]*」|『[^』]*』|《[^》]*》|https?://\S+|<[^<>\n]{1,60}>",
    re.DOTALL,
)
_KANA = re.compile(r"[\u3041-\u309f\u30a1-\u30fa\u30fd-\u30ff\uff66-\uff9f]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_KANA_SHARE = 0.08
"""Chinese text may hold a stray の; in Japanese kana are a third of the characters and more."""


def detect(text: str) -> Language:
    """`en`, `zh`, `ja`; empty where nothing tells (numbers, code, another script)."""
    return _by_script(_SET_ASIDE.sub(" ", text)) or _by_script(text)


def _by_script(text: str) -> Language:
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    words = len(_LATIN.findall(text))
    # About two characters make a word where no blanks do.
    if kana + han == 0 or (kana + han) / 2 < words / 2:
        return "en" if words and _mostly_latin(text) else ""
    return "ja" if kana / (kana + han) >= _KANA_SHARE else "zh"


def _mostly_latin(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    latin = sum(len(word) for word in _LATIN.findall(text))
    return latin * 2 >= letters
