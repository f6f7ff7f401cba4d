"""What is measured, in which order, and the one JSON object that comes of it.

Product and plain loop take turns case by case, so that a change of the machine's speed meets both;
which of the two begins changes with every case. Every finished case is kept in a file, and an
interrupted run goes on from there; a change of code, weights or options begins anew.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve.catalog import Catalog, ModelEntry
from serve.errors import NotFound
from serve.hardware import SMALLER, usable_cores
from serve.settings import Settings
from sql_assistant import cases, ddl, prompt, schema_text, validation
from sql_assistant.benchmark.plain import PlainLoop
from sql_assistant.benchmark.product import Answer, Product
from sql_assistant.cases import KINDS, Case

DEFAULT_CASES = Path("../shared/data/defog")
MAX_TOKENS = 64
"""For both: the default of POST /v1/sql/complete."""
_ALTERNATIONS = 20
_COLD = 5
_CLIENTS = 8
_ROUNDS = 3
_CHARS_PER_TOKEN = 3.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Bench:
    settings: Settings
    cases: list[Case]
    folder: Path
    """Of the cases."""
    scratch: Path
    """For a server's home."""


def run(
    settings: Settings, names: list[str], folder: Path | None, *, count: int, folder_out: Path, fresh: bool
) -> str:
    """Measure the installed ones of `names`; the result as one line of JSON.

    Raises NotFound where none is installed or the cases are not there.
    """
    catalog = Catalog.load(settings)
    entries = [catalog.get(name) for name in names]
    installed = [entry for entry in entries if catalog.installed(entry)]
    for entry in entries:
        if entry not in installed:
            say(f"{entry.name} is not installed and left out: distilsql models pull {entry.name}")
    if not installed:
        raise NotFound("none of these models is installed; fetch one with `distilsql models pull`")
    folder = (folder or DEFAULT_CASES).resolve()
    questions = cases.load(folder)
    chosen = choose(cases.cut(questions), count)
    result: dict[str, Any] = {"models": {}, "false_reject_rate": false_reject_rate(questions, folder)}
    rest = min(installed, key=lambda entry: (entry.name != SMALLER, entry.size_bytes))
    with tempfile.TemporaryDirectory(prefix="distilsql-bench-") as scratch:
        bench = _Bench(settings, chosen, folder, Path(scratch))
        for entry in installed:
            kept = _Kept(folder_out / f"{entry.name}.jsonl", _fingerprint(entry, chosen), fresh=fresh)
            rows = _quality(bench, entry, catalog.path(entry), kept)
            result["models"][entry.name] = summary(rows)
            overheads = [row["overhead_ms"] for row in rows]
            if entry == rest:
                result["overhead_p50_ms"] = _round(statistics.median(overheads))
        result |= _serving(bench, rest)
    result["cases"] = {kind: sum(case.kind == kind for case in chosen) for kind in KINDS}
    return json.dumps(result)


def false_reject_rate(questions: Sequence[cases.Question], folder: Path) -> float:
    """The share of known right statements that the validator calls wrong."""
    rejected = total = 0
    for question in questions:
        schema = ddl.parse_ddl(cases.ddl(folder, question.database), "sqlite")
        for gold in question.gold:
            total += 1
            issues = validation.validate(gold, schema, "sqlite")
            if not validation.is_valid(issues):
                rejected += 1
                say(f"rejected though right: {question.id}: {issues[0].message}")
    return rejected / total


def choose(found: Iterable[Case], count: int) -> list[Case]:
    """`count` held-out cases of each kind, spread over the databases, in an order that keeps those of
    one database together, as one user's work is."""
    chosen: list[Case] = []
    pool = [case for case in found if cases.held_out(case)]
    for kind in KINDS:
        by_database: dict[str, list[Case]] = {}
        for case in pool:
            if case.kind == kind:
                by_database.setdefault(case.question.database, []).append(case)
        turns = [case for turn in _turns(list(by_database.values())) for case in turn]
        chosen += turns[:count]
    return sorted(chosen, key=lambda case: (case.question.database, case.id))


def _turns(groups: list[list[Case]]) -> list[list[Case]]:
    longest = max((len(group) for group in groups), default=0)
    return [[group[at] for group in groups if at < len(group)] for at in range(longest)]


def _quality(bench: _Bench, entry: ModelEntry, weights: Path, kept: _Kept) -> list[Row]:
    """A row a case: what both wrote, whether it is right, and how long it took."""
    missing = [case for case in bench.cases if case.id not in kept.rows]
    if missing:
        threads = bench.settings.threads or usable_cores()
        home = bench.scratch / entry.name
        with Product(bench.settings, entry.name, home) as product, PlainLoop(weights, threads) as plain:
            schemas: dict[str, tuple[str, str]] = {}
            for number, case in enumerate(missing):
                database = case.question.database
                if database not in schemas:
                    text = cases.ddl(bench.folder, database)
                    schemas[database] = (product.register(database, text), _shown(text))
                    plain.ask(schemas[database][1], "", 1)
                schema_id, shown = schemas[database]
                row = _case(case, product, plain, schema_id, shown, first=number % 2 == 0)
                row["ours_pass"] = cases.passes(case, row["ours"], bench.folder)
                row["plain_pass"] = cases.passes(case, row["plain"], bench.folder)
                kept.add(case.id, row | {"kind": case.kind, "rss_mb": product.rss_mb()})
                say(
                    f"{entry.name}: {number + 1} of {len(missing)}, {case.id}: "
                    f"{row['ours_ms']:.0f} ms, plain {row['plain_ms']:.0f} ms"
                )
    return [kept.rows[case.id] for case in bench.cases]


def _case(case: Case, product: Product, plain: PlainLoop, schema_id: str, shown: str, *, first: bool) -> Row:
    row: Row = {}

    def ours() -> None:
        answer = product.complete(case.prefix, case.suffix, schema_id=schema_id, max_tokens=MAX_TOKENS)
        row.update(
            ours=answer.text,
            ours_ms=answer.ms,
            ours_first_ms=answer.first_ms or answer.ms,
            valid=bool(answer.body["suggestions"]),
            overhead_ms=answer.overhead_ms,
        )

    def theirs() -> None:
        answer = plain.ask(shown + case.prefix, case.suffix, MAX_TOKENS)
        row.update(plain=answer.text, plain_ms=answer.ms, plain_first_ms=answer.first_ms)

    for turn in (ours, theirs) if first else (theirs, ours):
        turn()
    return row


def _shown(text: str) -> str:
    """What the product shows a model of a schema, for the plain loop."""
    schema = ddl.parse_ddl(text, "sqlite")
    chosen = schema_text.select(schema, 1_000_000, lambda part: int(len(part) / _CHARS_PER_TOKEN))
    return prompt.header("sqlite") + chosen.text


def summary(rows: Sequence[Row]) -> Row:
    """One model's part of the result."""
    ours, plain = [row["ours_ms"] for row in rows], [row["plain_ms"] for row in rows]
    return {
        "p50_ms": _round(percentile(ours, 50)),
        "p95_ms": _round(percentile(ours, 95)),
        "plain_p50_ms": _round(percentile(plain, 50)),
        "plain_p95_ms": _round(percentile(plain, 95)),
        "p50_ratio": round(percentile(ours, 50) / percentile(plain, 50), 3),
        "ttft_p50_ms": _round(percentile([row["ours_first_ms"] for row in rows], 50)),
        "plain_ttft_p50_ms": _round(percentile([row["plain_first_ms"] for row in rows], 50)),
        "pass_at_1": {kind: _share(rows, kind, "ours_pass") for kind in KINDS},
        "plain_pass_at_1": {kind: _share(rows, kind, "plain_pass") for kind in KINDS},
        "valid_rate": round(sum(row["valid"] for row in rows) / len(rows), 3),
        "rss_mb": _round(max(row["rss_mb"] for row in rows)),
    }


def _share(rows: Sequence[Row], kind: str, key: str) -> float | None:
    """Percent of that kind's cases."""
    found = [row[key] for row in rows if row["kind"] == kind]
    return round(100 * sum(found) / len(found), 1) if found else None


def percentile(values: Sequence[float], rank: int) -> float:
    """Linear interpolation between ranks."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * rank / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _serving(bench: _Bench, entry: ModelEntry) -> Row:
    """What does not depend on the answers: caches, restarts, many clients. On the smaller model."""
    home = bench.scratch / f"{entry.name}-serving"
    databases = sorted({case.question.database for case in bench.cases})[:2]
    if len(databases) < 2:
        raise NotFound("the cases need two databases at least; ask for more with --count")
    texts = [cases.ddl(bench.folder, name) for name in databases]
    by_database = [[c for c in bench.cases if c.question.database == name] for name in databases]
    with Product(bench.settings, entry.name, home) as product:
        ids = [product.register(name, text) for name, text in zip(databases, texts, strict=True)]
        sizes = [int(product.schema(one)["tokens"]) for one in ids]
        say("two users on two schemas")
        alternating = [
            (user, _ask(product, by_database[user][turn % len(by_database[user])], ids[user]))
            for turn in range(_ALTERNATIONS)
            for user in (0, 1)
        ]
        say("a schema never seen before")
        cold = [
            _cold(product, by_database[0][turn % len(by_database[0])], texts[0], turn)
            for turn in range(_COLD)
        ]
        say("eight clients at once and one, in turns")
        speedup = _concurrency(product, by_database[0], ids[0])
    say("after a restart")
    with Product(bench.settings, entry.name, home) as product:
        first = _ask(product, by_database[0][0], ids[0])
    return {
        "two_schema_cached_share": _cached_share(alternating, sizes),
        "two_schema_p50_ms": _round(percentile([answer.ms for _, answer in alternating], 50)),
        "first_request_after_restart_cached_share": _cached_share([(0, first)], sizes),
        "first_request_after_restart_ms": _round(first.ms),
        "cold_p50_ms": _round(percentile([answer.ms for answer in cold], 50)),
        "concurrency8_speedup": round(speedup, 2),
    }


def _ask(product: Product, case: Case, schema_id: str) -> Answer:
    return product.complete(case.prefix, case.suffix, schema_id=schema_id, max_tokens=MAX_TOKENS)


def _cold(product: Product, case: Case, text: str, turn: int) -> Answer:
    """The same schema behind a table that no prompt has begun with."""
    fresh = f"CREATE TABLE cold_{turn}_{time.time_ns()} (id INTEGER);\n{text}"
    return product.complete(case.prefix, case.suffix, ddl=fresh, max_tokens=MAX_TOKENS)


def _cached_share(answers: Sequence[tuple[int, Answer]], sizes: Sequence[int]) -> float:
    """Of the tokens of schemas in all prompts, those that came from the cache."""
    cached = sum(min(answer.body["usage"]["cached_tokens"], sizes[user]) for user, answer in answers)
    return round(float(cached) / sum(sizes[user] for user, _ in answers), 4)


def _concurrency(product: Product, found: Sequence[Case], schema_id: str) -> float:
    """Requests a second of eight clients over those of one; each wrote the same number of tokens."""
    work = [found[at % len(found)] for at in range(2 * _CLIENTS)]

    def ask(case: Case) -> int:
        return int(_ask(product, case, schema_id).body["usage"]["completion_tokens"])

    def rate(everyone: Callable[[], Iterable[int]]) -> float:
        began = time.perf_counter()
        tokens = sum(everyone())
        return tokens / (time.perf_counter() - began)

    ask(work[0])
    ratios: list[float] = []
    for _ in range(_ROUNDS):
        alone = rate(lambda: [ask(case) for case in work])
        with ThreadPoolExecutor(_CLIENTS) as pool:
            together = rate(lambda: list(pool.map(ask, work)))
        ratios.append(together / alone)
    return statistics.median(ratios)


class _Kept:
    """Rows by case id in a file of JSON lines, for one state of code, weights and options."""

    def __init__(self, path: Path, fingerprint: str, *, fresh: bool) -> None:
        self._path = path
        self.rows: dict[str, Row] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() and not fresh else []
        if lines and json.loads(lines[0]) == {"fingerprint": fingerprint}:
            for line in lines[1:]:
                try:
                    row = json.loads(line)
                except ValueError:
                    break  # The run was ended while it wrote this line.
                self.rows[row.pop("id")] = row
            say(f"{path}: going on behind {len(self.rows)} cases")
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"fingerprint": fingerprint}) + "\n")
            for case_id, row in self.rows.items():
                file.write(json.dumps({"id": case_id, **row}) + "\n")

    def add(self, case_id: str, row: Row) -> None:
        self.rows[case_id] = row
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": case_id, **row}) + "\n")


def _fingerprint(entry: ModelEntry, chosen: Sequence[Case]) -> str:
    root = Path(__file__).parents[2]
    digest = hashlib.sha256(f"{entry.sha256} {MAX_TOKENS}".encode())
    for case in chosen:
        digest.update(f"{case.id}\0{case.prefix}\0{case.suffix}\0".encode())
    for package in ("serve", "sql_assistant"):
        for source in sorted((root / package).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def _round(value: float) -> float:
    return round(value, 1)


def say(text: str) -> None:
    """Progress, for the person who waits."""
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
