"""A Qwen2 of a few thousand weights with its own byte-level tokenizer, as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from distill.tokenizer import _WORDS

MARKERS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
ALWAYS_PARSED = "<tool_call>"
_MERGES = [("S", "E"), ("SE", "L"), ("Ġ", "t"), ("o", "r"), ("Ġ", "c"), ("e", "r"), ("i", "n")]


def tokenizer_json() -> Any:
    """As Qwen2.5's tokenizer.json is: NFC, all bytes, some merges, markers of which the later ones are not special."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *("".join(pair) for pair in _MERGES)]
    fast = Tokenizer(BPE(vocab={word: id for id, word in enumerate(words)}, merges=_MERGES))
    fast.normalizer = normalizers.NFC()
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    fast.add_tokens(
        [AddedToken(marker, special=at < 3, normalized=False) for at, marker in enumerate(MARKERS)]
    )
    fast.add_tokens([AddedToken(ALWAYS_PARSED, special=False, normalized=False)])
    return fast


def save_tokenizer(folder: Path) -> int:
    """Write its files; returns the number of real tokens."""
    fast = tokenizer_json()
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", '
        '"pad_token": {"__type": "AddedToken", "content": "<|endoftext|>"}, "chat_template": "{{ messages }}"}'
    )
    return int(fast.get_vocab_size())


def make_model(
    folder: Path,
    *,
    tied: bool = True,
    padding: int = 15,
    seed: int = 7,
    dtype: torch.dtype = torch.float32,
    layers: int = 2,
) -> Any:
    """A model with weights large enough that its next-token distributions are far from flat, saved to `folder`."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    real = save_tokenizer(folder)
    config = Qwen2Config(
        vocab_size=real + padding,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=tied,
        eos_token_id=real - 8,
    )
    generator = torch.Generator().manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if "embed" in name or "lm_head" in name else 0.15
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.copy_(noise + 1.0 if "norm" in name else noise)
    model = model.to(dtype).eval()
    model.save_pretrained(str(folder))
    return model


def make_adapter(base: Path, folder: Path, *, rank: int = 4, alpha: float = 16.0, seed: int = 3) -> Any:
    """A LoRA adapter with weights that matter, saved to `folder`; returns the adapted model."""
    from distill.recipe import Lora
    from distill.students import load_student

    model = load_student(base, lora=Lora(rank=rank, alpha=alpha))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
    model.save_pretrained(str(folder))
    return model
