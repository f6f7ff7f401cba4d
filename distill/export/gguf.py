"""A trained student as one GGUF file, compared with its checkpoint before it takes its name.

Written as F16 aside, quantised by llama.cpp's own library, loaded by the serving engine and compared; then fsynced
and renamed. Whatever fails on the way leaves no file. Knows no catalog and no command line.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from distill.export.comparison import Bound, Comparison, checkpoint_logprobs, compare
from distill.export.weights import Lora, MergedWeights, open_weights
from distill.export.writing import write_adapter, write_model
from distill.students import ADAPTER_CONFIG, adapter_base, load_student, with_adapter
from distill.tokenizer import Tokenizer
from serve.errors import DistilsqlError, Unprocessable
from serve.files import move_into_place
from serve.pull import check_space

Quant = Literal["F16", "Q8_0", "Q4_K_M", "Q4_0"]
_FILE_TYPES = {"Q8_0": 7, "Q4_K_M": 15, "Q4_0": 2}  # enum llama_ftype
BOUNDS = {
    "F16": Bound(divergence=0.001, agreement=0.99),
    "Q8_0": Bound(divergence=0.01, agreement=0.95),
    "Q4_K_M": Bound(divergence=0.15, agreement=0.8),
    "Q4_0": Bound(divergence=0.3, agreement=0.75),
}
"""By quantisation. An adapter is compared with its base dequantised: what remains is llama.cpp's rounding of
activations, as with Q8_0."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished file."""

    path: Path
    sha256: str
    size_bytes: int
    quantization: str
    """`F16`, ..., or `LoRA`."""
    parameters: str
    """`0.5B`"""
    context_length: int
    base: Path | None
    """Of an adapter: the GGUF it is loaded over."""
    comparison: Comparison


def export_gguf(
    source: Path,
    out: Path,
    quant: Quant = "Q4_K_M",
    *,
    base: Path | None = None,
    say: Say = lambda text: None,
) -> Exported:
    """A whole model: of a Hugging Face folder, or of a PEFT adapter folder merged into `base`.

    `base` (a folder or GGUF; default: what the adapter says it was trained over) is for adapters only. Raises
    Unprocessable (not exportable), DistilsqlError (the file differs from the checkpoint, no space); then `out`
    is as it was before.
    """
    is_adapter = (source / ADAPTER_CONFIG).is_file()
    if base is not None and not is_adapter:
        raise Unprocessable(f"{source} is a whole model, which has no base; leave --base out")
    weights_of = (base or adapter_base(source)) if is_adapter else source
    weights = open_weights(weights_of)
    if is_adapter:
        weights = MergedWeights(weights, Lora.load(source))
    tokenizer = _tokenizer(source, weights_of)
    parameters = sum(int(torch.Size(weights.shape(name)).numel()) for name in weights.names)
    with _aside(out) as aside, _aside(out, ".f16") as whole:
        check_space(out.parent, parameters * (2 if quant == "F16" else 4))
        say(f"computing what {source} says")
        student = load_student(weights_of, dtype=_own_type(weights_of))
        if is_adapter:
            student = with_adapter(student, source)
        expected = checkpoint_logprobs(student, tokenizer)
        del student
        gc.collect()
        say("writing its weights as F16")
        write_model(aside if quant == "F16" else whole, weights, tokenizer, out.stem)
        if quant != "F16":
            say(f"quantising to {quant}")
            _quantise(whole, aside, _FILE_TYPES[quant])
            whole.unlink()
        say("comparing")
        comparison = compare(aside, expected, tokenizer)
        _check(comparison, BOUNDS[quant], quant)
        sha256 = _finish(aside, out)
    return Exported(
        path=out,
        sha256=sha256,
        size_bytes=out.stat().st_size,
        quantization=quant,
        parameters=_size_label(parameters),
        context_length=int(weights.config.max_position_embeddings),
        base=None,
        comparison=comparison,
    )


def export_adapter(
    source: Path, out: Path, *, base: Path | None = None, say: Say = lambda text: None
) -> Exported:
    """A PEFT adapter folder as a GGUF adapter, which the engine loads over the GGUF `base`.

    Errors as `export_gguf`; Unprocessable also where the base is no GGUF.
    """
    if not (source / ADAPTER_CONFIG).is_file():
        raise Unprocessable(f"{source} is no adapter: it has no {ADAPTER_CONFIG}")
    over = base or adapter_base(source)
    if not over.is_file():
        raise Unprocessable(
            f"the adapter was trained over {over}, which is no GGUF: name the GGUF that will serve it with --base"
        )
    lora = Lora.load(source)
    weights = MergedWeights(open_weights(over), lora)
    tokenizer = Tokenizer.load(over)
    with _aside(out) as aside:
        say(f"computing what {source} says over {over}")
        student = with_adapter(load_student(over, dtype=torch.float32, retie=False), source)
        expected = checkpoint_logprobs(student, tokenizer)
        del student
        gc.collect()
        write_adapter(aside, lora, out.stem)
        say("comparing")
        comparison = compare(over, expected, tokenizer, adapter=aside)
        _check(comparison, BOUNDS["Q8_0"], "adapter")
        sha256 = _finish(aside, out)
    return Exported(
        path=out,
        sha256=sha256,
        size_bytes=out.stat().st_size,
        quantization="LoRA",
        parameters=_size_label(sum(a.size + b.size for a, b in lora.pairs.values())),
        context_length=int(weights.config.max_position_embeddings),
        base=over,
        comparison=comparison,
    )


def _tokenizer(source: Path, weights_of: Path) -> Tokenizer:
    """The checkpoint's own; of an adapter or a folder saved without one, the base's."""
    return Tokenizer.load(source if (source / "tokenizer.json").is_file() else weights_of)


def _own_type(path: Path) -> torch.dtype:
    """The type that holds the weights as they are: a GGUF's blocks need float32."""
    if path.is_file():
        return torch.float32
    from transformers import AutoConfig

    saved = AutoConfig.from_pretrained(str(path), local_files_only=True).dtype
    return saved if isinstance(saved, torch.dtype) else torch.float32


def _quantise(source: Path, target: Path, file_type: int) -> None:
    from serve.engines.llama_model import quiet_api

    api = quiet_api()
    params = api.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = torch.get_num_threads()
    if api.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)):
        raise DistilsqlError(f"llama.cpp could not quantise {source}; is there room on the disk?")


def _check(comparison: Comparison, bound: Bound, what: str) -> None:
    if not comparison.within(bound):
        raise DistilsqlError(
            f"the {what} file does not say what the checkpoint says, so it was not kept: {comparison}; allowed are "
            f"{bound.divergence:g} nats and {bound.agreement:.0%}"
        )


@contextmanager
def _aside(out: Path, suffix: str = "") -> Iterator[Path]:
    """A name beside `out` whose file is gone afterwards. DistilsqlError when the disk refuses."""
    aside = out.with_name(f".{out.name}.{os.getpid()}{suffix}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield aside
    except OSError as error:
        raise DistilsqlError(f"{out} cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _finish(aside: Path, out: Path) -> str:
    """fsync, hash and rename; returns the sha256."""
    with aside.open("rb") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    move_into_place(aside, out)
    return sha256


def _size_label(parameters: int) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 5e7 else f"{parameters / 1e6:.1f}M"
