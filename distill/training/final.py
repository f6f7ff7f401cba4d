"""The trained student as a folder that transformers and PEFT load, and the result beside it.

    FOLDER/final/           config.json, model.safetensors, tokenizer.json, ... (or adapter_config.json, ...)
    FOLDER/result.json

Written aside, fsynced, renamed. With LoRA it is the adapter, whose config names the base model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from torch import Tensor
from transformers.utils import logging

from distill.tokenizer import Tokenizer
from distill.training import tensor_files
from distill.training.job import TrainingResult
from distill.training.learner import Learner
from serve.files import move_into_place, write_atomic

FOLDER = "final"
RESULT = "result.json"


def save(learner: Learner, weights: dict[str, Tensor], tokenizer: Tokenizer, folder: Path) -> Path:
    """Write the student with `weights` (by parameter name, see `Engine.weights`) to `folder`/final."""
    aside = folder / f".{FOLDER}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        # PEFT would look for a Hugging Face config beside a GGUF base, to see whether the vocabulary grew.
        adapter = {"save_embedding_layers": False} if hasattr(learner.student, "peft_config") else {}
        learner.student.save_pretrained(str(aside), state_dict=weights, **adapter)
    finally:
        if shown:
            logging.enable_progress_bar()
    config = aside / "config.json"
    if config.exists():
        # save_pretrained names the type that was trained in, not the files'.
        told = json.loads(config.read_text(encoding="utf-8"))
        told["dtype"] = dtype
        config.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(aside)
    tensor_files.sync_tree(aside)
    final = folder / FOLDER
    shutil.rmtree(final, ignore_errors=True)
    move_into_place(aside, final)
    return final


def write_result(result: TrainingResult, fingerprint: str, folder: Path) -> None:
    """The last thing that is written: with it the training is done."""
    data = {"fingerprint": fingerprint, **result.to_json()}
    write_atomic(folder / RESULT, json.dumps(data, indent=2).encode())


def read_result(folder: Path, fingerprint: str) -> TrainingResult | None:
    """The result of a finished training of just this job, else None."""
    path = folder / RESULT
    if not path.exists() or not (folder / FOLDER).is_dir():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.pop("fingerprint") != fingerprint:
        return None
    return TrainingResult.of_json(data, folder)
