"""Records on disk: Parquet shards inside a run, JSON lines in and out.

A folder of shards appears whole or not at all: it is written aside, fsynced and renamed.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from distill.records import Record, Rejection
from distill.runs import file_hash
from serve.errors import NotFound, Unprocessable
from serve.files import move_into_place, write_atomic

if TYPE_CHECKING:
    import pyarrow

SHARD_RECORDS = 10_000
Model = TypeVar("Model", Record, Rejection)


def write_records(
    folder: Path, records: Iterable[Record], *, shard_records: int = SHARD_RECORDS
) -> dict[str, str]:
    """Replace `folder` by Parquet shards of `records`; returns shard name → sha256."""
    import pyarrow.parquet

    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        hashes: dict[str, str] = {}
        everything = iter(records)
        for number in itertools.count():
            some = list(itertools.islice(everything, shard_records))
            if not some and number:
                break
            path = aside / f"shard-{number:05d}.parquet"
            table = pyarrow.Table.from_pylist([_row(record) for record in some], schema=_columns())
            pyarrow.parquet.write_table(table, path, compression="zstd")
            _fsync(path)
            hashes[path.name] = file_hash(path)
        if folder.exists():
            shutil.rmtree(folder)
        move_into_place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return hashes


def read_records(folder: Path) -> list[Record]:
    """All records of a folder of shards. NotFound, or Unprocessable naming the damaged shard."""
    import pyarrow
    import pyarrow.parquet

    shards = sorted(folder.glob("shard-*.parquet"))
    if not shards:
        raise NotFound(f"there are no records in {folder}")
    records: list[Record] = []
    for path in shards:
        try:
            rows = pyarrow.parquet.read_table(path, schema=_columns()).to_pylist()
            records += [_record(row) for row in rows]
        except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:
            raise Unprocessable(
                f"{path} is damaged ({error}): delete the folder {folder.parent} and run again, that stage is "
                "made anew"
            ) from error
    return records


def read_jsonl(path: Path) -> list[Record]:
    """Records of a JSON-lines file that we wrote. Unprocessable names the first bad line."""
    return list(_read_lines(path, Record))


def write_jsonl(path: Path, records: Iterable[Record]) -> int:
    """Write one record a line, without its id (which follows from it); returns how many."""
    lines = [record.model_dump_json(exclude_defaults=True) for record in records]
    write_atomic(path, "".join(line + "\n" for line in lines).encode("utf-8"))
    return len(lines)


def read_rejections(path: Path) -> list[Rejection]:
    """What `write_rejections` wrote; none where there is no file."""
    return list(_read_lines(path, Rejection)) if path.is_file() else []


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write one rejection a line."""
    lines = (one.model_dump_json(exclude_defaults=True) for one in rejections)
    write_atomic(path, "".join(line + "\n" for line in lines).encode("utf-8"))


def _read_lines(path: Path, model: type[Model]) -> Iterator[Model]:
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield model.model_validate_json(line)
        except ValidationError as error:
            raise Unprocessable(f"{path}, line {number}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def _columns() -> pyarrow.Schema:
    import pyarrow

    text = pyarrow.string()
    return pyarrow.schema(
        {
            "id": text,
            "kind": text,
            "messages": pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
            "prompt": text,
            "suffix": text,
            "completion": text,
            "source": text,
            "category": text,
            "language": text,
            "parents": pyarrow.list_(text),
            "scores": pyarrow.map_(text, pyarrow.float64()),
            "facts": pyarrow.map_(text, text),
        }
    )


def _row(record: Record) -> dict[str, Any]:
    row = record.model_dump()
    return {
        "id": record.id,
        **row,
        "scores": list(row["scores"].items()),
        "facts": list(row["facts"].items()),
    }


def _record(row: dict[str, Any]) -> Record:
    expected = row.pop("id")
    record = Record.model_validate(row | {"scores": dict(row["scores"]), "facts": dict(row["facts"])})
    if record.id != expected:
        raise ValueError(f"the content of record {expected} does not have that hash")
    return record


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
