"""A tiny Qwen2, a tokenizer for its 64 tokens, random examples, and a teacher that is a function of the example."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as Words
from tokenizers.models import WordLevel
from transformers import Qwen2Config, Qwen2ForCausalLM

from distill.examples import Example
from distill.recipe import Distillation, Student, Training
from distill.teachers.base import TopK
from distill.tokenizer import Tokenizer
from distill.training import TrainingJob

ROWS, REAL = 64, 60
"""Rows of the embedding matrix, and how many of them are real tokens."""


def student(*, tied: bool = True, seed: int = 1, layers: int = 2) -> Any:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=ROWS,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )
    return Qwen2ForCausalLM(config)


def student_folder(folder: Path, **how: Any) -> Path:
    student(**how).save_pretrained(str(folder))
    return folder


def tokenizer() -> Tokenizer:
    names = {f"w{id}" if id < REAL else f"[PAD{id}]": id for id in range(ROWS)}
    return Tokenizer(Words(WordLevel(names, unk_token="w0")), "tiny")


def examples(count: int, *, seed: int = 0, longest: int = 24) -> list[Example]:
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        length = int(random.integers(4, longest + 1))
        positions = np.sort(
            random.choice(np.arange(1, length), size=int(random.integers(1, length)), replace=False)
        )
        ids = random.integers(0, REAL, length)
        made.append(Example(f"r{seed}-{number}", ids.astype(np.int32), positions.astype(np.int32)))
    return made


class HashTeacher:
    """Top 4 rows that follow from the tokens before each position alone, as a causal model's do.

    So a row at the wrong place, or of another example, shows."""

    def __call__(self, example: Example) -> TopK:
        ids, logprobs, targets = [], [], []
        for position in example.positions:
            digest = hashlib.sha256(example.ids[:position].tobytes()).digest()
            random = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            ids.append(random.choice(REAL, 4, replace=False))
            mass = np.sort(random.dirichlet(np.ones(5))[:4])[::-1]
            logprobs.append(np.log(mass))
            targets.append(-1.0)
        return TopK(np.array(ids, np.int32), np.array(logprobs, np.float32), np.array(targets, np.float32))


def settings(kind: type[Training] = Training, **changes: Any) -> Any:
    plain = {
        "epochs": 2,
        "learning_rate": 1e-2,
        "max_tokens": 64,
        "step_tokens": 96,
        "micro_tokens": 64,
        "gradient_checkpointing": False,
        "checkpoint_every": 0,
    }
    return kind(**plain | changes)


def job(folder: Path, **changes: Any) -> TrainingJob:
    """A distillation in float32 of the tiny student; `settings=` and all else can be changed."""
    plain: dict[str, Any] = {
        "student": student(),
        "tokenizer": tokenizer(),
        "examples": examples(16),
        "held_out": examples(4, seed=9),
        "targets": HashTeacher(),
        "settings": settings(Distillation),
        "model": Student(model="tiny", dtype="float32"),
        "seed": 17,
        "folder": folder,
    }
    return TrainingJob(**plain | changes)
