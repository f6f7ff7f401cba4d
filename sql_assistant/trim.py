"""From what the model wrote to what is suggested: the longest text that makes a valid statement.

Candidates are the places where a lexical unit ends and where the suffix begins to be repeated. Each
is put between the two sides with the right blanks and checked; the best valid one is kept, else the
longest that can at least be the beginning of a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from sql_assistant import mending, prefixes, repair_search, seams, statements, validation, words
from sql_assistant.cursor import Cursor, is_word
from sql_assistant.overlap import Overlap, Suffix
from sql_assistant.schema import Schema
from sql_assistant.types import Issue

_MAX_CHECKS = 48
"""Statements checked for one suggestion; each takes 0.3 to 4 ms."""
_MAX_MENDED = 6
"""Texts that are mended, the best first."""
_MAX_REPAIRED = 2
_REPAIR_CPU_S = 0.1
"""For each of them; these are requests that would end with nothing."""
_ENDING_MARKS = frozenset((")", ",", ";"))
_BOUNDARIES = frozenset(
    (
        "FROM WHERE GROUP ORDER HAVING LIMIT OFFSET WINDOW QUALIFY FETCH FOR UNION EXCEPT INTERSECT MINUS "
        "LEFT RIGHT FULL INNER CROSS NATURAL ASOF JOIN AND OR XOR RETURNING"
    ).split()
)
"""Words in front of which a text may be cut. In front of others a cut would leave half an expression,
a table without its alias or a join without its condition."""
_JOIN_KINDS = frozenset("LEFT RIGHT FULL INNER CROSS NATURAL ASOF OUTER".split())
_PAIRS = {")": "(", "]": "[", "}": "{"}
_WORD = re.compile(r"\w+")

_WORD_AT_END = re.compile(r"\w+\Z")


@dataclass(frozen=True, slots=True)
class Draft:
    """What was generated behind the cursor, the healed fragment not included."""

    text: str
    ended: bool
    """The model itself said that this is all."""
    truncated: bool = False
    """It was cut off by the token limit, so its last word may be half."""
    more: str = ""
    """What the model wrote behind `text`: it tells where `text` breaks off."""

    @property
    def rest(self) -> str:
        """All that the model wrote."""
        return self.text + self.more


@dataclass(frozen=True, slots=True)
class Kept:
    """`text` goes in at the cursor; `used` characters of the draft are in it."""

    text: str
    used: int
    valid: bool
    issues: tuple[Issue, ...] = ()
    """About before + text + after."""


class Trimmer:
    """Trims drafts for one cursor."""

    def __init__(self, cursor: Cursor, schema: Schema | None, dialect: str) -> None:
        self._cursor = cursor
        self._schema = schema
        self._dialect = dialect
        self._suffix = Suffix(cursor.after, dialect)
        self._checked: dict[str, tuple[Issue, ...]] = {}
        self._tail = _WORD.match(cursor.after)
        self._last = seams.last_word(cursor.before, dialect)
        self._first = seams.first_word(cursor.after, dialect)

    def trim(self, draft: Draft) -> Kept | None:
        """The best text in `draft`, None where nothing of it is of use."""
        checks = 0
        tried: dict[str, int] = {}
        for start, cut, in_word in self._cuts(draft):
            text = self._fitted(draft.text, start, cut, in_word)
            if not text.strip() or text in tried:
                continue
            tried[text] = cut
            if self._clashes(text) or not self._balanced(text):
                continue
            issues = self.issues(text)
            if validation.is_valid(issues):
                return Kept(text, cut, True, issues)
            checks += 1
            if checks >= _MAX_CHECKS:
                break
        return self._mended(tried) or self._beginning(draft)

    def _mended(self, tried: dict[str, int]) -> Kept | None:
        """One of the texts that do not fit, with what the suffix waits for."""
        after = self._cursor.after
        if not after.strip():
            return None
        for text, cut in islice(tried.items(), _MAX_MENDED):
            for variant in self._variants(text):
                fitted = seams.close(variant, after, blank=True, in_word=False)
                if self._clashes(fitted) or not self._balanced(fitted):
                    continue
                issues = self.issues(fitted)
                if validation.is_valid(issues):
                    return Kept(fitted, cut, True, issues)
        for text, cut in islice(tried.items(), _MAX_REPAIRED):
            repaired = self._repaired(text)
            if repaired is not None:
                return Kept(repaired, cut, True, self.issues(repaired))
        return None

    def _repaired(self, text: str) -> str | None:
        """`text` with what the rules of repair change in it: a join that the statement needs, say.
        None where they would change anything on either side of the cursor."""
        if any(issue.kind == "syntax" for issue in self.issues(text)):
            return None
        before, after = self._cursor.before, self._cursor.after
        whole = before + text + after
        for found in repair_search.search(whole, self._schema, self._dialect, cpu_s=_REPAIR_CPU_S):
            inside = found.text[len(before) : len(found.text) - len(after)]
            if before + inside + after == found.text and not self._clashes(inside):
                return inside
        return None

    def _variants(self, text: str) -> Iterator[str]:
        before, after = self._cursor.before, self._cursor.after
        yield from mending.joined_to(text, after)
        whole = before + text + after
        for issue in self.issues(text):
            name = whole[issue.start : issue.end]
            behind = issue.start >= len(before) + len(text) and whole[issue.start - 1] != "."
            if issue.kind == "unknown_column" and behind and name.isidentifier() and not self._is_name(name):
                yield from mending.outputs_called(text, name, f"{before} {after}", self._dialect)
                return

    def issues(self, text: str) -> tuple[Issue, ...]:
        """What is wrong with the statement once `text` stands at the cursor."""
        known = self._checked.get(text)
        if known is None:
            whole = self._cursor.before + text + self._cursor.after
            known = tuple(validation.validate_statement(whole, self._schema, self._dialect))
            self._checked[text] = known
        return known

    def _cuts(self, draft: Draft) -> Iterator[tuple[int, int, bool]]:
        """(start, end, within a word) of the candidates in `draft`, best first."""
        lead = seams.lead(self._cursor.before, draft.text, self._cursor.place)
        repeated = seams.repeated_lead(self._cursor.before, draft.text, self._dialect)
        body = draft.text[lead:]
        overlaps = [one for one in self._suffix.overlaps(draft.rest) if one.start <= len(draft.text)]
        strong = [overlap for overlap in overlaps if _is_strong(overlap, draft.rest)]
        strong.sort(key=lambda overlap: -overlap.units)
        if any(overlap.start <= lead and overlap.to_end for overlap in strong):
            return  # all of it stands right of the cursor already
        weak = [overlap for overlap in overlaps if overlap not in strong]
        ends = [lead + end for end in self._unit_ends(body, draft)]
        for start in dict.fromkeys((lead, repeated) if repeated else (lead,)):
            for overlap in strong:
                # One that the text then departs from may be chance: the whole text goes before it.
                if overlap.whole or overlap.to_end:
                    yield start, overlap.start, self._is_inside(draft.rest, overlap.start)
            if draft.ended:
                end = len(draft.text.rstrip())
                yield start, end, False
                if self._completes_word(draft, start, end):
                    yield start, end, True
            for overlap in (*strong, *weak):
                yield start, overlap.start, self._is_inside(draft.rest, overlap.start)
            for end in reversed(ends):
                if not self._is_within_expression(draft, end):
                    yield start, end, False
                if self._completes_word(draft, start, end):
                    yield start, end, True
            for at in self._same_names(draft.text):
                yield start, at, False

    def _same_names(self, text: str) -> list[int]:
        """Where the name begins that stands right of the cursor: what follows it there is another
        way to go on."""
        name = self._first.casefold()
        if not name.isidentifier() or name in words.of_language(self._dialect):
            return []
        places = [p for p in statements.pieces(text, self._dialect) if p.kind == "word"]
        return [p.start for p in reversed(places) if text[p.start : p.end].casefold() == name]

    def _unit_ends(self, body: str, draft: Draft) -> list[int]:
        pieces = list(statements.pieces(body, self._dialect))
        if draft.truncated and pieces and pieces[-1].end == len(body) and pieces[-1].kind in ("word", "name"):
            pieces.pop()
        return [piece.end for piece in pieces if piece.closed]

    def _is_within_expression(self, draft: Draft, end: int) -> bool:
        """Whether the model went on with the very expression that a cut at `end` would break off:
        "a.id" of "a.id = b.id" is valid as a condition, and not what was meant."""
        following = next(statements.pieces(draft.rest[end:], self._dialect), None)
        if following is None:
            return draft.truncated
        word = draft.rest[end + following.start : end + following.end].upper()
        if word == "JOIN":
            last = _WORD_AT_END.search(draft.text[:end])
            return last is not None and last.group().upper() in _JOIN_KINDS
        return word not in _ENDING_MARKS and word not in _BOUNDARIES

    def _completes_word(self, draft: Draft, start: int, end: int) -> bool:
        """Whether the word that a cut at `end` leaves open and the suffix's first are halves of one."""
        if self._tail is None:
            return False
        written = draft.text[start:end]
        if self._cursor.mid_word and draft.ended and end == len(draft.text) and written.isidentifier():
            return True  # exactly what was missing in the middle of a word
        head = _WORD_AT_END.search(self._cursor.before + written)
        return head is not None and self._is_known(head.group() + self._tail.group(), draft)

    def _is_known(self, name: str, draft: Draft) -> bool:
        """Whether `name` is a word of the language, the schema or this statement."""
        word = name.casefold()
        return (
            word in words.of_language(self._dialect)
            or word in words.in_text(f"{self._cursor.before} {draft.text} {self._cursor.after}")
            or self._is_name(word)
        )

    def _is_inside(self, text: str, at: int) -> bool:
        """Whether a cut at `at` lies in a word of the draft, which the suffix then goes on with."""
        return 0 < at < len(text) and is_word(text[at - 1]) and is_word(text[at])

    def _fitted(self, text: str, start: int, cut: int, in_word: bool) -> str:
        if cut <= start:
            return ""
        blank = text[cut - 1].isspace() or text[cut : cut + 1].isspace()
        part = text[start:cut]
        if start:
            part = seams.glue(self._cursor.before, part)
        return seams.close(part, self._cursor.after, blank=blank, in_word=in_word)

    def _clashes(self, text: str) -> bool:
        """Whether a word would stand twice in a row at a seam, or become an alias by chance."""
        before, after = self._cursor.before, self._cursor.after
        first = seams.first_word(text, self._dialect)
        if seams.apart(before, text) and seams.repeats(self._last, first):
            return True
        if not self._first or not seams.apart(text, after):
            return False
        last = seams.last_word(before + text, self._dialect)
        return seams.repeats(last, self._first) or self._makes_alias(last)

    def _makes_alias(self, last: str) -> bool:
        """Whether the word right of the cursor, a column or half a word, would be taken for the alias
        of `last`; one that the statement uses elsewhere is a real alias."""
        name = self._first.casefold()
        if not last or {name, last.casefold()} & words.of_language(self._dialect):
            return False
        elsewhere = f"{self._cursor.before} {self._cursor.after.lstrip()[len(name) :]}"
        return self._is_name(name) or name not in words.in_text(elsewhere)

    def _is_name(self, word: str) -> bool:
        return self._schema is not None and word in words.of_schema(self._schema)

    def _balanced(self, text: str) -> bool:
        """Whether brackets match: an unbalanced text needs no parser to be refused."""
        stack: list[str] = []
        whole = self._cursor.before + text + self._cursor.after
        for piece in statements.pieces(whole, self._dialect):
            mark = whole[piece.start : piece.end]
            if piece.kind != "symbol":
                if not piece.closed and not piece.is_comment:
                    return False
            elif mark in _PAIRS.values():
                stack.append(mark)
            elif mark in _PAIRS and (not stack or stack.pop() != _PAIRS[mark]):
                return False
        return not stack

    def _beginning(self, draft: Draft) -> Kept | None:
        """The longest text that a parser accepts as the beginning of a statement."""
        lead = seams.lead(self._cursor.before, draft.text, self._cursor.place)
        ends = self._unit_ends(draft.text[lead:], draft)
        for checks, end in enumerate(reversed(ends)):
            if checks >= _MAX_CHECKS:
                break
            text = self._fitted(draft.text, lead, lead + end, False)
            if text.strip() and prefixes.is_prefix(self._cursor.before + text, self._dialect):
                return Kept(text, lead + end, False, self.issues(text))
        return None


def _is_strong(overlap: Overlap, text: str) -> bool:
    """Whether the suffix is repeated there rather than alike by chance."""
    if overlap.units >= 4 or (overlap.units >= 2 and (overlap.whole or overlap.to_end)):
        return True
    rest = text[overlap.start :].strip()
    if is_word(text[overlap.start - 1 : overlap.start]) and is_word(rest[:1]):
        return overlap.to_end and overlap.units >= 1  # the suffix is the end of the text's last word
    return overlap.whole and overlap.to_end and len(rest) > 1
