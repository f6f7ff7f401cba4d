"""The plain loop: one `llama_cpp.Llama`, one fill-in-the-middle prompt at a time, greedy, nothing else.

Runs as a process of its own (`python -m sql_assistant.benchmark.plain MODEL.gguf THREADS`): a line of
JSON in ({prefix, suffix, max_tokens}), a line out ({text, ms, first_ms}). llama-cpp-python's own
prefix cache is at work, so a prompt that begins like the one before is not computed anew. Its threads wait
for each other as ours do: on an idle machine that changes nothing, and on a busy one the plain loop would
otherwise be slowed several times over.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from serve.engines.llama_model import SPIN_COUNT

_STOPS = ("<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|endoftext|>", "<|im_end|>")
_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """What the loop wrote; milliseconds to the first token and to the last."""

    text: str
    ms: float
    first_ms: float


class PlainLoop:
    """A running plain loop; use it as a context manager."""

    def __init__(self, model: Path, threads: int) -> None:
        command = [sys.executable, "-m", __name__, str(model), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._out.readline().strip() != "ready":
            raise RuntimeError(f"the plain loop did not start with {model}")

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def ask(self, prefix: str, suffix: str, max_tokens: int) -> PlainAnswer:
        """One completion. RuntimeError when the process has died."""
        assert self._process.stdin is not None
        wish = {"prefix": prefix, "suffix": suffix, "max_tokens": max_tokens}
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        line = self._out.readline()
        if not line:
            raise RuntimeError("the plain loop ended unexpectedly")
        return PlainAnswer(**json.loads(line))

    def __enter__(self) -> PlainLoop:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._out.close()


def _serve(model: str, threads: int) -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # Read when the library is loaded.
    import llama_cpp

    # llama.cpp writes to the C level's standard output and error; the answers go where only we write.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    llama = llama_cpp.Llama(model, n_ctx=_CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False)
    stops = {llama.tokenize(stop.encode(), add_bos=False, special=True)[0] for stop in _STOPS}
    answers.write("ready\n")
    for line in sys.stdin:
        wish = json.loads(line)
        marked = f"<|fim_prefix|>{wish['prefix']}<|fim_suffix|>{wish['suffix']}<|fim_middle|>"
        began = time.perf_counter()
        prompt = llama.tokenize(marked.encode(), add_bos=False, special=True)
        ids: list[int] = []
        first = 0.0
        for token in llama.generate(prompt, temp=0.0):
            first = first or time.perf_counter() - began
            if token in stops or len(ids) >= wish["max_tokens"]:
                break
            ids.append(token)
        ms = (time.perf_counter() - began) * 1e3
        text = llama.detokenize(ids).decode("utf-8", "replace")
        answers.write(json.dumps({"text": text, "ms": ms, "first_ms": first * 1e3}) + "\n")


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
