"""A GGUF written with the `gguf` package, one tensor at a time: whole models as F16, and LoRA adapters.

Metadata as llama.cpp's `convert_hf_to_gguf.py` and `convert_lora_to_gguf.py` write it. Knows no quantisation, and
not how the file gets its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill.export.weights import Lora, Weights
from distill.qwen2_gguf import ARCHITECTURE, tensor_name
from distill.tokenizer import Tokenizer
from serve.errors import Unprocessable

if TYPE_CHECKING:
    from gguf import GGUFWriter

_FILE_TYPE_F16 = 1  # LLAMA_FTYPE_MOSTLY_F16
_F16_MAX = float(np.finfo(np.float16).max)


def write_model(path: Path, weights: Weights, tokenizer: Tokenizer, name: str) -> None:
    """The whole model: matrices as F16, vectors as F32. Raises Unprocessable for weights that F16 cannot hold."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, ARCHITECTURE)
    _add_architecture(writer, weights, name)
    add_vocabulary(writer, tokenizer, weights.config)
    names = sorted(weights.names, key=_file_order)
    shapes = {one: weights.shape(one) for one in names}
    for one in names:
        kind = _type_of(shapes[one])
        count = math.prod(shapes[one])
        writer.add_tensor_info(_known(one), shapes[one], kind, count * kind.itemsize)
    _write(writer, (_stored(one, weights.read(one)) for one in names))


def write_adapter(path: Path, lora: Lora, name: str) -> None:
    """The adapter alone, as F32 (it is small); llama.cpp scales it by alpha / rank."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, ARCHITECTURE)
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", lora.scale * lora.rank)
    parts = []
    for module in sorted(lora.pairs, key=_file_order):
        for suffix, part in zip(("lora_a", "lora_b"), lora.pairs[module], strict=True):
            writer.add_tensor_info(
                f"{tensor_name(module)}.{suffix}", part.shape, np.dtype(np.float32), part.nbytes
            )
            parts.append(part)
    _write(writer, parts)


def add_vocabulary(writer: GGUFWriter, tokenizer: Tokenizer, config: Any) -> None:
    """Tokens with their types, merges and special ids; rows that the tokenizer does not know are padding."""
    from gguf import TokenType

    rows = config.vocab_size
    spelled = tokenizer.tokens()
    if tokenizer.real_vocabulary > rows:
        raise Unprocessable(
            f"the tokenizer of {tokenizer.source} has {tokenizer.real_vocabulary} tokens and the checkpoint's "
            f"embedding only {rows} rows: they do not belong together"
        )
    markers, always = set(tokenizer.markers.values()), tokenizer.user_defined
    tokens, types = [], []
    for id in range(rows):
        known = id < tokenizer.real_vocabulary and id in spelled
        tokens.append(spelled[id] if known else f"[PAD{id}]")
        kind = TokenType.NORMAL
        if not known:
            kind = TokenType.UNUSED
        elif id in markers:
            kind = TokenType.CONTROL
        elif id in always:
            kind = TokenType.USER_DEFINED
        types.append(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges()])
    writer.add_add_bos_token(False)
    for role, add in (
        ("eos", writer.add_eos_token_id),
        ("bos", writer.add_bos_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        special = _special_id(role, tokenizer, config)
        if special is not None:
            add(special)
    if template := tokenizer.chat_template:
        writer.add_chat_template(template)


def _special_id(role: str, tokenizer: Tokenizer, config: Any) -> int | None:
    """The tokenizer's word counts; where it has none, config.json's (its first one, of several)."""
    id = tokenizer.role_id(role)
    if id is None:
        listed = getattr(config, f"{role}_token_id", None)
        id = listed[0] if isinstance(listed, list) else listed
    return id if id is not None and id < tokenizer.real_vocabulary else None


def _add_architecture(writer: GGUFWriter, weights: Weights, name: str) -> None:
    config = weights.config
    writer.add_type("model")
    writer.add_name(name)
    count = sum(math.prod(weights.shape(one)) for one in weights.names)
    writer.add_size_label(f"{count / 1e9:.1f}B" if count >= 1e8 else f"{count / 1e6:.1f}M")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(_FILE_TYPE_F16)


def _write(writer: GGUFWriter, tensors: Iterable[NDArray[Any]]) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor)
    finally:
        writer.close()


def _stored(name: str, tensor: NDArray[np.float32]) -> NDArray[Any]:
    # A sum is finite when all is (float32's range leaves room), and takes no memory.
    if not np.isfinite(tensor.sum(dtype=np.float64)):
        raise Unprocessable(f"the checkpoint's {name} holds NaN or infinity: its training has diverged")
    kind = _type_of(tensor.shape)
    if kind == np.float16 and max(tensor.max(), -tensor.min()) > _F16_MAX:
        raise Unprocessable(
            f"the checkpoint's {name} holds values over {_F16_MAX:.0f}, which F16 cannot hold"
        )
    return np.ascontiguousarray(tensor, kind)


def _type_of(shape: tuple[int, ...]) -> np.dtype[Any]:
    return np.dtype(np.float16 if len(shape) > 1 else np.float32)


def _known(module: str) -> str:
    try:
        return tensor_name(module)
    except KeyError:
        raise Unprocessable(f"the checkpoint has {module}, which no Qwen2.5 model has") from None


def _file_order(module: str) -> tuple[int, int, str]:
    """Embeddings first, then block by block: the order they are read in."""
    parts = module.split(".")
    block = int(parts[2]) if parts[:2] == ["model", "layers"] else -1
    return (int(block < 0 and "embed" not in module), block, module)
