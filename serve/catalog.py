"""Which models there are and where their files lie. The file on disk is named by its hash, never by a
name or path from a manifest.

The shipped part is `models.toml`; the user's part (`models add`, hashes found at a first pull) is one
JSON file in the state folder.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from serve.errors import Conflict, DistilsqlError, InvalidRequest, NotFound
from serve.files import write_atomic
from serve.settings import Settings

SHA256_PATTERN = re.compile(r"^[0-9a-f]{64}$")
NAME_PATTERN = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}$")
_SHIPPED = Path(__file__).with_name("models.toml")
_REPO = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"


class HubSource(BaseModel):
    """One GGUF file in a model hub's repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=_REPO)]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.gguf$")]
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}"


class WheelSource(BaseModel):
    """Packages whose `*/data/part*.bin`, in part order, concatenate to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["wheels"]
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\{part\}$")]
    parts: Annotated[int, Field(ge=1, le=1000)]
    version: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.]*$")]

    @property
    def requirements(self) -> list[str]:
        """One `NAME==VERSION` a part, in part order."""
        return [f"{self.package.format(part=n)}=={self.version}" for n in range(1, self.parts + 1)]

    def __str__(self) -> str:
        return f"wheels {self.package.format(part='1')} … {self.parts}"


class CheckpointSource(BaseModel):
    """A safetensors checkpoint: named so that it can be found, not loadable as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["checkpoint"]
    repo: Annotated[str, Field(pattern=_REPO)]
    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]

    def __str__(self) -> str:
        return f"checkpoint {self.repo}@{self.revision[:12]}"


Source = HubSource | WheelSource | CheckpointSource


class ModelEntry(BaseModel):
    """One model. `sha256` is None as long as nobody has verified the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME_PATTERN.pattern)]
    family: str
    parameters: str
    quantization: str
    license: str
    context_length: Annotated[int, Field(ge=1)]
    prompt_format: Literal["qwen2.5"]
    size_bytes: Annotated[int, Field(ge=0)] = 0
    """0 when unknown."""
    sha256: str | None = None
    recorded: bool = False
    """The hash was found by this machine's own first pull, not given by the catalog."""
    note: str = ""
    base: str | None = None
    """Of a LoRA adapter: the model it is loaded over."""
    sources: tuple[Annotated[Source, Field(discriminator="kind")], ...] = ()

    @field_validator("sha256", mode="before")
    @classmethod
    def _check_hash(cls, value: object) -> object:
        if value is None or value == "unverified":
            return None
        if not isinstance(value, str) or not SHA256_PATTERN.fullmatch(value):
            raise ValueError('must be 64 lower-case hexadecimal digits, or "unverified"')
        return value


class Catalog:
    """The shipped models and the user's, by name."""

    def __init__(self, entries: dict[str, ModelEntry], shipped: frozenset[str], settings: Settings) -> None:
        self._entries = entries
        self._shipped = shipped
        self._settings = settings

    @classmethod
    def load(cls, settings: Settings) -> Catalog:
        """Read both parts. Raises DistilsqlError naming the file and the field that is wrong."""
        shipped = _parse(tomllib.loads(_SHIPPED.read_text(encoding="utf-8")).get("model", []), _SHIPPED)
        entries = {entry.name: entry for entry in shipped}
        local = _local_path(settings)
        if local.exists():
            try:
                listed = json.loads(local.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DistilsqlError(f"{local} is not JSON ({error}); mend or delete it") from error
            entries |= {entry.name: entry for entry in _parse(listed, local)}
        return cls(entries, frozenset(entry.name for entry in shipped), settings)

    def entries(self) -> list[ModelEntry]:
        """All models, shipped ones first."""
        return list(self._entries.values())

    def get(self, name: str) -> ModelEntry:
        """Raises NotFound with the names that exist."""
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(self._entries)
            raise NotFound(f"there is no model {name!r}; known models: {known}", param="model") from None

    def path(self, entry: ModelEntry) -> Path:
        """Where the file lies, or would lie. Raises NotFound while its hash is unknown."""
        if entry.sha256 is None:
            raise NotFound(
                f"{entry.name} was never pulled, so its hash is unknown; run "
                f"`distilsql models pull {entry.name}`",
                param="model",
            )
        return self._settings.models_dir / f"{entry.sha256}.gguf"

    def installed(self, entry: ModelEntry) -> bool:
        """Whether the file is there (its hash is checked by `verify` and when it is pulled)."""
        return entry.sha256 is not None and self.path(entry).is_file()

    def base(self, entry: ModelEntry) -> ModelEntry | None:
        """What an adapter is loaded over; None for a whole model. NotFound when the catalog does not know it."""
        if entry.base is None:
            return None
        if entry.base not in self._entries:
            raise NotFound(
                f"{entry.name} is an adapter of {entry.base}, which is no model of the catalog (any more); add that "
                "with `distilsql models add`",
                param="model",
            )
        return self._entries[entry.base]

    def check_free(self, name: str) -> None:
        """Raises Conflict when a shipped model has that name; the user's own may be replaced."""
        if name in self._shipped:
            raise Conflict(f"{name} is a model of the catalog; choose another name", param="name")

    def add(self, entry: ModelEntry) -> None:
        """Register the user's own model. Raises Conflict when a shipped one has that name."""
        self.check_free(entry.name)
        self._store(entry)

    def is_mine(self, entry: ModelEntry) -> bool:
        """Whether the user's part knows it: added by hand, or its hash recorded at a first pull."""
        return entry.name in self._mine()

    def record_hash(self, entry: ModelEntry, sha256: str, size_bytes: int) -> ModelEntry:
        """Remember what the first pull of an unverified model gave."""
        known = entry.model_copy(update={"sha256": sha256, "size_bytes": size_bytes, "recorded": True})
        self._store(known)
        return known

    def forget(self, entry: ModelEntry) -> None:
        """Take a model out of the user's part; a shipped one is as it came again."""
        mine = {name: one for name, one in self._mine().items() if name != entry.name}
        self._write(mine)
        if entry.name not in self._shipped:
            del self._entries[entry.name]

    def _store(self, entry: ModelEntry) -> None:
        if not NAME_PATTERN.fullmatch(entry.name):
            raise InvalidRequest(
                f"{entry.name!r} cannot be a name: lower-case letters, digits, '.', '_' and '-' only",
                param="name",
            )
        self._write(self._mine() | {entry.name: entry})
        self._entries[entry.name] = entry

    def _mine(self) -> dict[str, ModelEntry]:
        return {name: one for name, one in self._entries.items() if name not in self._shipped or one.recorded}

    def _write(self, mine: dict[str, ModelEntry]) -> None:
        listed = [entry.model_dump(mode="json") for entry in mine.values()]
        write_atomic(_local_path(self._settings), json.dumps(listed, indent=2).encode())


def _local_path(settings: Settings) -> Path:
    return settings.state_dir / "models.json"


def _parse(listed: object, path: Path) -> list[ModelEntry]:
    if not isinstance(listed, list):
        raise DistilsqlError(f"{path} does not hold a list of models")
    entries = []
    for number, item in enumerate(listed, 1):
        try:
            entries.append(ModelEntry.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DistilsqlError(f"{path}: model {number}: {where}: {first['msg']}") from error
    return entries
