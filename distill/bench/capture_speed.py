"""How much faster the teacher's distributions are captured here than in the naive way, and how small they are.

Ours: the teacher scores fixed tokens in batches, the likeliest ten of each go to the store. Naive, as in tutorials:
transformers' `generate` one example at a time, full softmax, all probabilities to disk in float16. Both on the same
weights and examples, in turns in one run, which of the two begins changing with every round. Finished rounds are
kept, and an interrupted run goes on behind them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.bench.texts import texts
from distill.examples import Example, encode_all
from distill.logits.capture import capture
from distill.logits.manifest import StoreManifest
from distill.logits.store import LogitStore
from distill.logits.writer import StoreWriter
from distill.recipe import Capture, Teacher
from distill.runs import Journal
from distill.teachers.base import Scorer, TopK
from distill.tokenizer import Tokenizer

RESPONSE_TOKENS = 48
_VOCABULARY = 151665
_READ_EXAMPLES = 5000
_READ_POSITIONS = 100
_READ_SECONDS = 2.0
Round = dict[str, Any]


def measure(
    teacher: Path,
    folder: Path,
    *,
    rounds: int = 4,
    response_tokens: int = RESPONSE_TOKENS,
    fresh: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, float]:
    """Measure with `teacher`, a GGUF file or a Hugging Face folder; rounds are kept in `folder`.

    Returns capture_speedup (median of the rounds' ratios of tokens/s), capture_tokens_per_s (positions, ours),
    naive_tokens_per_s, store_bytes_per_token, dense_bytes_per_token, store_reads_per_s (token rows, read example by
    example at random) and store_gets_per_s (examples of 100 positions).
    """
    examples = _examples(teacher, response_tokens)
    per_round = max(1, len(examples) // rounds)
    state = folder / f"capture-{_fingerprint(teacher, examples, rounds)}.jsonl"
    if fresh:
        state.unlink(missing_ok=True)
    with Journal(state) as journal:
        if any(str(number) not in journal for number in range(rounds)):
            with _Sides(teacher, folder) as sides:
                sides.warm_up(_cut(examples[-1], 2))
                for number in range(rounds):
                    if str(number) not in journal:
                        first = (number * per_round) % len(examples)
                        found = sides.round(examples[first : first + per_round], ours_first=number % 2 == 0)
                        journal.add(str(number), found)
                        say(_line(number, rounds, found))
        done = list(journal.values())
    return _summary(done) | read_speed(folder)


def _summary(done: Sequence[Round]) -> dict[str, float]:
    def total(name: str) -> float:
        return float(sum(one[name] for one in done))

    ratios = [one["naive_s"] / one["ours_s"] for one in done]
    return {
        "capture_speedup": round(statistics.median(ratios), 2),
        "capture_tokens_per_s": round(total("positions") / total("ours_s"), 2),
        "naive_tokens_per_s": round(total("positions") / total("naive_s"), 2),
        "store_bytes_per_token": round(total("store_bytes") / total("positions"), 2),
        "dense_bytes_per_token": round(total("dense_bytes") / total("positions"), 2),
    }


def _line(number: int, rounds: int, found: Round) -> str:
    ours, naive = found["positions"] / found["ours_s"], found["positions"] / found["naive_s"]
    return f"capture, round {number + 1} of {rounds}: {ours:.1f} tokens/s, naive {naive:.1f}: {ours / naive:.1f} times"


def _examples(teacher: Path, response_tokens: int) -> list[Example]:
    whole, _ = encode_all(texts(), Tokenizer.load(teacher), max_tokens=4096)
    return [_cut(example, response_tokens) for example in whole]


def _cut(example: Example, response_tokens: int) -> Example:
    positions = example.positions[:response_tokens]
    return Example(example.record_id, example.ids[: positions[-1] + 1], positions)


def _fingerprint(teacher: Path, examples: Sequence[Example], rounds: int) -> str:
    """Of what decides the rounds: other weights, texts or counts begin anew."""
    known = [
        str(teacher.resolve()),
        teacher.stat().st_mtime_ns,
        [example.key for example in examples],
        rounds,
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]


class _Sides:
    """Both ways, loaded, with a folder to write into. Use it as a context manager."""

    def __init__(self, teacher: Path, folder: Path) -> None:
        from distill.students import load_student
        from distill.teachers.factory import open_scorer

        kind = "llamacpp" if teacher.is_file() else "transformers"
        self._naive = load_student(teacher, dtype="bfloat16")
        self._scorer: Scorer = open_scorer(Teacher.model_validate({"kind": kind, "model": str(teacher)}))
        self._scratch = _emptied(folder / ".capture")

    def __enter__(self) -> _Sides:
        return self

    def __exit__(self, *_: object) -> None:
        self._scorer.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def warm_up(self, example: Example) -> None:
        """Weights into memory; not timed."""
        self.round([example], ours_first=True)

    def round(self, examples: Sequence[Example], *, ours_first: bool) -> Round:
        """Seconds and bytes of both ways for `examples`."""
        found: Round = {"positions": sum(len(example.positions) for example in examples)}
        sides = [self._ours, self._dense]
        for side in sides if ours_first else reversed(sides):
            found |= side(examples)
        return found

    def _ours(self, examples: Sequence[Example]) -> Round:
        store = _emptied(self._scratch / "store")
        began = time.perf_counter()
        hash = self._scorer.tokenizer_hash
        report = capture(examples, self._scorer, store, Capture(), tokenizer_hash=hash, seed=0)
        seconds = time.perf_counter() - began
        return {"ours_s": seconds, "store_bytes": report.bytes_per_token * report.positions}

    def _dense(self, examples: Sequence[Example]) -> Round:
        import torch

        dense = _emptied(self._scratch / "dense")
        began = time.perf_counter()
        for number, example in enumerate(examples):
            prompt = torch.from_numpy(example.ids[: example.positions[0]].astype(np.int64))[None]
            count = len(example.positions)
            with torch.inference_mode():
                answer = self._naive.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    do_sample=False,
                    min_new_tokens=count,
                    max_new_tokens=count,
                    output_scores=True,
                    return_dict_in_generate=True,
                )
                probabilities = torch.cat(answer.scores).float().softmax(-1)
            np.save(dense / f"{number}.npy", probabilities.half().numpy())
        return {"naive_s": time.perf_counter() - began, "dense_bytes": _bytes_in(dense)}


def _emptied(folder: Path) -> Path:
    """`folder`, without what a killed run has left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def read_speed(folder: Path) -> dict[str, float]:
    """Token rows and examples a second, read by one process at random from a store of 500,000 rows."""
    random = np.random.default_rng(0)
    manifest = StoreManifest.of(
        tokenizer_hash="0" * 64, real_vocabulary=_VOCABULARY, teacher="random rows", top_k=10
    )
    scratch = _emptied(folder / ".reads")
    try:
        keys = [random.bytes(32).hex() for _ in range(_READ_EXAMPLES)]
        ids = random.integers(0, _VOCABULARY, (_READ_POSITIONS, 10), dtype=np.int32)
        logprobs = -random.exponential(5, (_READ_POSITIONS, 10)).astype(np.float32)
        with StoreWriter(scratch, manifest) as writer:
            for key in keys:
                writer.add(key, TopK(random.permutation(ids), logprobs, logprobs[:, 0]))
        store = LogitStore.open(scratch, tokenizer_hash=manifest.tokenizer_hash)
        order = random.integers(0, len(keys), 2_000_000)
        gets, rows, began = 0, 0, time.perf_counter()
        while (seconds := time.perf_counter() - began) < _READ_SECONDS:
            rows += len(store.get(keys[order[gets % len(order)]]).target_logprobs)
            gets += 1
    finally:
        shutil.rmtree(scratch)
    return {"store_reads_per_s": round(rows / seconds), "store_gets_per_s": round(gets / seconds)}
