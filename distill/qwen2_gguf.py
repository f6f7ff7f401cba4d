"""Qwen2 in both worlds: llama.cpp's tensor names and metadata against transformers' module names and config.

Names follow llama.cpp's `gguf-py/gguf/constants.py` (architecture `qwen2`); nothing is permuted or
transposed between the two. Knows no files and no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serve.errors import Unprocessable

ARCHITECTURE = "qwen2"
_OUTSIDE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's name inside `blk.N.` → transformers' inside `model.layers.N.`."""
LINEAR_LAYERS = tuple(module.split(".")[-1] for name, module in BLOCK.items() if not name.endswith("_norm"))
"""Last part of the name of every linear layer of a block: where adapters go."""
_GGUF_NAME = re.compile(r"^(?:blk\.(?P<block>\d+)\.)?(?P<part>\w+)\.(?P<kind>weight|bias)$")
_HF_NAME = re.compile(r"^(?:model\.layers\.(?P<block>\d+)\.)?(?P<part>[\w.]+)\.(?P<kind>weight|bias)$")


def module_name(tensor: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`. KeyError for what is not Qwen2's."""
    match = _GGUF_NAME.match(tensor)
    if match is None:
        raise KeyError(tensor)
    if match["block"] is None:
        return f"{_OUTSIDE[match['part']]}.{match['kind']}"
    return f"model.layers.{match['block']}.{BLOCK[match['part']]}.{match['kind']}"


def tensor_name(module: str) -> str:
    """The way back: `lm_head.weight` → `output.weight`. KeyError for what is not Qwen2's."""
    match = _HF_NAME.match(module)
    if match is None:
        raise KeyError(module)
    names = {there: here for here, there in (_OUTSIDE if match["block"] is None else BLOCK).items()}
    prefix = "" if match["block"] is None else f"blk.{match['block']}."
    return f"{prefix}{names[match['part']]}.{match['kind']}"


def config_from_metadata(metadata: Mapping[str, Any], vocabulary: int, *, tied: bool, where: str) -> Any:
    """A `Qwen2Config`. `vocabulary` counts the embedding's rows, padding included. Unprocessable names what is
    missing, or what architecture it is instead."""
    from transformers import Qwen2Config

    if (architecture := metadata.get("general.architecture")) != ARCHITECTURE:
        raise Unprocessable(f"{where} is a {architecture} model; students are Qwen2.5 models (qwen2)")
    if scaling := metadata.get(f"{ARCHITECTURE}.rope.scaling.type", "none") not in ("none", ""):
        raise Unprocessable(f"{where} stretches its context by {scaling}, which students do not")
    try:
        heads = metadata["qwen2.attention.head_count"]
        config = Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=metadata["qwen2.embedding_length"],
            intermediate_size=metadata["qwen2.feed_forward_length"],
            num_hidden_layers=metadata["qwen2.block_count"],
            num_attention_heads=heads,
            num_key_value_heads=metadata.get("qwen2.attention.head_count_kv", heads),
            max_position_embeddings=metadata["qwen2.context_length"],
            # Written as float32; the shortest decimal that reads back to it is what was meant.
            rms_norm_eps=_shortest(metadata["qwen2.attention.layer_norm_rms_epsilon"]),
            rope_parameters={
                "rope_type": "default",
                "rope_theta": metadata.get("qwen2.rope.freq_base", 10000.0),
            },
            tie_word_embeddings=tied,
            bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
            eos_token_id=metadata.get("tokenizer.ggml.eos_token_id"),
            pad_token_id=metadata.get("tokenizer.ggml.padding_token_id"),
        )
    except KeyError as error:
        raise Unprocessable(f"{where} has no {error.args[0]} in its metadata") from error
    config.architectures = ["Qwen2ForCausalLM"]
    return config


def check_config(config: Any, where: str) -> None:
    """Unprocessable when llama.cpp's qwen2 cannot compute what this configuration says."""
    if config.model_type != ARCHITECTURE:
        raise Unprocessable(
            f"{where} is a {config.model_type} model; students are Qwen2.5 models (model_type qwen2)"
        )
    rope = config.rope_parameters["rope_type"]
    wrong = {
        "rope_parameters.rope_type": rope if rope != "default" else None,
        "use_sliding_window": config.use_sliding_window or None,
        "hidden_act": config.hidden_act if config.hidden_act != "silu" else None,
    }
    for key, value in wrong.items():
        if value is not None:
            raise Unprocessable(f"{where}: {key} is {value} in config.json, which is not supported")


def _shortest(value: float) -> float:
    import numpy as np

    return float(str(np.float32(value)))
