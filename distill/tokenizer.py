"""One tokenizer for teachers, examples and students, and the hash that tells two vocabularies apart.

Built from a Hugging Face folder (`tokenizer.json`) or out of a GGUF's token list. It gives the ids that
llama.cpp gives: no Unicode normalisation, and text of users is plain text: a marker such as `<|im_end|>` in it
is split into ordinary tokens, as at inference (`serve.prompt_format`). Knows no prompt format and no weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serve.errors import NotFound, Unprocessable

_PADDING = re.compile(r"^\[PAD\d+\]$")
"""How a converter names the rows that only fill the embedding matrix up."""
_MARKER = re.compile(r"^<[|｜].*[|｜]>$")
"""What llama.cpp's converter takes for a marker, whatever tokenizer.json says of it."""
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer, as in its tokenizer.json and in llama.cpp (`LLAMA_VOCAB_PRE_TYPE_QWEN2`)."""
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5
"""`tokenizer.ggml.token_type`"""


class Tokenizer:
    """Token ids and back; the same ids as llama.cpp's tokenizer on the same vocabulary."""

    def __init__(self, fast: Any, source: str, settings: Mapping[str, Any] | None = None) -> None:
        """`fast` is a `tokenizers.Tokenizer`; `settings` go into the tokenizer_config.json that `save` writes."""
        from tokenizers import AddedToken

        self._fast = fast
        self.source = source
        self._settings = dict(settings or {})
        added = fast.get_added_tokens_decoder().values()
        looks = [token for token in added if _MARKER.match(token.content) and not token.special]
        fast.add_special_tokens(
            [AddedToken(token.content, special=True, normalized=False) for token in looks]
        )
        fast.normalizer = None
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = True
        self._markers = {
            token.content: id for id, token in fast.get_added_tokens_decoder().items() if token.special
        }
        longest_first = sorted(self._markers, key=len, reverse=True)
        self._split = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._vocabulary: dict[int, str] = {id: token for token, id in fast.get_vocab().items()}
        self.real_vocabulary = real_size(self._vocabulary)
        """Ids at or above this are padding of the embedding matrix and are never text."""
        self.hash = vocabulary_hash(self._vocabulary)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """From a Hugging Face folder or a GGUF file. NotFound or Unprocessable say what is missing."""
        if path.is_file():
            return _from_gguf(path)
        file = path / "tokenizer.json"
        if not file.is_file():
            raise NotFound(
                f"there is no tokenizer at {path}: neither a GGUF file nor a folder with tokenizer.json"
            )
        from tokenizers import Tokenizer as Fast

        try:
            fast = Fast.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise Unprocessable(f"the tokenizer {file} cannot be read: {error}") from error
        return cls(fast, str(path), _folder_settings(path))

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text`; with `special`, markers such as `<|fim_prefix|>` become their one id."""
        if not special or self._split is None:
            return self._plain(text)
        ids: list[int] = []
        at = 0
        for found in self._split.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self._markers[found.group()])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text: str) -> list[int]:
        return list(self._fast.encode(text, add_special_tokens=False).ids) if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, markers included."""
        return str(self._fast.decode(list(ids), skip_special_tokens=False))

    def tokens(self) -> dict[int, str]:
        """Every token by id, as the vocabulary spells it (bytes as printable letters)."""
        return dict(self._vocabulary)

    def merges(self) -> list[tuple[str, str]]:
        """The byte-pair merges, first ones first."""
        listed = json.loads(self._fast.to_str())["model"]["merges"]
        return [(one[0], one[1]) for one in listed]

    @property
    def markers(self) -> dict[str, int]:
        """The special tokens: never made from plain text."""
        return dict(self._markers)

    @property
    def user_defined(self) -> frozenset[int]:
        """Added tokens that plain text makes too, such as `<tool_call>`."""
        added = self._fast.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if not token.special)

    @property
    def chat_template(self) -> str:
        """Jinja; empty where the model has none."""
        return str(self._settings.get("chat_template", ""))

    def role_id(self, role: str) -> int | None:
        """The id of the `eos`, `bos` or `pad` token; None where the model has none."""
        token = self._settings.get(f"{role}_token")
        text = token.get("content") if isinstance(token, dict) else token
        return None if text is None else self._fast.token_to_id(text)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and its settings into `folder`: a Hugging Face folder's own files, unchanged, or
        new ones that transformers can load."""
        folder.mkdir(parents=True, exist_ok=True)
        source = Path(self.source)
        if source.is_dir():
            for name in _FILES:
                if (source / name).is_file() and source.resolve() != folder.resolve():
                    shutil.copyfile(source / name, folder / name)
            return
        self._fast.encode_special_tokens = False
        self._fast.save(str(folder / "tokenizer.json"))
        self._fast.encode_special_tokens = True
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **self._settings,
        }
        text = json.dumps(settings, ensure_ascii=False, indent=2)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _folder_settings(folder: Path) -> dict[str, Any]:
    file, template = folder / "tokenizer_config.json", folder / "chat_template.jinja"
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise Unprocessable(f"{file} is not JSON: {error}") from error
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    return settings


def _from_gguf(path: Path) -> Tokenizer:
    from distill.gguf_file import GgufFile

    metadata = GgufFile(path).metadata
    kind = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != ("gpt2", "qwen2"):
        raise Unprocessable(
            f"{path} has the tokenizer {kind[0]}/{kind[1]}; students use Qwen2.5's (gpt2/qwen2)"
        )
    tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
    types = metadata["tokenizer.ggml.token_type"]
    settings: dict[str, Any] = {}
    for role in ("eos", "bos", "padding"):
        id = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if id is not None and not (role == "bos" and not metadata.get("tokenizer.ggml.add_bos_token", True)):
            settings["pad_token" if role == "padding" else f"{role}_token"] = tokens[id]
    if template := metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = template
    return Tokenizer(_byte_pairs(tokens, merges, types), str(path), settings)


def _byte_pairs(tokens: Sequence[str], merges: Sequence[str], types: Sequence[int]) -> Any:
    """Qwen2's byte-level byte-pair encoding, as transformers' `Qwen2Tokenizer` builds it."""
    from tokenizers import AddedToken, Regex, decoders, pre_tokenizers
    from tokenizers import Tokenizer as Fast
    from tokenizers.models import BPE

    ordinary = {
        token: id
        for id, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind not in (_CONTROL, _USER_DEFINED, _UNUSED)
    }
    pairs = []
    for merge in merges:
        cut = merge.index(" ", 1)
        pairs.append((merge[:cut], merge[cut + 1 :]))
    fast = Fast(BPE(vocab=ordinary, merges=pairs))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    fast.decoder = decoders.ByteLevel()
    fast.add_tokens(
        [
            AddedToken(token, special=kind == _CONTROL, normalized=False)
            for token, kind in zip(tokens, types, strict=True)
            if kind in (_CONTROL, _USER_DEFINED)
        ]
    )
    return fast


def real_size(vocabulary: Mapping[int, str]) -> int:
    """One more than the last id that is no padding row."""
    return 1 + max(id for id, token in vocabulary.items() if not _PADDING.match(token))


def vocabulary_hash(vocabulary: Mapping[int, str]) -> str:
    """sha256 over the real ids and their tokens: equal for two models whose matrices are padded differently."""
    real = real_size(vocabulary)
    return _digest((id, vocabulary[id]) for id in sorted(vocabulary) if id < real)


def _digest(pairs: Iterable[tuple[int, str]]) -> str:
    digest = hashlib.sha256()
    for id, token in pairs:
        digest.update(f"{id}\t{token}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
