"""The model that learns: found by name, loaded from a Hugging Face folder or out of a GGUF, with or without LoRA.

A GGUF is dequantised tensor by tensor into an empty model: nothing is held twice. Knows no training.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distill import recipe
from distill.gguf_file import GgufFile
from distill.qwen2_gguf import LINEAR_LAYERS, check_config, config_from_metadata, module_name
from serve.catalog import NAME_PATTERN, Catalog
from serve.console import load_settings
from serve.errors import NotFound, Unavailable, Unprocessable
from serve.settings import Settings

ADAPTER_CONFIG = "adapter_config.json"
"""What makes a folder a PEFT adapter."""
_HUB_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "merges.txt"]
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"


def resolve_model(name: str, settings: Settings | None = None) -> Path:
    """The GGUF file or Hugging Face folder that `name` means.

    `name` is a path, a model of the catalog (`qwen2.5-coder-0.5b`), or a hub name (`Qwen/Qwen2.5-0.5B`), which is
    fetched unless the hub's cache has it. Raises NotFound (no such thing, or not installed), Unprocessable
    (a file that is no model), Unavailable (the hub cannot be reached).
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not any((path / file).is_file() for file in ("config.json", ADAPTER_CONFIG)):
            raise Unprocessable(f"{path} is no model folder: it has no config.json")
        return path
    if path.is_file():
        if path.suffix != ".gguf":
            raise Unprocessable(f"{path} is neither a GGUF file nor a model folder")
        return path
    if NAME_PATTERN.fullmatch(name):
        catalog = Catalog.load(settings or load_settings())
        entries = {entry.name: entry for entry in catalog.entries()}
        if entry := entries.get(name):
            if not catalog.installed(entry):
                raise NotFound(
                    f"the model {name} is not installed; run `distilsql models pull {name}`", param="model"
                )
            if entry.base is not None:
                raise Unprocessable(
                    f"{name} is an adapter of {entry.base}; give a whole model, or the adapter's own folder",
                    param="model",
                )
            return catalog.path(entry)
    if _HUB_NAME.fullmatch(name):
        return _from_hub(name)
    raise NotFound(
        f"there is no model {name}: give a name that `distilsql models list` shows, a GGUF file, a Hugging Face "
        "folder, or a hub name (owner/model)",
        param="model",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except RepositoryNotFoundError as error:
        raise NotFound(f"the hub has no model {name}, or it needs a login", param="model") from error
    except Exception as error:  # the hub's client raises httpx's, its own and OS errors
        raise Unavailable(
            f"{name} is neither a folder here nor in the hub's cache, and the hub cannot be reached "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); fetch it on a machine that can, and "
            "give its folder",
            param="model",
        ) from error


def load_student(
    path: Path,
    *,
    dtype: torch.dtype | str = torch.float32,
    lora: recipe.Lora | None = None,
    device: str | torch.device = "cpu",
    retie: bool = True,
) -> Any:
    """A `Qwen2ForCausalLM` (with `lora`: a `PeftModel` around one) in eval mode, ready to train and to save.

    `path` is what `resolve_model` gives; a PEFT folder is loaded over the base it names, and trained on where
    `lora` is given. `dtype` is a torch type or its name. A GGUF that holds one embedding twice, quantised
    differently, gives a tied model as its original was; `retie` False keeps both, to compute what llama.cpp
    computes. Raises NotFound and Unprocessable.
    """
    from transformers.utils import logging

    kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    logging.disable_progress_bar()  # Seconds of work, between bars of our own.
    if (path / ADAPTER_CONFIG).is_file():
        return _with_saved_adapter(path, kind, lora, device)
    model = _from_gguf(path, kind, retie) if path.is_file() else _from_folder(path, kind)
    model.name_or_path = model.config._name_or_path = str(path)
    model = model.to(device).eval()
    return model if lora is None else _with_new_adapter(model, lora)


def adapter_base(folder: Path, settings: Settings | None = None) -> Path:
    """The model that a PEFT folder was trained over. Unprocessable when it does not say."""
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        raise Unprocessable(f"{folder} is no adapter: it has no {ADAPTER_CONFIG}")
    try:
        name = json.loads(file.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except ValueError as error:
        raise Unprocessable(f"{file} is not JSON: {error}") from error
    if not name:
        raise Unprocessable(f"{file} names no base model (base_model_name_or_path)")
    return resolve_model(name, settings)


def _from_folder(path: Path, dtype: torch.dtype) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoConfig, Qwen2ForCausalLM

    try:
        config = AutoConfig.from_pretrained(str(path), local_files_only=True)
        check_config(config, str(path))
        return Qwen2ForCausalLM.from_pretrained(
            str(path), config=config, dtype=dtype, attn_implementation="sdpa", local_files_only=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise Unprocessable(f"the model in {path} cannot be loaded: {error}") from error


def _from_gguf(path: Path, dtype: torch.dtype, retie: bool) -> Any:
    from transformers import Qwen2ForCausalLM
    from transformers.initialization import no_init_weights

    file = GgufFile(path)
    if _EMBEDDING not in file.tensors:
        raise Unprocessable(f"{path} has no {_EMBEDDING}: it is no whole model")
    tied = is_tied(file) if retie else _OUTPUT not in file.tensors
    config = config_from_metadata(
        file.metadata, file.tensors[_EMBEDDING].shape[0], tied=tied, where=str(path)
    )
    with no_init_weights():
        model = Qwen2ForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa")
    if tied:
        model.tie_weights()
    parameters = dict(model.named_parameters())
    missing = set(parameters)
    for tensor in file.tensors:
        if tensor == _EMBEDDING and tied and _OUTPUT in file.tensors:
            continue
        try:
            name = module_name(tensor)
            target = parameters[_shared(name) if tied else name]
        except KeyError:
            raise Unprocessable(f"{path}: the tensor {tensor} does not belong to a Qwen2.5 model") from None
        _fill(target, file, tensor)
        missing.discard(_shared(name) if tied else name)
    if missing:
        raise Unprocessable(f"{path} lacks the weights of {', '.join(sorted(missing)[:3])}")
    return model


def _shared(name: str) -> str:
    return "model.embed_tokens.weight" if name == "lm_head.weight" else name


def _fill(target: torch.Tensor, file: GgufFile, tensor: str) -> None:
    if tuple(target.shape) != file.tensors[tensor].shape:
        raise Unprocessable(
            f"{file.path}: the tensor {tensor} is {file.tensors[tensor].shape}, its metadata says "
            f"{tuple(target.shape)}"
        )
    with torch.no_grad():
        for first, block in file.rows(tensor):
            # What is not quantised is a view of the file, which PyTorch would warn of.
            rows = torch.from_numpy(block if block.flags.writeable else block.copy())
            target[first : first + len(rows)].copy_(rows)


def is_tied(file: GgufFile) -> bool:
    """Whether input and output embedding are one matrix: there is no output matrix, or both differ by no more
    than their quantisation, as where a converter wrote one matrix twice in different types."""
    if _OUTPUT not in file.tensors:
        return True
    names = {file.tensors[_EMBEDDING].type_name, file.tensors[_OUTPUT].type_name}
    bound = (
        0.0 if names <= {"F32", "F16", "BF16"} else 0.01 if names <= {"F32", "F16", "BF16", "Q8_0"} else 0.1
    )
    if file.tensors[_EMBEDDING].shape != file.tensors[_OUTPUT].shape:
        return False
    for (_, ours), (_, theirs) in zip(file.rows(_EMBEDDING), file.rows(_OUTPUT), strict=True):
        if np.linalg.norm(ours - theirs) > bound * np.linalg.norm(theirs):
            return False
    return True


def _with_new_adapter(model: Any, lora: recipe.Lora) -> Any:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(LINEAR_LAYERS),
        task_type="CAUSAL_LM",
    )
    with _quiet_peft():
        return get_peft_model(model, settings).eval()


def with_adapter(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """`model` with the PEFT adapter of `folder` over it, in eval mode."""
    from peft import PeftModel

    with _quiet_peft():
        return PeftModel.from_pretrained(model, str(folder), is_trainable=trainable).eval()


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """PEFT asks transformers for a name that is going out of use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _with_saved_adapter(
    path: Path, dtype: torch.dtype, lora: recipe.Lora | None, device: str | torch.device
) -> Any:
    model = load_student(adapter_base(path), dtype=dtype, device=device)
    adapted = with_adapter(model, path, trainable=lora is not None)
    found = adapted.peft_config["default"]
    if lora is not None and (found.r, found.lora_alpha) != (lora.rank, lora.alpha):
        raise Unprocessable(
            f"the adapter in {path} has rank {found.r} and alpha {found.lora_alpha:g}, the recipe asks for "
            f"{lora.rank} and {lora.alpha:g}"
        )
    return adapted
