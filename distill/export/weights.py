"""A checkpoint's weights one tensor at a time, as float32: from safetensors, out of a GGUF, or with LoRA merged in.

The student is never in memory as a whole. Names are transformers'. Knows no target format.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from distill.gguf_file import GgufFile
from distill.qwen2_gguf import check_config, config_from_metadata, module_name, tensor_name
from distill.students import ADAPTER_CONFIG, is_tied
from serve.errors import Unprocessable

Array = NDArray[np.float32]
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Weights(Protocol):
    """A model's tensors by transformers' names; tied output matrices are left out."""

    config: Any
    """`Qwen2Config`"""

    @property
    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str) -> Array:
        """The tensor as float32, read anew at each call."""


class FolderWeights:
    """A Hugging Face folder with `model.safetensors`, in one piece or several."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig

        try:
            self.config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise Unprocessable(f"{folder / 'config.json'} cannot be read: {error}") from error
        check_config(self.config, str(folder))
        self._files = _safetensors_by_name(folder)
        if self.config.tie_word_embeddings:
            self._files.pop(_HEAD, None)
        wanted = {_EMBEDDING} if self.config.tie_word_embeddings else {_EMBEDDING, _HEAD}
        if missing := wanted - set(self._files):
            raise Unprocessable(f"the weights in {folder} lack {', '.join(sorted(missing))}")

    @property
    def names(self) -> list[str]:
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def read(self, name: str) -> Array:
        from safetensors import safe_open

        with safe_open(self._files[name], framework="pt") as file:
            return np.asarray(file.get_tensor(name).float().numpy())


class GgufWeights:
    """A GGUF, dequantised; its two embeddings are one where they are (`students.is_tied`)."""

    def __init__(self, path: Path) -> None:
        self._file = GgufFile(path)
        tensors = self._file.tensors
        tied = is_tied(self._file)
        rows = tensors["token_embd.weight"].shape[0]
        self.config = config_from_metadata(self._file.metadata, rows, tied=tied, where=str(path))
        self._tensors = {module_name(name): name for name in tensors}
        if tied and _HEAD in self._tensors:
            # Written twice, and the output matrix in the better type.
            self._tensors[_EMBEDDING] = self._tensors.pop(_HEAD)

    @property
    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file.tensors[self._tensors[name]].shape

    def read(self, name: str) -> Array:
        blocks = [block for _, block in self._file.rows(self._tensors[name])]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


@dataclass(frozen=True, slots=True)
class Lora:
    """A PEFT adapter: for each weight W (transformers' name) the A [rank, in] and B [out, rank] of
    W + scale · B A (arXiv 2106.09685, section 4.1)."""

    pairs: dict[str, tuple[Array, Array]]
    rank: int
    scale: float

    @classmethod
    def load(cls, folder: Path) -> Lora:
        """Unprocessable names what it has that neither llama.cpp nor merging here can express."""
        settings = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        _check_adapter(settings, folder)
        files = _safetensors_by_name(folder, "adapter_model")
        from safetensors.torch import load_file

        tensors = load_file(next(iter(files.values())))
        pairs = {}
        for key in files:
            if not key.endswith(".lora_A.weight"):
                continue
            module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            second = key.replace(".lora_A.", ".lora_B.")
            try:
                tensor_name(f"{module}.weight")
                pairs[f"{module}.weight"] = _float32(tensors.pop(key)), _float32(tensors.pop(second))
            except KeyError as error:
                raise Unprocessable(
                    f"the adapter in {folder} has {error.args[0]}, which Qwen2.5 lacks"
                ) from None
        if tensors or not pairs:
            odd = next(iter(tensors), "no LoRA weights")
            raise Unprocessable(f"the adapter in {folder} holds {odd}; only plain LoRA can be exported")
        rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
        return cls(pairs, rank, scale)


class MergedWeights:
    """A base with an adapter added to its weights."""

    def __init__(self, base: Weights, lora: Lora) -> None:
        self._base, self._lora = base, lora
        self.config = base.config
        for name, (a, b) in lora.pairs.items():
            if name not in base.names or base.shape(name) != (b.shape[0], a.shape[1]):
                raise Unprocessable(
                    f"the adapter does not fit its base: {name} is not {b.shape[0]} by {a.shape[1]}"
                )

    @property
    def names(self) -> list[str]:
        return self._base.names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def read(self, name: str) -> Array:
        weight = self._base.read(name)
        if name not in self._lora.pairs:
            return weight
        a, b = self._lora.pairs[name]
        return np.asarray(weight + np.float32(self._lora.scale) * (b @ a), np.float32)


def open_weights(path: Path) -> Weights:
    """Of a Hugging Face folder or a GGUF file."""
    return GgufWeights(path) if path.is_file() else FolderWeights(path)


def _safetensors_by_name(folder: Path, stem: str = "model") -> dict[str, Path]:
    from safetensors import SafetensorError, safe_open

    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / file for name, file in listed.items()}
    whole = folder / f"{stem}.safetensors"
    if not whole.is_file():
        raise Unprocessable(f"{folder} has no {whole.name}: save the checkpoint with safe serialisation")
    try:
        with safe_open(whole, framework="pt") as file:
            return dict.fromkeys(file.keys(), whole)
    except SafetensorError as error:
        raise Unprocessable(f"{whole} is damaged: {error}") from error


def _check_adapter(settings: dict[str, Any], folder: Path) -> None:
    if settings.get("peft_type") != "LORA":
        raise Unprocessable(
            f"{folder} holds a {settings.get('peft_type')} adapter; only LoRA can be exported"
        )
    for key in (
        "use_dora",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "lora_bias",
        "fan_in_fan_out",
    ):
        if settings.get(key):
            raise Unprocessable(f"the adapter in {folder} was trained with {key}, which cannot be exported")


def _float32(tensor: torch.Tensor) -> Array:
    return np.asarray(tensor.float().numpy())
