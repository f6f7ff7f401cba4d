"""The sample database's schema and the examples to try on it, which ship as SQL files."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from pydantic import BaseModel

from serve.settings import Settings
from sql_assistant.ddl import parse_ddl
from sql_assistant.schema_store import SchemaStore

log = logging.getLogger(__name__)

NAME = "Bike workshop (sample)"
CURSOR = "<|cursor|>"
_FOLDER = Path(__file__).parent / "sample"
_TITLE = "-- title: "


class Example(BaseModel):
    """A text for the editor; `cursor` counts UTF-16 units, as the browser does."""

    title: str
    text: str
    cursor: int


@functools.cache
def examples() -> tuple[Example, ...]:
    """In the order of their file names."""
    return tuple(_read(path) for path in sorted((_FOLDER / "examples").glob("*.sql")))


def ddl() -> str:
    """The sample database: its tables and rows as SQLite statements."""
    return (_FOLDER / "workshop.sql").read_text(encoding="utf-8")


def add_to_empty_store(settings: Settings) -> None:
    """Register the sample's schema where no schema is registered yet."""
    store = SchemaStore.open(settings)
    if not store.list():
        store.add(NAME, parse_ddl(ddl(), "sqlite"))


def _read(path: Path) -> Example:
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    before, mark, after = body.rstrip("\n").partition(CURSOR)
    if not head.startswith(_TITLE) or not mark:
        raise ValueError(f"{path.name} needs a first line '{_TITLE}...' and one {CURSOR}")
    cursor = len(before.encode("utf-16-le")) // 2
    return Example(title=head.removeprefix(_TITLE).strip(), text=before + after, cursor=cursor)
