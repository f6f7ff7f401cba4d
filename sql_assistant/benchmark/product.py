"""The product as its user meets it: `distilsql up` in a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from serve.settings import Settings

START_S = 180.0
STOP_S = 30.0
_ANNOUNCED = re.compile(r"distilsql is (?:ready )?at (http://\S+?)/(?:,|\s|$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion as the client saw it: milliseconds to the first piece of text and to the end."""

    text: str
    """"" where nothing was suggested."""
    ms: float
    first_ms: float | None
    body: dict[str, Any] = field(repr=False)

    @property
    def overhead_ms(self) -> float:
        """What the client waited beyond the engine's own time: HTTP, prompt, validation, logging."""
        timings = self.body["timings"]
        return float(self.ms - timings["queue_ms"] - timings["prefill_ms"] - timings["decode_ms"])


class Product:
    """A running server with events, schemas and snapshots of its own; use it as a context manager."""

    def __init__(self, settings: Settings, model: str, home: Path) -> None:
        """`home` is kept between starts; the models are those of `settings`."""
        home.mkdir(parents=True, exist_ok=True)
        link = home / "models"
        if not link.exists():
            link.symlink_to(settings.models_dir)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTILSQL_")}
        environment |= {"DISTILSQL_HOME": str(home), "DISTILSQL_LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "distilsql", "up", "--port", "0", "--model", model]
        self._log = (home / "server.log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, env=environment, text=True
        )
        self.url = self._announced()
        self._client = httpx.Client(base_url=self.url, timeout=120)

    def _announced(self) -> str:
        assert self._process.stdout is not None
        watchdog = threading.Timer(START_S, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                if found := _ANNOUNCED.search(line):
                    return found[1]
        finally:
            watchdog.cancel()
        raise RuntimeError(f"the server did not start; see {self._log.name}")

    def register(self, name: str, ddl: str) -> str:
        """Register a schema and wait until it is warm; its id."""
        answer = self._client.post("/v1/sql/schemas", json={"name": name, "ddl": ddl})
        answer.raise_for_status()
        schema_id = str(answer.json()["schema_id"])
        deadline = time.monotonic() + START_S
        while not self.schema(schema_id)["warm"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the schema {name} did not get warm")
            time.sleep(0.2)
        return schema_id

    def schema(self, schema_id: str) -> dict[str, Any]:
        """What the server says of a schema."""
        answer = self._client.get(f"/v1/sql/schemas/{schema_id}")
        answer.raise_for_status()
        return dict(answer.json())

    def complete(self, prefix: str, suffix: str, **fields: Any) -> Answer:
        """One streamed completion; `fields` are those of the request."""
        body = {"prefix": prefix, "suffix": suffix, "stream": True, **fields}
        first: float | None = None
        event = ""
        began = time.perf_counter()
        with self._client.stream("POST", "/v1/sql/complete", json=body) as response:
            response.read() if response.is_error else None
            response.raise_for_status()
            for line in response.iter_lines():
                if line.startswith("event:"):
                    event = line.removeprefix("event:").strip()
                elif line.startswith("data:") and event == "text":
                    first = first or (time.perf_counter() - began) * 1e3
                elif line.startswith("data:") and event == "completion":
                    ms = (time.perf_counter() - began) * 1e3
                    found = json.loads(line.removeprefix("data:"))
                    suggestions = found["suggestions"]
                    text = suggestions[0]["text"] if suggestions else ""
                    return Answer(text, ms, first, found)
        raise RuntimeError("the stream ended without an answer")

    def rss_mb(self) -> float:
        """Resident memory of the server, in 10^6 bytes."""
        return float(psutil.Process(self._process.pid).memory_info().rss / 1e6)

    def close(self) -> None:
        """Stop the server as an operator would."""
        self._client.close()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Product:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
