"""The training tokenizer gives the ids that llama.cpp gives at inference."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_qwen2

from distill.export.weights import open_weights
from distill.export.writing import write_model
from distill.tokenizer import Tokenizer
from serve.engines.llama_model import LlamaModel
from serve.errors import NotFound, Unprocessable

TEXTS = (
    "SELECT * FROM t WHERE a = 'it''s' -- 12345\r\n\t;  \n\n",
    "日本語の文章。中文分词, 한국어, हिन्दी ไทย العربية",
    "e\u0301 a\u0308 o\u0302 \u00e9 \u212b \u1e9b\u0323",
    "👩‍👩‍👧‍👦 🇩🇪 \u200b\u00a0\u3000x \x00\x01",
    "<|im_end|> a<|fim_prefix|>b <tool_call>c <|endoftext|><|repo_name|>",
    "[PAD300] [PAD151700] don't I'LL 'ſ ²³ ⅷ ٣",
)


def _random_texts(count: int) -> Iterator[str]:
    draw = random.Random(1)
    blocks = [
        (32, 127),
        (0xA0, 0x500),
        (0x300, 0x370),
        (0x3040, 0x30FF),
        (0x4E00, 0x4F00),
        (0x1F300, 0x1F650),
    ]
    blanks = (9, 10, 13, 32, 0x85, 0xA0, 0x2028, 0x3000)
    for _ in range(count):
        letters = [
            draw.choice(blanks) if draw.random() < 0.2 else draw.randrange(*draw.choice(blocks))
            for _ in range(draw.randint(1, 40))
        ]
        yield "".join(map(chr, letters))


def _open(path: Path) -> LlamaModel:
    return LlamaModel(path, context_tokens=64, sequences=1, batch_tokens=32, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_qwen2.make_model(folder)
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    path = folder / "tiny.gguf"
    write_model(path, open_weights(folder), Tokenizer.load(folder), "tiny")
    return path


def test_folder_gguf_and_llama_cpp_give_the_same_ids(folder: Path, file: Path) -> None:
    ours, read = Tokenizer.load(folder), Tokenizer.load(file)
    model = _open(file)
    try:
        for text in (*TEXTS, *_random_texts(200)):
            for special in (False, True):
                expected = model.tokenize(text, special=special)
                assert ours.tokenize(text, special=special) == expected, text
                assert read.tokenize(text, special=special) == expected, text
            assert ours.decode(ours.tokenize(text)) == text
    finally:
        model.close()
    assert ours.hash == read.hash and ours.real_vocabulary == read.real_vocabulary


def test_a_marker_in_a_text_stays_text(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    for marker in tiny_qwen2.MARKERS:
        assert len(tokenizer.tokenize(marker)) > 1
        assert tokenizer.tokenize(f"a{marker}", special=True) == [
            *tokenizer.tokenize("a"),
            tokenizer.markers[marker],
        ]
    # llama.cpp's USER_DEFINED: one token in any text.
    assert len(tokenizer.tokenize(tiny_qwen2.ALWAYS_PARSED)) == 1
    assert tokenizer.tokenize("") == []


@pytest.mark.parametrize("origin", ["folder", "file"])
def test_what_is_saved_loads_again_here_and_in_transformers(
    origin: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = Tokenizer.load(request.getfixturevalue(origin))
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert again.hash == tokenizer.hash and again.chat_template == "{{ messages }}"
    assert again.role_id("eos") == tokenizer.role_id("eos") == theirs.eos_token_id
    assert again.role_id("pad") == theirs.pad_token_id and again.role_id("bos") is None
    for text in TEXTS[:2]:
        assert again.tokenize(text) == tokenizer.tokenize(text) == theirs(text)["input_ids"]


def test_what_is_missing_or_foreign_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Unprocessable, match="cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "no.gguf").write_bytes(b"GGUX")
    with pytest.raises(Unprocessable, match="no GGUF"):
        Tokenizer.load(tmp_path / "no.gguf")


@pytest.mark.real
def test_the_real_vocabulary_gives_the_ids_of_llama_cpp(model_05b: Path) -> None:
    tokenizer = Tokenizer.load(model_05b)
    assert tokenizer.real_vocabulary == 151665
    model = _open(model_05b)
    try:
        for text in (*TEXTS, *_random_texts(1500)):
            for special in (False, True):
                assert tokenizer.tokenize(text, special=special) == model.tokenize(text, special=special), (
                    text
                )
            assert tokenizer.decode(tokenizer.tokenize(text)) == text
    finally:
        model.close()
