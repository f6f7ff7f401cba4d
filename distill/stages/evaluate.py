"""Stage `evaluate`: the student before, after stage 1 and after stage 2, on records it never learned from."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from distill.completion_cases import pass_rates, spread
from distill.export.gguf import Quant, export_gguf
from distill.logits.online import StoreTargets
from distill.logits.store import LogitStore
from distill.pipeline import Context
from distill.progress import bar
from distill.sqltrack.cases import HeldOutCase, held_out_cases
from distill.stages import learning
from distill.stages.capture import STORE
from distill.students import load_student
from distill.training.held_out import measure_student
from serve.files import write_atomic

QUANT: Quant = "Q8_0"
"""Near enough to the checkpoint for a comparison, and half the size of F16."""
_BEFORE, _AFTER = "before", "after"


def run(context: Context) -> None:
    """Held-out KL, cross-entropy and agreement of each checkpoint; Pass@1 before and after. What is measured is
    kept in `measured.json`, so that an interrupted evaluation goes on."""
    kept = context.stage.folder / "measured.json"
    done: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}

    def keep(found: dict[str, Any]) -> None:
        done.update(found)
        write_atomic(kept, json.dumps(done, indent=2).encode())

    checkpoints = _checkpoints(context)
    _held_out(context, checkpoints, done, keep)
    cases = spread(held_out_cases(context.records()), context.recipe.evaluate.cases)
    if cases:
        for when in (_BEFORE, _AFTER):
            if when in checkpoints and f"pass_at_1_{when}" not in done:
                _pass_at_1(context, when, checkpoints[when], cases, keep)
    context.stage.metrics |= done | {"cases": len(cases)}


def _checkpoints(context: Context) -> dict[str, Path]:
    """When → weights; `after` is the last stage's."""
    found = {_BEFORE: learning.student_path(context)}
    stages = [name for name in ("sft", "kd") if name in context.recipe.stages]
    if len(stages) == 2:
        found["after_sft"] = context.run.folder("sft") / "final"
    if stages:
        found[_AFTER] = context.run.folder(stages[-1]) / "final"
    return found


def _held_out(context: Context, checkpoints: dict[str, Path], done: dict[str, Any], keep: Any) -> None:
    recipe = context.recipe
    data = learning.split(context, recipe.kd)
    targets = None
    if "capture" in recipe.stages and not recipe.capture.online:
        store = LogitStore.open(context.run.folder("capture") / STORE, tokenizer_hash=data.tokenizer.hash)
        targets = StoreTargets(store)
    for when, path in checkpoints.items():
        if f"cross_entropy_{when}" in done or not data.held_out:
            continue
        context.say(f"evaluate: held-out records, {when.replace('_', ' ')}")
        student = load_student(path, dtype=recipe.student.dtype)
        found = measure_student(
            student,
            data.held_out,
            targets,
            recipe.kd.micro_tokens,
            real_vocabulary=data.tokenizer.real_vocabulary,
            dtype=recipe.student.dtype,
            sampled=recipe.capture.draws > 0,
        )
        del student
        gc.collect()
        assert found is not None
        figures = {"cross_entropy": found.cross_entropy, "kl": found.kl, "agreement": found.agreement}
        keep({f"{name}_{when}": value for name, value in figures.items()})


def _pass_at_1(context: Context, when: str, checkpoint: Path, cases: list[HeldOutCase], keep: Any) -> None:
    """Both students as GGUFs of the same quantisation, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(dir=context.stage.folder) as name:
        scratch = Path(name)
        source = checkpoint
        if checkpoint.is_file():
            source = _as_folder(context, checkpoint, scratch / "checkpoint")
        exported = export_gguf(source, scratch / f"{when}.gguf", QUANT, say=lambda text: None)
        shutil.rmtree(scratch / "checkpoint", ignore_errors=True)
        with bar(f"evaluate: cases, {when}") as advance:
            rates = pass_rates(
                exported.path,
                cases,
                max_tokens=context.recipe.evaluate.max_tokens,
                settings=context.settings,
                scratch=scratch,
                advance=advance,
            )
    keep({f"pass_at_1_{when}": rates.product, f"pass_at_1_alone_{when}": rates.alone})


def _as_folder(context: Context, gguf: Path, folder: Path) -> Path:
    """A GGUF's weights as a Hugging Face folder."""
    from distill.tokenizer import Tokenizer

    student = load_student(gguf, dtype=context.recipe.student.dtype)
    student.save_pretrained(str(folder))
    Tokenizer.load(gguf).save(folder)
    return folder
