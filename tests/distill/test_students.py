"""Students by name, out of folders and GGUF files, with and without adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_qwen2
import torch

from distill.export.comparison import checkpoint_logprobs, compare
from distill.export.gguf import _quantise
from distill.export.weights import open_weights
from distill.export.writing import write_model
from distill.gguf_file import GgufFile
from distill.recipe import Lora
from distill.students import adapter_base, load_student, resolve_model
from distill.tokenizer import Tokenizer
from serve.catalog import Catalog, ModelEntry
from serve.errors import NotFound, Unavailable, Unprocessable
from serve.settings import Settings


def _write(folder: Path, name: str = "student.gguf") -> Path:
    path = folder / name
    write_model(path, open_weights(folder), Tokenizer.load(folder), "tiny")
    return path


def _logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(40)[None]).logits.float()


def test_a_name_means_what_is_installed(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"distilsql models pull qwen2\.5-coder-0\.5b"):
        resolve_model("qwen2.5-coder-0.5b", settings)
    catalog = Catalog.load(settings)
    path = catalog.path(catalog.get("qwen2.5-coder-0.5b"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    assert resolve_model("qwen2.5-coder-0.5b", settings) == path
    assert resolve_model(str(path), settings) == path
    with pytest.raises(NotFound, match="distilsql models list"):
        resolve_model("gpt-9", settings)
    with pytest.raises(Unprocessable, match=r"no config\.json"):
        resolve_model(str(tmp_path), settings)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(Unprocessable, match="neither"):
        resolve_model(str(tmp_path / "notes.txt"), settings)


def test_an_adapter_of_the_catalog_is_no_student(settings: Settings) -> None:
    entry = ModelEntry(
        name="my-lora",
        family="qwen2.5",
        parameters="1M",
        quantization="LoRA",
        license="",
        context_length=512,
        prompt_format="qwen2.5",
        sha256="a" * 64,
        base="qwen2.5-coder-0.5b",
    )
    catalog = Catalog.load(settings)
    catalog.add(entry)
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    catalog.path(entry).write_bytes(b"GGUF")
    with pytest.raises(Unprocessable, match="adapter of qwen2"):
        resolve_model("my-lora", settings)


def test_a_hub_that_cannot_be_reached_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(Unavailable, match=r"hub cannot be reached.*give its folder"):
        resolve_model("Qwen/Qwen2.5-0.5B-Instruct", settings)


@pytest.mark.parametrize("tied", [True, False])
def test_a_gguf_gives_the_model_it_was_made_of(tmp_path: Path, tied: bool) -> None:
    original = tiny_qwen2.make_model(tmp_path, tied=tied)
    with torch.no_grad():  # as the file holds it
        for parameter in original.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())
    loaded = load_student(_write(tmp_path), dtype="float32")
    torch.testing.assert_close(_logits(loaded), _logits(original), rtol=0, atol=0)
    assert loaded.num_parameters() == original.num_parameters()
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) is tied
    assert loaded.config.rms_norm_eps == 1e-6 and loaded.config.eos_token_id is not None
    loaded.save_pretrained(str(tmp_path / "again"))
    torch.testing.assert_close(_logits(load_student(tmp_path / "again")), _logits(original), rtol=0, atol=0)


def test_one_embedding_written_twice_is_one_again(tmp_path: Path) -> None:
    """As converters leave it: the output matrix apart, in a better type than the input's."""
    untied = tiny_qwen2.make_model(tmp_path, tied=False)
    with torch.no_grad():
        untied.lm_head.weight.copy_(untied.model.embed_tokens.weight)
    untied.save_pretrained(str(tmp_path))
    _quantise(_write(tmp_path), tmp_path / "q4.gguf", 15)
    file = GgufFile(tmp_path / "q4.gguf")
    assert file.tensors["output.weight"].type != file.tensors["token_embd.weight"].type
    student = load_student(tmp_path / "q4.gguf")
    assert student.config.tie_word_embeddings and student.lm_head.weight is student.model.embed_tokens.weight
    apart = load_student(tmp_path / "q4.gguf", retie=False)
    assert not torch.equal(apart.lm_head.weight, apart.model.embed_tokens.weight)
    torch.testing.assert_close(student.lm_head.weight, apart.lm_head.weight)


def test_two_embeddings_stay_two(tmp_path: Path) -> None:
    tiny_qwen2.make_model(tmp_path, tied=False)
    _quantise(_write(tmp_path), tmp_path / "q4.gguf", 15)
    assert not load_student(tmp_path / "q4.gguf").config.tie_word_embeddings


def test_lora_learns_on_every_linear_layer_and_is_found_again(tmp_path: Path) -> None:
    tiny_qwen2.make_model(tmp_path / "base")
    adapted = tiny_qwen2.make_adapter(tmp_path / "base", tmp_path / "adapter")
    learned = [name for name, one in adapted.named_parameters() if one.requires_grad]
    assert len(learned) == 2 * 7 * 2 and all("lora_" in name for name in learned)
    assert adapter_base(tmp_path / "adapter") == tmp_path / "base"
    frozen = load_student(tmp_path / "adapter")
    torch.testing.assert_close(_logits(frozen), _logits(adapted))
    assert not any(one.requires_grad for one in frozen.parameters())
    again = load_student(tmp_path / "adapter", lora=Lora(rank=4, alpha=16))
    assert [name for name, one in again.named_parameters() if one.requires_grad] == learned
    with pytest.raises(Unprocessable, match="rank 4 and alpha 16"):
        load_student(tmp_path / "adapter", lora=Lora(rank=8, alpha=16))


def test_damaged_and_foreign_files_are_told(tmp_path: Path) -> None:
    tiny_qwen2.make_model(tmp_path)
    data = _write(tmp_path).read_bytes()
    for size, told in ((len(data) - 5000, "cut off"), (2000, "damaged")):
        (tmp_path / "short.gguf").write_bytes(data[:size])
        with pytest.raises(Unprocessable, match=told):
            load_student(tmp_path / "short.gguf")
    (tmp_path / "other.gguf").write_bytes(data.replace(b"qwen2", b"llama"))
    with pytest.raises(Unprocessable, match="llama model"):
        load_student(tmp_path / "other.gguf")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(Unprocessable, match="cannot be loaded"):
        load_student(tmp_path)


@pytest.mark.real
def test_the_real_student_computes_what_llama_cpp_computes(model_05b: Path) -> None:
    tokenizer = Tokenizer.load(model_05b)
    student = load_student(model_05b, dtype="float32", retie=False)
    found = compare(model_05b, checkpoint_logprobs(student, tokenizer), tokenizer)
    assert found.divergence < 0.002 and found.agreement > 0.97, str(found)
    del student
    tied = load_student(model_05b, dtype="bfloat16")
    assert tied.num_parameters() == 494_032_768
