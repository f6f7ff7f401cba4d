"""Every prompt of the track: what students learn to answer, and what the teacher is asked.

Repair has the product's own prompt (`sql_assistant.repair_model`); the prompts of joins and conditions
are the ones that routes for them have to use with a student of this track. `shown` is the schema as the
product shows it (`Database.shown`).
"""

from __future__ import annotations

from collections.abc import Sequence

from distill.records import Message
from sql_assistant import dialects, repair_model

_ANSWER = "Answer with the whole statement in one ```sql block, and nothing else."
_QUESTION = f"You write SQL statements. {_ANSWER}"
_JOIN = f"You correct the JOINs of SQL statements: their conditions follow the foreign keys. {_ANSWER}"
_CONDITION = f"You add a condition to SQL statements and change nothing else. {_ANSWER}"
_TEACHER_SCHEMA = """Write the SQLite schema of a small database for this use: {topic}.
Write {tables} CREATE TABLE statements with primary keys, foreign keys (REFERENCES), NOT NULL where it belongs and \
columns of several types: text, whole numbers, amounts of money, dates. {naming} \
Behind a text column with few values, list them in a comment: -- open, paid or closed
Answer with one ```sql block and nothing else."""
_TEACHER_QUESTIONS = """Here is a {label} database:

{shown}
Write {count} different questions that its users would ask, each with the {label} statement that answers it. Vary \
them: filters, joins, groups, dates, subqueries. {focus} Use only tables and columns that exist.
Answer in this form, without any other text:
Q: the question
```sql
the statement
```"""


def fenced(sql: str) -> str:
    """A statement as an answer."""
    return f"```sql\n{sql.strip()}\n```"


def question(shown: str, text: str, dialect: str) -> tuple[Message, ...]:
    """A wish in words, to be answered with its statement."""
    return _told(_QUESTION, shown, text, dialect)


def join(shown: str, sql: str, dialect: str) -> tuple[Message, ...]:
    """A statement whose JOINs are wrong or have no condition."""
    return _told(_JOIN, shown, fenced(sql), dialect)


def condition(shown: str, sql: str, instruction: str, dialect: str) -> tuple[Message, ...]:
    """A statement and what its rows have to fulfil besides."""
    return _told(_CONDITION, shown, f"Condition: {instruction}\n\n{fenced(sql)}", dialect)


def repair(shown: str, sql: str, told: Sequence[str], dialect: str) -> tuple[Message, ...]:
    """A broken statement and what is wrong with it, exactly as the product asks its model."""
    found = repair_model.messages(shown, sql, told, dialect)
    return tuple(Message(role=one.role, content=one.content) for one in found)


def teacher_schema(topic: str, tables: int, naming: str) -> tuple[Message, ...]:
    """Asks for a schema."""
    return (Message(role="user", content=_TEACHER_SCHEMA.format(topic=topic, tables=tables, naming=naming)),)


def teacher_questions(shown: str, dialect: str, count: int, focus: str) -> tuple[Message, ...]:
    """Asks for questions with statements."""
    label = dialects.get(dialect).label
    text = _TEACHER_QUESTIONS.format(label=label, shown=shown, count=count, focus=focus)
    return (Message(role="user", content=text),)


def _told(task: str, shown: str, text: str, dialect: str) -> tuple[Message, ...]:
    system = f"{task} The dialect is {dialects.get(dialect).label}.\n\n{shown}".rstrip()
    return Message(role="system", content=system), Message(role="user", content=text)
