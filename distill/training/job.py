"""What one training is given and what it gives back. Knows neither torch nor how a step is computed.

job = TrainingJob(
    student=resolve_model("qwen2.5-coder-0.5b"), tokenizer=tokenizer,
    examples=examples, held_out=held_out,
    targets=store.get_for,              # None: SFT, the text alone
    settings=recipe.kd, model=recipe.student, seed=17, folder=run / "kd",
)
result = train(job)                     # result.final is a Hugging Face or PEFT adapter folder
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from distill.examples import Example
from distill.recipe import Distillation, Student, Training
from distill.teachers.base import TopK
from distill.tokenizer import Tokenizer
from serve.errors import Unprocessable

Targets = Callable[[Example], TopK]
"""A teacher's rows for exactly this example: row j belongs to `positions[j]`."""


@runtime_checkable
class Expecting(Protocol):
    """Targets that want to know what is asked next: a live teacher scores it while the student computes."""

    def expect(self, examples: Iterable[Example]) -> None: ...


_FREE_TO_CHANGE = {"evaluate_every", "checkpoint_every"}
"""Settings that decide nothing about the weights: a run goes on when they changed."""


def _nothing(_done: int, _total: int) -> None:
    return None


@dataclass(frozen=True)
class TrainingJob:
    """One training stage, SFT or distillation."""

    student: Any
    """A path (Hugging Face folder or GGUF), or a loaded transformers or PEFT model, which is then trained in place
    (on one process only)."""
    tokenizer: Tokenizer
    examples: Sequence[Example]
    held_out: Sequence[Example]
    """Never learned from, measured at start, on the way and at the end; may be empty."""
    targets: Targets | None
    """Teacher's rows for training and held-out examples; None is SFT. With several ranks it has to be picklable (an
    object of a module-level class that opens its store when it is first asked)."""
    settings: Training
    """`recipe.Distillation` with `targets`."""
    model: Student
    """The student's type and adapter."""
    seed: int
    folder: Path
    """Gets checkpoints/, final/, metrics.jsonl, tensorboard/ and result.json."""
    advance: Callable[[int, int], None] = _nothing
    """Told (tokens done, tokens in all)."""
    ranks: int = 1
    """Devices (over all nodes) it is spread over with `zero_stage` above 0, started by DeepSpeed's launcher; of no
    effect in a process that a launcher started already."""
    sampled: bool = False
    """The teacher's rows are draws (`capture.draws`), not its top K."""
    hostfile: Path | None = None
    """DeepSpeed's list of nodes (`worker-1 slots=8`); None is this machine alone."""
    transfer_teacher: Path | None = None
    """The teacher (Hugging Face folder or GGUF) whose inner states are learned; loaded only where `hidden_weight` or
    `attention_weight` asks for them, and then needed."""

    @property
    def transfers(self) -> bool:
        """Whether a teacher computes beside the student."""
        return isinstance(self.settings, Distillation) and self.settings.transfers

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the weights: a checkpoint with another one is refused."""
        settings = self.settings.model_dump(mode="json", exclude=_FREE_TO_CHANGE)
        model = self.model.model_dump(mode="json")
        digest = hashlib.sha256(json.dumps([settings, model, self.seed], sort_keys=True).encode())
        digest.update(b"sft" if self.targets is None else b"sampled" if self.sampled else b"kd")
        if self.transfers:
            digest.update(f"transfer {self.transfer_teacher}\n".encode())
        digest.update(self.tokenizer.hash.encode())
        for example in self.examples:
            digest.update(example.key.encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Unprocessable where it cannot be trained as given."""
        if not self.examples:
            raise Unprocessable(
                f"there are no examples to train on for {self.folder}; look at the data report to see why"
            )
        limit = self.settings.micro_tokens
        for example in (*self.examples, *self.held_out):
            if len(example.ids) > limit:
                raise Unprocessable(
                    f"record {example.record_id} has {len(example.ids)} tokens, and one forward pass takes "
                    f"{limit}: raise micro_tokens to {len(example.ids)} or lower max_tokens",
                    param="micro_tokens",
                )
            if not len(example.positions) or example.positions[0] < 1:
                raise Unprocessable(f"record {example.record_id} has no token that could be learned")
        if self.transfers:
            self._check_transfer()
        if self.ranks > 1 and not self.settings.zero_stage:
            raise Unprocessable(
                f"{self.ranks} devices are asked for with zero_stage 0, which is one process: set zero_stage to 2 or 3",
                param="zero_stage",
            )

    def _check_transfer(self) -> None:
        weights = ("hidden_weight", "attention_weight")
        name = next(name for name in weights if getattr(self.settings, name, 0))
        if self.transfer_teacher is None:
            raise Unprocessable(
                f"{name} needs the teacher's inner states, and training was given its distributions only: give the "
                f"teacher's weights (transfer_teacher), or set {name} to 0",
                param=name,
            )
        if self.settings.zero_stage:
            raise Unprocessable(
                f"{name} has the whole teacher beside the student in one process, which zero_stage "
                f"{self.settings.zero_stage} is not: set zero_stage to 0, or hidden_weight and attention_weight to 0",
                param="zero_stage",
            )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A measurement on the held-out examples, each figure per target token."""

    targets: int
    cross_entropy: float
    """Of the text, in nats."""
    kl: float | None
    """Forward KL from teacher to student at temperature 1, what lies outside the teacher's top K as one bucket;
    None without a teacher. With `sampled` targets the cross-entropy to the draws, which is more by the teacher's
    entropy."""
    agreement: float
    """Share of targets where the student's likeliest token is the teacher's likeliest (SFT: the text's)."""

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.cross_entropy, 700.0))


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came of it; `to_json` is what result.json holds and `of_json` reads."""

    final: Path
    """Hugging Face folder, or PEFT adapter folder (with LoRA)."""
    adapter: bool
    steps: int
    tokens: int
    """Learned from, prompts included, over all epochs."""
    targets: int
    """Target tokens over all epochs."""
    seconds: float
    """Of training proper, over all attempts; evaluations and checkpoints not counted."""
    before: HeldOut | None
    after: HeldOut | None
    """None without held-out examples."""
    peak_bytes: int
    """Most memory of rank 0: resident on a CPU, allocated on a GPU."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"final": self.final.name}

    @classmethod
    def of_json(cls, data: dict[str, Any], folder: Path) -> TrainingResult:
        measured = {
            name: HeldOut(**data[name]) if data[name] is not None else None for name in ("before", "after")
        }
        return cls(**(data | measured | {"final": folder / data["final"]}))
