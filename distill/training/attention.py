"""Attention inside a packed row: every example for itself, causal, and no mask at all.

A block-diagonal mask would cost T² work and memory for the whole row. Here the row's queries, keys and values are
split at the examples' bounds and each example is one causal `scaled_dot_product_attention`, on a CPU as on a
GPU. Where flash-attn is installed on a GPU its varlen kernel does the same in one launch from the same
arguments. Knows no loss and no data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PER_EXAMPLE = "distilsql_per_example"


def use(model: Any) -> None:
    """Make a transformers model attend per example; each call of it then needs `bounds_arguments`."""
    from transformers import AttentionInterface
    from transformers.utils import is_flash_attn_2_available

    AttentionInterface.register(PER_EXAMPLE, per_example)
    on_gpu = next(model.parameters()).is_cuda
    model.set_attn_implementation(
        "flash_attention_2" if on_gpu and is_flash_attn_2_available() else PER_EXAMPLE
    )


def bounds_arguments(bounds: Tensor, longest: int) -> dict[str, Any]:
    """Keyword arguments of the model's forward, by the names transformers hands to flash-attn's varlen kernel.

    `bounds` is int32 [E + 1]: example e is row[bounds[e]:bounds[e + 1]].
    """
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def per_example(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Query [1, heads, T, d], key and value [1, kv heads, T, d] → ([1, T, heads, d], None)."""
    if attention_mask is not None:
        raise ValueError("a packed row takes no attention mask: its bounds say what sees what")
    lengths = cu_seq_lens_q.diff().tolist()
    grouped = query.shape[1] != key.shape[1]
    parts = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in zip(
            *(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True
        )
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
