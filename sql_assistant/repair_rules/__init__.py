"""Rules that know one kind of mistake each: a broken statement in, small changes that may mend it out.

A rule only guesses; `repair_search` tries the guesses and keeps those that make the statement right.
"""

from __future__ import annotations

from sql_assistant.repair_rules import clauses, columns, keywords, marks, tables
from sql_assistant.repair_rules.statement import Broken, Fix, Rule

__all__ = ["RULES", "Broken", "Fix", "Rule"]

RULES: tuple[Rule, ...] = (
    marks.look_alikes,
    marks.foreign_quotes,
    marks.operators,
    marks.commas,
    marks.missing_commas,
    marks.inner_semicolon,
    marks.unclosed_bracket,
    marks.unopened_bracket,
    marks.apostrophe,
    marks.unclosed_quote,
    keywords.misspelt,
    keywords.misspelt_elsewhere,
    keywords.glued,
    keywords.missing_partner,
    keywords.missing_head,
    keywords.missing_from,
    keywords.missing_word,
    keywords.superfluous,
    keywords.missing_star,
    clauses.double_where,
    clauses.clause_order,
    clauses.top,
    clauses.fetch_first,
    tables.misspelt_table,
    tables.table_by_columns,
    tables.unknown_qualifier,
    tables.missing_alias,
    tables.table_not_joined,
    tables.missing_condition,
    columns.misspelt_column,
    columns.output_name,
    columns.wrong_qualifier,
    columns.key_column,
    columns.ambiguous,
    columns.quoted_value,
    columns.alias_used_too_early,
    columns.column_of_another_table,
)
