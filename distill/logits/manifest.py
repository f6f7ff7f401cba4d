"""What a logit store is of: one JSON file beside its shards, and the refusal of a store of something else."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.logits.rows import MAX_DRAWS, MAX_VOCABULARY, RowFormat
from serve.errors import NotFound, Unprocessable
from serve.files import write_atomic

NAME = "manifest.json"
FORMAT_VERSION = 1


class StoreManifest(BaseModel):
    """Everything that decides what the rows of a store mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["distilsql-logits"] = "distilsql-logits"
    version: int = FORMAT_VERSION
    tokenizer_hash: str
    """`distill.tokenizer.vocabulary_hash`: the same for matrices that are padded differently."""
    real_vocabulary: Annotated[int, Field(ge=1, le=MAX_VOCABULARY)]
    """All ids are below it."""
    top_k: Annotated[int, Field(ge=1, le=4096)]
    kind: Literal["topk", "sampled"] = "topk"
    draws: Annotated[int, Field(ge=0, le=MAX_DRAWS)] = 0
    """Of a sampled distribution."""
    temperature: Literal[1] = 1
    """Raw log-probabilities; a loss applies its own temperature."""
    teacher: str
    """The scorer's name."""
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(
        cls, *, tokenizer_hash: str, real_vocabulary: int, teacher: str, top_k: int, draws: int = 0
    ) -> StoreManifest:
        """Of a new store. Unprocessable where `top_k`, `draws` or the vocabulary is more than the format holds."""
        try:
            return cls(
                tokenizer_hash=tokenizer_hash,
                real_vocabulary=real_vocabulary,
                top_k=top_k,
                kind="sampled" if draws else "topk",
                draws=draws,
                teacher=teacher,
            )
        except ValidationError as error:
            one = error.errors()[0]
            raise Unprocessable(f"capture: {one['loc'][0]}: {one['msg']}") from error

    @property
    def rows(self) -> RowFormat:
        """How its rows lie on disk."""
        return RowFormat(self.top_k, self.draws)

    @property
    def digest(self) -> bytes:
        """16 bytes that every shard of this store begins with."""
        return hashlib.sha256(self.model_dump_json(exclude={"created"}).encode()).digest()[:16]

    def save(self, folder: Path) -> None:
        """Write it into `folder`."""
        write_atomic(folder / NAME, self.model_dump_json(indent=2).encode())


def read_manifest(folder: Path) -> StoreManifest:
    """The manifest of the store in `folder`. NotFound where there is none, Unprocessable where it is damaged."""
    path = folder / NAME
    if not path.is_file():
        raise NotFound(f"there is no logit store in {folder} (no {NAME}): run the capture stage first")
    try:
        found = StoreManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        one = error.errors()[0]
        where = ".".join(str(part) for part in one["loc"]) or "JSON"
        raise Unprocessable(
            f"{path} is damaged ({where}: {one['msg']}): delete {folder} and capture again, or restore the file"
        ) from error
    if found.version != FORMAT_VERSION:
        raise Unprocessable(
            f"{path}: version is {found.version}, this distilsql reads {FORMAT_VERSION}: capture into another folder"
        )
    return found


def refuse_other(found: StoreManifest, wanted: StoreManifest, folder: Path) -> None:
    """Unprocessable naming the first field in which the store in `folder` is not what is wanted."""
    for field in StoreManifest.model_fields:
        theirs, mine = getattr(found, field), getattr(wanted, field)
        if field != "created" and theirs != mine:
            raise Unprocessable(
                f"the logit store in {folder} was captured with {field} {_short(theirs)}, not {_short(mine)}: "
                "rows of both must not be mixed. Capture into another folder, or delete this one",
                param=field,
            )


def refuse_tokenizer(found: StoreManifest, tokenizer_hash: str, folder: Path) -> None:
    """Unprocessable where the store's token ids mean something else to the student."""
    if found.tokenizer_hash != tokenizer_hash:
        raise Unprocessable(
            f"the logit store in {folder} was captured with another tokenizer ({_short(found.tokenizer_hash)}, the "
            f"student's is {_short(tokenizer_hash)}): its token ids mean other text. Capture again with a teacher of "
            "the student's family, into another folder",
            param="tokenizer_hash",
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 48 else f"{text[:12]}…"
