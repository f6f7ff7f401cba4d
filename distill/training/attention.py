"""Attention inside a packed row: every example for itself, causal, and no mask at all.

A block-diagonal mask would cost T² work and memory for the whole row. Here the row's queries, keys and values are
split at the examples' bounds and each example is one causal `scaled_dot_product_attention`, on a CPU as on a
GPU. Where flash-attn is installed on a GPU its varlen kernel does the same in one launch from the same
arguments. Where a layer's attention maps are wanted they are computed in plain steps, since no kernel keeps them.
Knows no loss and no data.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PER_EXAMPLE = "distilsql_per_example"


def use(model: Any, *, maps: bool = False) -> None:
    """Make a transformers model attend per example; each call of it then needs `bounds_arguments`. With `maps` it
    can also be asked for attention maps (`maps_of`, layers from 0, and `output_attentions`)."""
    from transformers import AttentionInterface
    from transformers.utils import is_flash_attn_2_available

    AttentionInterface.register(PER_EXAMPLE, per_example)
    on_gpu = next(model.parameters()).is_cuda
    model.set_attn_implementation(
        "flash_attention_2" if on_gpu and is_flash_attn_2_available() and not maps else PER_EXAMPLE
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
    maps_of: Collection[int] = (),
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Query [1, heads, T, d], key and value [1, kv heads, T, d] → ([1, T, heads, d], None); in the layers `maps_of`
    the maps in place of None.

    Maps are [1, heads, T, longest]: each query over its own example's tokens, 0 after itself and to the end of the
    longest example.
    """
    if attention_mask is not None:
        raise ValueError("a packed row takes no attention mask: its bounds say what sees what")
    lengths = cu_seq_lens_q.diff().tolist()
    grouped = query.shape[1] != key.shape[1]
    examples = list(
        zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    )
    if maps_of and module.layer_idx in maps_of:
        return _with_maps(examples, max(lengths), scaling, dropout)
    parts = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for q, k, v in examples
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _with_maps(
    examples: Sequence[tuple[Tensor, ...]], longest: int, scaling: float | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """`per_example` in plain steps; the maps are those before dropout."""
    outputs, maps = [], []
    for q, k, v in examples:
        shared, length = q.shape[1] // k.shape[1], q.shape[2]
        scores = q @ k.repeat_interleave(shared, 1).mT * (scaling or q.shape[3] ** -0.5)
        unseen = torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
        exact = torch.promote_types(q.dtype, torch.float32)
        weights = scores.masked_fill(unseen, -torch.inf).softmax(-1, dtype=exact).to(q.dtype)
        outputs.append(functional.dropout(weights, dropout) @ v.repeat_interleave(shared, 1))
        maps.append(functional.pad(weights, (0, longest - length)))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), torch.cat(maps, dim=2)
