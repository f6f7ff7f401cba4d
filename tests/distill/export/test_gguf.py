"""A tiny random Qwen2 through every export, computed by the serving engine afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_qwen2
import torch

from distill.export import gguf
from distill.export.comparison import Bound, checkpoint_logprobs, compare
from distill.export.gguf import export_adapter, export_gguf
from distill.export.writing import write_model
from distill.gguf_file import GgufFile
from distill.students import load_student
from distill.tokenizer import Tokenizer
from serve.errors import DistilsqlError, Unprocessable


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_qwen2.make_model(folder, tied=request.param)
    return folder


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tied")
    tiny_qwen2.make_model(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    tiny_qwen2.make_adapter(tied, folder)
    return folder


def test_f16_computes_what_the_checkpoint_computes(checkpoint: Path, tmp_path: Path) -> None:
    made = export_gguf(checkpoint, tmp_path / "student.gguf", "F16")
    assert made.comparison.largest_divergence < 1e-3 and made.comparison.agreement == 1.0
    assert made.comparison.logprob_difference < 0.01
    file = GgufFile(made.path)
    tied = json.loads((checkpoint / "config.json").read_text())["tie_word_embeddings"]
    assert ("output.weight" in file.tensors) is not tied
    assert [path.name for path in tmp_path.iterdir()] == ["student.gguf"]


def test_q8_0_is_smaller_and_nearly_the_same(checkpoint: Path, tmp_path: Path) -> None:
    whole = export_gguf(checkpoint, tmp_path / "f16.gguf", "F16")
    made = export_gguf(checkpoint, tmp_path / "q8.gguf", "Q8_0")
    assert made.comparison.divergence < 0.01
    assert made.size_bytes < 0.7 * whole.size_bytes
    assert {one.type_name for one in GgufFile(made.path).tensors.values()} == {"Q8_0", "F32"}


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q4_0"])
def test_four_bits(tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: str) -> None:
    # Random weights have nothing to spare; the bounds are for trained ones.
    monkeypatch.setitem(gguf.BOUNDS, quant, Bound(divergence=1.0, agreement=0.3))
    made = export_gguf(tied, tmp_path / "student.gguf", quant)  # type: ignore[arg-type]
    assert 0.01 < made.comparison.divergence < 0.6
    assert made.size_bytes < 80_000


def test_a_checkpoint_in_bfloat16_is_compared_in_float32(tmp_path: Path) -> None:
    tiny_qwen2.make_model(tmp_path / "checkpoint", dtype=torch.bfloat16)
    made = export_gguf(tmp_path / "checkpoint", tmp_path / "student.gguf", "F16")
    assert made.comparison.divergence < 1e-4


def test_the_metadata_says_what_the_checkpoint_says(tied: Path, tmp_path: Path) -> None:
    export_gguf(tied, tmp_path / "my-student.gguf", "Q8_0")
    metadata = GgufFile(tmp_path / "my-student.gguf").metadata
    tokenizer = Tokenizer.load(tied)
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    assert metadata["general.name"] == "my-student" and metadata["general.file_type"] == 7
    assert len(tokens) == len(types) == tokenizer.real_vocabulary + 15
    assert tokens[-1] == f"[PAD{len(tokens) - 1}]" and set(types[-15:]) == {5}
    assert tokens[metadata["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert tokens[metadata["tokenizer.ggml.padding_token_id"]] == "<|endoftext|>"
    assert metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert metadata["qwen2.rope.freq_base"] == 1e6 and metadata["qwen2.attention.head_count_kv"] == 2
    assert metadata["tokenizer.ggml.merges"][:2] == ["S E", "SE L"]


def test_from_gguf_to_a_checkpoint_and_back_nothing_changes(checkpoint: Path, tmp_path: Path) -> None:
    export_gguf(checkpoint, tmp_path / "one.gguf", "F16")
    student = load_student(tmp_path / "one.gguf", dtype="float32")
    student.save_pretrained(str(tmp_path / "again"))
    Tokenizer.load(tmp_path / "one.gguf").save(tmp_path / "again")
    export_gguf(tmp_path / "again", tmp_path / "two.gguf", "F16")
    one, two = GgufFile(tmp_path / "one.gguf"), GgufFile(tmp_path / "two.gguf")
    assert one.tensors.keys() == two.tensors.keys()
    for name in one.tensors:
        for (_, ours), (_, theirs) in zip(one.rows(name), two.rows(name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    differing = {key for key in one.metadata | two.metadata if one.metadata.get(key) != two.metadata.get(key)}
    assert differing == {"general.name"}


def test_a_merged_adapter_and_one_over_its_base_agree(tied: Path, adapter: Path, tmp_path: Path) -> None:
    base = export_gguf(tied, tmp_path / "base.gguf", "F16").path
    merged = export_gguf(adapter, tmp_path / "merged.gguf", "F16")
    alone = export_adapter(adapter, tmp_path / "adapter.gguf", base=base)
    assert merged.comparison.divergence < 1e-3 and alone.comparison.divergence < 1e-3
    assert alone.quantization == "LoRA" and alone.base == base
    tokenizer = Tokenizer.load(tied)
    plain = checkpoint_logprobs(load_student(tied), tokenizer)
    # The adapter matters: without it the base says something else.
    assert compare(base, checkpoint_logprobs(load_student(adapter), tokenizer), tokenizer).divergence > 0.1
    assert compare(base, plain, tokenizer).divergence < 1e-3


def test_an_adapter_file_is_what_llama_cpp_documents(tied: Path, adapter: Path, tmp_path: Path) -> None:
    base = export_gguf(tied, tmp_path / "base.gguf", "F16").path
    export_adapter(adapter, tmp_path / "adapter.gguf", base=base)
    file = GgufFile(tmp_path / "adapter.gguf")
    assert file.metadata["general.type"] == "adapter" and file.metadata["adapter.type"] == "lora"
    assert file.metadata["adapter.lora.alpha"] == 16.0
    assert file.tensors["blk.1.ffn_down.weight.lora_a"].shape == (4, 96)
    assert file.tensors["blk.1.ffn_down.weight.lora_b"].shape == (64, 4)
    assert len(file.tensors) == 2 * 7 * 2


def test_a_wrong_weight_leaves_no_file(tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(name: str) -> str:
        from distill.qwen2_gguf import tensor_name

        found = tensor_name(name)
        return {
            "blk.0.ffn_gate.weight": "blk.0.ffn_up.weight",
            "blk.0.ffn_up.weight": "blk.0.ffn_gate.weight",
        }.get(found, found)

    monkeypatch.setattr("distill.export.writing.tensor_name", swapped)
    with pytest.raises(DistilsqlError, match=r"does not say what the checkpoint says.*allowed are 0\.01"):
        export_gguf(tied, tmp_path / "student.gguf", "Q8_0")
    assert not list(tmp_path.iterdir())


def test_another_tokenizer_leaves_the_file_that_was_there(
    tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "student.gguf").write_bytes(b"before")
    monkeypatch.setattr(Tokenizer, "merges", lambda self: [("S", "E")])
    with pytest.raises(DistilsqlError, match=r"tokenizes '<\|fim_prefix\|>CREATE"):
        export_gguf(tied, tmp_path / "student.gguf", "F16")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_diverged_weights_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    model = tiny_qwen2.make_model(folder)
    for value, told in ((float("nan"), "diverged"), (1e6, "F16 cannot hold")):
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[3, 4] = value
        model.save_pretrained(str(folder))
        from distill.export.weights import open_weights

        with pytest.raises(Unprocessable, match=rf"layers\.1\.mlp\.up_proj\.weight.*{told}"):
            write_model(tmp_path / "out.gguf", open_weights(folder), Tokenizer.load(folder), "x")


def test_what_cannot_be_expressed_is_refused(tied: Path, adapter: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    with pytest.raises(Unprocessable, match="leave --base out"):
        export_gguf(tied, out, base=tied)
    with pytest.raises(Unprocessable, match="no adapter"):
        export_adapter(tied, out)
    with pytest.raises(Unprocessable, match="is no GGUF"):
        export_adapter(adapter, out)
    other = tmp_path / "other"
    tiny_qwen2.make_model(other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(Unprocessable, match="llama model"):
        export_gguf(other, out)
    dora = tmp_path / "dora"
    dora.mkdir()
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (dora / "adapter_config.json").write_text(json.dumps(settings | {"use_dora": True}))
    with pytest.raises(Unprocessable, match="use_dora"):
        export_gguf(dora, out, base=tied)
    assert not out.exists()


def test_an_adapter_of_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    real = tiny_qwen2.save_tokenizer(tmp_path / "wide")
    config = Qwen2Config(
        vocab_size=real,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    Qwen2ForCausalLM(config).save_pretrained(str(tmp_path / "wide"))
    with pytest.raises(Unprocessable, match="does not fit its base"):
        export_gguf(adapter, tmp_path / "out.gguf", base=tmp_path / "wide")


def test_a_full_disk_is_told(tied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("distill.export.gguf.write_model", full)
    with pytest.raises(DistilsqlError, match=r"student\.gguf cannot be written.*No space left"):
        export_gguf(tied, tmp_path / "student.gguf")
    assert not list(tmp_path.iterdir())
