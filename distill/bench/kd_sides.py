"""One side of the comparison in `kd_step`, in a process of its own: steps on command, timed and weighed.

    python -m distill.bench.kd_sides dense|sparse SETUP_JSON

writes a line of JSON when it is ready and one for each line that it reads. `sparse` is the step that training
takes; `dense` is the one of common toolkits: logits of all positions in float32, the teacher's read from disk in
float16, batchmean KL and cross-entropy.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distill.examples import Example
from distill.losses.sparse import LossSettings
from distill.recipe import Distillation
from distill.students import load_student
from distill.teachers.base import TopK
from distill.tokenizer import Tokenizer
from distill.training.batch import build
from distill.training.learner import Learner
from serve.errors import Unavailable
from serve.files import move_into_place

PADDED = 7
"""Rows of the tiny student's matrices that are no tokens."""
Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Setup:
    """The batch that both sides learn."""

    folder: str
    """Where the teacher's files lie."""
    student: str = ""
    """GGUF file or Hugging Face folder; empty makes a tiny one."""
    examples: int = 4
    tokens: int = 256
    """Of each example; the later half is learned."""
    top_k: int = 10
    cross_entropy: float = 0.1

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main() -> None:
    """Serve steps until stdin ends."""
    side, setup = sys.argv[1], Setup(**json.loads(sys.argv[2]))
    torch.manual_seed(0)
    model, real_vocabulary = _student(setup)
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    ids = torch.from_numpy(_ids(setup, real_vocabulary))
    if side == "dense":
        write_teacher(setup, model, ids, real_vocabulary)
        step = dense_step(setup, model, ids)
    else:
        step = sparse_step(setup, model, ids, real_vocabulary)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, foreach=False)
    torch.autograd.backward(step())
    optimiser.step()  # its state exists from here on, as in every step of a training but the first
    _answer({"ready": True})
    for _ in sys.stdin:
        optimiser.zero_grad()
        _answer(_measured(step))


def _answer(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def _measured(step: Step) -> dict[str, float]:
    """Seconds of forward and backward, and the most memory over what stood before, gradients included."""
    before = _reset_peak()
    began = time.perf_counter()
    loss = step()
    torch.autograd.backward(loss)
    seconds = time.perf_counter() - began
    return {"s": seconds, "bytes": _resident("VmHWM") - before, "loss": loss.item()}


def _reset_peak() -> int:
    """Begin a new peak of resident memory; returns what is resident now."""
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise Unavailable(
            f"peak memory is measured through Linux's /proc/self/clear_refs: {error}"
        ) from error
    return _resident("VmRSS")


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise Unavailable(f"/proc/self/status does not tell {field}")


def _student(setup: Setup) -> tuple[Any, int]:
    """The model in bfloat16, and its number of real tokens."""
    if setup.student:
        path = Path(setup.student)
        return load_student(path, dtype="bfloat16"), Tokenizer.load(path).real_vocabulary
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=4096 + PADDED,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16), 4096


def _ids(setup: Setup, real_vocabulary: int) -> np.ndarray:
    """[B, T] of random tokens: how long a step takes does not depend on which they are."""
    return np.random.default_rng(0).integers(0, real_vocabulary, (setup.examples, setup.tokens))


def _positions(setup: Setup) -> np.ndarray:
    return np.arange(setup.tokens // 2, setup.tokens, dtype=np.int32)


def write_teacher(setup: Setup, model: Any, ids: Tensor, real_vocabulary: int) -> None:
    """Both forms of one teacher, the student with noise: whole logits, and the top K where tokens are learned."""
    whole, top = (Path(setup.folder) / name for name in ("teacher.npy", "top.npz"))
    if whole.exists() and top.exists():
        return
    generator = torch.Generator().manual_seed(1)
    positions, logits, chosen = _positions(setup), [], []
    with torch.no_grad():
        for row in ids:
            found = model(input_ids=row[None]).logits[0].float()
            found += torch.randn(found.shape, generator=generator)
            logprobs = found[positions - 1, :real_vocabulary].log_softmax(1)
            chosen.append(logprobs.topk(setup.top_k))
            logits.append(found.half().numpy())
    _save(top, lambda path: np.savez(path, ids=_stack(chosen, 1), logprobs=_stack(chosen, 0)))
    _save(whole, lambda path: np.save(path, np.stack(logits)))


def _stack(chosen: list[Any], part: int) -> np.ndarray:
    return np.stack([one[part].numpy() for one in chosen])


def _save(path: Path, write: Callable[[Path], None]) -> None:
    aside = path.with_name(f".{path.name}{path.suffix}")
    write(aside)
    move_into_place(aside, path)


def sparse_step(setup: Setup, model: Any, ids: Tensor, real_vocabulary: int) -> Step:
    """What training does with a packed row, the teacher's rows already read."""
    teacher = np.load(Path(setup.folder) / "top.npz")
    positions = _positions(setup)
    examples = [
        Example(str(row), tokens.numpy().astype(np.int32), positions) for row, tokens in enumerate(ids)
    ]
    nothing = np.zeros(len(positions), np.float32)

    def targets(example: Example) -> TopK:
        row = int(example.record_id)
        return TopK(teacher["ids"][row].astype(np.int32), teacher["logprobs"][row], nothing)

    settings = LossSettings.of(Distillation(cross_entropy=setup.cross_entropy))
    learner = Learner(model, settings, real_vocabulary=real_vocabulary, compute=torch.bfloat16)

    def step() -> Tensor:
        batch = build(examples, targets)
        total: Tensor = learner(batch)[0]
        return total / len(batch.labels)

    return step


def dense_step(setup: Setup, model: Any, ids: Tensor) -> Step:
    """A dense KD step as common toolkits take it."""
    labels = torch.full_like(ids, -100)
    positions = torch.from_numpy(_positions(setup)).long()
    labels[:, positions - 1] = ids[:, positions]
    share = setup.cross_entropy

    def step() -> Tensor:
        teacher = torch.from_numpy(np.load(Path(setup.folder) / "teacher.npy"))
        logits = model(input_ids=ids).logits.float()
        text = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        divergence = F.kl_div(logits.log_softmax(-1), teacher.float().softmax(-1), reduction="batchmean")
        return (1 - share) * divergence + share * text

    return step


if __name__ == "__main__":
    main()
