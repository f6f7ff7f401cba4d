"""The words that a statement may hold: the language's own, the schema's names, and what it says already.

Tells whether two halves that meet at a cursor make one word. All words are folded.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sqlglot.dialects.dialect import Dialect as SqlglotDialect

from sql_assistant import dialects
from sql_assistant.schema import Schema

_WORD = re.compile(r"\w+")


def in_text(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(word.casefold() for word in _WORD.findall(text))


def of_schema(schema: Schema) -> frozenset[str]:
    """The names of tables and columns."""
    names = {table.name.casefold() for table in schema.tables}
    return frozenset(names | {column.name.casefold() for table in schema.tables for column in table.columns})


@lru_cache(maxsize=16)
def of_language(dialect: str) -> frozenset[str]:
    """Keywords and the functions that every installation has."""
    engine = SqlglotDialect.get_or_raise(dialects.get(dialect).sqlglot)
    phrases = (*engine.tokenizer_class.KEYWORDS, *engine.parser_class.FUNCTIONS)
    return in_text(" ".join(phrases))
