"""Capture: the teacher scores the very tokens that will be learned, and the store keeps its distributions.

Only what the store lacks is scored, each distinct example once; what is scored is kept at once. Knows no model:
any `Scorer` will do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.asking import Advance
from distill.examples import Example
from distill.logits.checks import check_rows
from distill.logits.manifest import StoreManifest
from distill.logits.store import LogitStore
from distill.logits.writer import StoreWriter
from distill.recipe import Capture
from distill.teachers.base import Scorer, ScoreRequest, TopK
from serve.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What a capture did and what the store now says of the examples."""

    examples: int
    """Distinct ones asked for; all of them are in the store."""
    positions: int
    """Their token rows."""
    captured_examples: int
    """Scored now; the others were there."""
    captured_positions: int
    scored_tokens: int
    """Tokens given to the teacher, prompts included."""
    seconds: float
    """Of scoring and writing."""
    bytes_per_token: float
    """Of the whole store, with keys, checksums and indexes."""
    missing_mass_mean: float
    """Teacher's probability outside the stored tokens, over all positions (of sampled rows: what did not fit)."""
    teacher_nll_mean: float
    """Teacher's cross-entropy with the text, nats a token."""
    repaired: tuple[str, ...]
    """Damaged shards, a line each; their damaged examples were captured again."""

    @property
    def tokens_per_s(self) -> float:
        """Positions captured a second."""
        return self.captured_positions / self.seconds if self.seconds else 0.0


def capture(
    examples: Iterable[Example],
    scorer: Scorer,
    folder: Path,
    settings: Capture,
    *,
    tokenizer_hash: str,
    seed: int,
    advance: Advance = lambda done, total: None,
) -> CaptureReport:
    """Bring the store in `folder` to hold all of `examples`; interrupted, it goes on where it was.

    `tokenizer_hash` is the student's. Unprocessable where the teacher's is another, where the store is of
    another teacher, K or tokenizer, or where the teacher's rows cannot be. `advance` counts examples.
    """
    refuse_other_tokenizer(scorer, tokenizer_hash)
    wanted = {example.key: example for example in examples if len(example.positions)}
    _refuse_padding(wanted.values(), scorer)
    manifest = StoreManifest.of(
        tokenizer_hash=scorer.tokenizer_hash,
        real_vocabulary=scorer.real_vocabulary,
        teacher=scorer.name,
        top_k=settings.top_k,
        draws=settings.draws,
    )
    with StoreWriter(folder, manifest, shard_tokens=settings.shard_tokens) as writer:
        lacking = in_scoring_order(example for key, example in wanted.items() if key not in writer)
        began = time.monotonic()
        advance(len(wanted) - len(lacking), len(wanted))
        _score(lacking, scorer, writer, settings, seed, len(wanted), advance)
        repaired = tuple(writer.repaired)
    seconds = time.monotonic() - began if lacking else 0.0
    store = LogitStore.open(folder)
    missing, nll = _measure(store, wanted)
    return CaptureReport(
        examples=len(wanted),
        positions=sum(len(example.positions) for example in wanted.values()),
        captured_examples=len(lacking),
        captured_positions=sum(len(example.positions) for example in lacking),
        scored_tokens=sum(len(example.ids) for example in lacking),
        seconds=seconds,
        bytes_per_token=store.size_bytes / max(1, store.positions),
        missing_mass_mean=missing,
        teacher_nll_mean=nll,
        repaired=repaired,
    )


def in_scoring_order(examples: Iterable[Example]) -> list[Example]:
    """By their tokens, so that neighbours share the longest prefix; a scorer whose batches want like lengths sorts
    within what it is given."""
    return sorted(examples, key=lambda example: example.ids.astype(">i4").tobytes())


def refuse_other_tokenizer(scorer: Scorer, tokenizer_hash: str) -> None:
    """Unprocessable where the teacher's token ids mean something else to the student."""
    if scorer.tokenizer_hash != tokenizer_hash:
        raise Unprocessable(
            f"teacher {scorer.name} has another tokenizer ({scorer.tokenizer_hash[:12]}…) than the student "
            f"({tokenizer_hash[:12]}…): its token ids mean other text. White-box distillation needs a teacher of the "
            "student's family; black-box stages (answer, sft) work with any",
            param="scorer",
        )


def _refuse_padding(examples: Iterable[Example], scorer: Scorer) -> None:
    for example in examples:
        if int(example.ids.max()) >= scorer.real_vocabulary:
            raise Unprocessable(
                f"record {example.record_id} has token id {example.ids.max()}, outside the {scorer.real_vocabulary} "
                f"real tokens of teacher {scorer.name}: encode it with the student's own tokenizer"
            )


def _score(
    lacking: Sequence[Example],
    scorer: Scorer,
    writer: StoreWriter,
    settings: Capture,
    seed: int,
    total: int,
    advance: Advance,
) -> None:
    requests = [ScoreRequest(example.ids, example.positions) for example in lacking]
    came = np.zeros(len(lacking), bool)
    before = total - len(lacking)
    if requests:
        for at, rows in scorer.score(requests, settings.top_k, draws=settings.draws, seed=seed):
            example = lacking[at]
            check_rows(example, rows, scorer, settings)
            writer.add(example.key, widened(rows, settings.top_k))
            came[at] = True
            advance(before + int(came.sum()), total)
    if not came.all():
        raise Unprocessable(
            f"teacher {scorer.name} left {int((~came).sum())} of {len(came)} examples without scores (the first is "
            f"record {lacking[int(np.argmin(came))].record_id}); the others are kept: run the stage again"
        )


def widened(rows: TopK, top_k: int) -> TopK:
    """`rows` with unused places up to `top_k` (of a vocabulary or of draws with fewer tokens)."""
    room = top_k - rows.ids.shape[1]
    if room <= 0:
        return rows
    pad = ((0, 0), (0, room))
    return TopK(
        np.pad(rows.ids, pad, constant_values=-1),
        np.pad(rows.logprobs, pad, constant_values=-np.inf),
        rows.target_logprobs,
    )


def _measure(store: LogitStore, keys: Iterable[str]) -> tuple[float, float]:
    """Mean missing mass and mean negative log-likelihood of the text; reads back, and so checks, every example."""
    positions, mass, nll = 0, 0.0, 0.0
    for key in keys:
        rows = store.get(key)
        positions += len(rows.target_logprobs)
        mass += float(np.exp(rows.logprobs, dtype=np.float64).sum())
        nll -= float(rows.target_logprobs.sum(dtype=np.float64))
    if not positions:
        return 0.0, 0.0
    return max(0.0, 1.0 - mass / positions), nll / positions
