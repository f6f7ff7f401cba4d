"""Whether a server keeps its answers and its memory: eight clients at once, then thousands of requests.

`python -m sql_assistant.benchmark.soak [MODEL [REQUESTS]]`, on the benchmark's cases. The last line is one
JSON object. A quarter of the requests is wrong in some way or has a client that goes away.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from serve.console import load_settings
from serve.hardware import SMALLER
from serve.settings import Settings
from sql_assistant import cases
from sql_assistant.benchmark.product import Product
from sql_assistant.benchmark.run import DEFAULT_CASES, say
from sql_assistant.cases import Case

_CLIENTS = 8
_COMPARED = 48
_BASELINE = 200
_JSON = {"Content-Type": "application/json"}
_BAD_BODIES = (
    b'{"prompt": "\xff"}',
    b'{"prompt": "a\0b"}',
    b'{"prompt": "a\\u0000b"}',
    b"[" * 5_000,
    b'{"prompt": "' + b"x" * 5_000_000 + b'"}',
)
_BAD_REQUESTS: tuple[dict[str, Any], ...] = (
    {"prefix": "SELECT " + "(" * 1_000},
    {"prefix": "SELECT ", "dialect": "klingon"},
    {"prefix": "SELECT ", "ddl": "CREATE TABLE ("},
    {"prefix": "SELECT " + "a, " * 9_000 + "b ", "max_tokens": 500},
)


def run(settings: Settings, model: str, requests: int, folder: Path) -> dict[str, Any]:
    """Start a server, ask it, and say what came of it. Raises NotFound without cases."""
    found = cases.cut(cases.load(folder))
    names = sorted({case.question.database for case in found})[:4]
    found = [case for case in found if case.question.database in names]
    with (
        tempfile.TemporaryDirectory(prefix="distilsql-soak-") as home,
        Product(settings, model, Path(home)) as product,
        httpx.Client(base_url=product.url, timeout=120) as client,
    ):
        ids = {name: product.register(name, cases.ddl(folder, name)) for name in names}
        say(f"{_COMPARED} answers alone and {_CLIENTS} at a time")
        same, gaps = _alone_and_together(client, found[:_COMPARED])
        say(f"{requests} requests")
        rss, statuses = _many(product, client, _Mix(client, found, ids), requests)
    return {
        "same_as_alone": same,
        "gaps_where_not": gaps,
        "rss_mb": rss,
        "rss_growth": round(rss[max(rss)] / rss[min(rss)] - 1, 4),
        "statuses": statuses,
    }


def _alone_and_together(client: httpx.Client, found: Sequence[Case]) -> tuple[int, list[float]]:
    """How many greedy answers stay the same in company, and for the others how far apart the two best
    log-probabilities lie where they part."""

    def ask(case: Case) -> dict[str, Any]:
        body = {"prompt": case.prefix, "suffix": case.suffix, "temperature": 0, "logprobs": 2}
        answer = client.post("/v1/completions", json=body | {"max_tokens": 24})
        answer.raise_for_status()
        return dict(answer.json()["choices"][0]["logprobs"])

    alone = [ask(case) for case in found]
    with ThreadPoolExecutor(_CLIENTS) as pool:
        together = list(pool.map(ask, found))
    gaps = []
    for one, other in zip(alone, together, strict=True):
        pairs = zip(one["tokens"], other["tokens"], strict=False)
        at = next((at for at, (left, right) in enumerate(pairs) if left != right), None)
        if at is not None:
            gaps.append(min(_gap(each["top_logprobs"][at]) for each in (one, other)))
    return len(found) - len(gaps), sorted(gaps)


def _gap(top: dict[str, float]) -> float:
    best, second = sorted(top.values(), reverse=True)[:2]
    return round(best - second, 3)


def _many(
    product: Product, client: httpx.Client, mix: _Mix, requests: int
) -> tuple[dict[int, float], dict[str, int]]:
    """Resident memory after so many requests, and how often each status came."""
    rss: dict[int, float] = {}
    statuses: Counter[str] = Counter()
    done = 0
    with ThreadPoolExecutor(_CLIENTS // 2) as pool:
        for upto in sorted({min(_BASELINE, requests), requests}):
            statuses.update(pool.map(mix.send, range(done, upto)))
            done = upto
            client.get("/readyz").raise_for_status()
            rss[upto] = round(product.rss_mb(), 1)
            say(f"{upto} requests: {rss[upto]} MB")
    return rss, dict(sorted(statuses.items()))


class _Mix:
    """What is asked by number: of twenty requests fifteen are in order."""

    def __init__(self, client: httpx.Client, found: Sequence[Case], ids: dict[str, str]) -> None:
        self._client = client
        self._cases = found
        self._ids = ids

    def send(self, number: int) -> str:
        """Send one; its status, or "killed" where the client went away."""
        case = self._cases[number % len(self._cases)]
        schema = {"schema_id": self._ids[case.question.database]}
        kind, turn = number % 20, number // 20
        if kind < 12:
            body = {"prefix": case.prefix, "suffix": case.suffix, "max_tokens": 3}
            return self._post("/v1/sql/complete", json=body | schema)
        if kind < 14:
            return self._post("/v1/sql/validate", json={"sql": f"{case.prefix} x{number}"} | schema)
        if kind == 14:
            body = {"prefix": "SELECT a FROM ", "ddl": f"CREATE TABLE t{number} (a INT)"}
            return self._post("/v1/sql/complete", json=body | {"max_tokens": 3})
        if kind == 15:
            return self._post("/v1/completions", content=_BAD_BODIES[turn % len(_BAD_BODIES)], headers=_JSON)
        if kind < 18:
            return self._post("/v1/sql/complete", json=_BAD_REQUESTS[turn % len(_BAD_REQUESTS)])
        self._hang_up({"prefix": f"{case.prefix} /* {number} */ ", "max_tokens": 400} | schema)
        return "killed"

    def _post(self, path: str, **what: Any) -> str:
        return str(self._client.post(path, **what).status_code)

    def _hang_up(self, body: dict[str, Any]) -> None:
        """Ask, and go away while the answer is being made."""
        url = self._client.base_url
        data = json.dumps(body).encode()
        head = f"POST /v1/sql/complete HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + data)
            time.sleep(0.1)


def _main(arguments: Sequence[str]) -> None:
    model = arguments[0] if arguments else SMALLER
    requests = int(arguments[1]) if len(arguments) > 1 else 2_000
    result = run(load_settings(), model, requests, DEFAULT_CASES.resolve())
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
