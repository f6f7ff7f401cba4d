"""Stage `seed`: the recipe's seed files as records."""

from __future__ import annotations

from pathlib import Path

from distill import imports
from distill.pipeline import Context
from distill.recipe import SeedFile
from distill.records import Record
from distill.runs import file_hash
from serve.errors import NotFound
from serve.files import write_atomic

BUILTIN = Path(__file__).parents[1] / "agents" / "seeds"
_PREFIX = "builtin:"


def run(context: Context) -> None:
    """Read the seed files; entries that cannot be read are written to `bad-entries.txt` and counted."""
    records: list[Record] = []
    bad: list[str] = []
    for seeds in context.recipe.seeds:
        path = seed_path(seeds, context.base)
        found, left_out = imports.read(path, seeds.format, category=seeds.category)
        context.stage.inputs[seeds.file] = file_hash(path)
        for one in left_out:
            bad.append(f"{seeds.file}, entry {one.number}: {one.reason}\n{one.text}\n")
            context.say(f"seed: {seeds.file}, entry {one.number} is left out: {one.reason}")
        records += _spread(found, seeds.limit)
    if bad:
        write_atomic(context.stage.folder / "bad-entries.txt", "\n".join(bad).encode())
    context.hand_on(records, metrics={"bad_entries": len(bad)})


def seed_path(seeds: SeedFile, base: Path) -> Path:
    """The file of `seeds`; NotFound names the shipped ones."""
    if not seeds.file.startswith(_PREFIX):
        return base / seeds.file
    path = BUILTIN / f"{seeds.file.removeprefix(_PREFIX)}.jsonl"
    if not path.is_file():
        known = ", ".join(f"{_PREFIX}{one.stem}" for one in sorted(BUILTIN.glob("*.jsonl")))
        raise NotFound(f"there is no seed file {seeds.file}; shipped are {known}")
    return path


def _spread(records: list[Record], limit: int) -> list[Record]:
    """`limit` of them, evenly spread over the file."""
    if not limit or limit >= len(records):
        return records
    return [records[at * len(records) // limit] for at in range(limit)]
