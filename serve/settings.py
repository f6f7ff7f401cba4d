"""One settings class for the whole product: flag > environment > file > default.

Three ways people use it::

    DISTILSQL_PORT=9000 distilsql up            # environment
    distilsql up --port 9000                    # flag
    $EDITOR ~/.config/distilsql/settings.toml   # file, keys as the field names below
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


class Settings(BaseSettings):
    """Everything an operator can set. The docstring under a field is its documentation."""

    model_config = SettingsConfigDict(env_prefix="DISTILSQL_", extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to bind; anything but loopback should come with `api_keys`."""
    port: int = Field(8000, ge=0, le=65535)
    """TCP port; 0 picks a free one."""
    model: str = ""
    """Catalog name of the model to serve; empty picks one that this machine runs fast enough."""
    api_keys: Annotated[tuple[str, ...], NoDecode] = ()
    """Accepted `Authorization: Bearer` keys, comma-separated; empty means no key is asked for."""
    home: Path | None = None
    """One folder for models, state and events; default: the user's cache and data folders."""
    database_url: str = ""
    """Event log and schemas: empty for SQLite under the data folder, or `postgresql://...`."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins that browsers may call the API from, comma-separated; empty turns CORS off."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Names this server is reached under, comma-separated; empty allows loopback names and
    whatever `host` says (a guard against DNS rebinding)."""
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024)
    """Larger request bodies are refused with 413 before they are read."""
    max_upload_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    """The same for an uploaded database file, of which only the schema is read."""
    request_timeout_s: float = Field(60.0, gt=0)
    """A request that takes longer is cancelled and answered with 503."""
    drain_timeout_s: float = Field(10.0, ge=0)
    """On shutdown, running requests get this long to finish before they are cancelled."""
    queue_limit: int = Field(32, ge=1)
    """Requests that may wait for the engine; one more is refused with 429."""
    context_tokens: int = Field(8192, ge=512)
    """Tokens of KV cache shared by all sequences; also the longest prompt plus completion."""
    max_loaded_models: int = Field(2, ge=1)
    """Models kept in memory; the one unused for longest makes room for another."""
    max_parallel: int = Field(8, ge=1, le=64)
    """Sequences decoded together."""
    threads: int = Field(0, ge=0)
    """Compute threads; 0 takes the machine's physical cores."""
    schema_token_budget: int = Field(2048, ge=128)
    """Tokens a schema may take in a prompt; larger schemas are ranked and cut to it."""
    schema_database_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Prefixes of database URLs whose schema may be read (`POST /v1/sql/schemas`), comma-separated;
    empty allows none."""
    log_text: Literal["none", "hash", "full"] = "none"
    """Whether the event log keeps the SQL text itself, a hash of it, or neither."""
    event_retention_days: int = Field(90, ge=1)
    """Events older than this are deleted."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity of log lines."""

    @field_validator("api_keys", "cors_origins", "allowed_hosts", "schema_database_urls", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags are passed to the constructor, so they come first; then environment, then file."""
        path = platformdirs.user_config_path("distilsql") / "settings.toml"
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    @cached_property
    def models_dir(self) -> Path:
        """Weights by sha256, and partial downloads."""
        return (self.home or platformdirs.user_cache_path("distilsql")) / "models"

    @cached_property
    def snapshots_dir(self) -> Path:
        """KV snapshots, private (0700)."""
        return (self.home or platformdirs.user_cache_path("distilsql")) / "kv"

    @cached_property
    def state_dir(self) -> Path:
        """Event log, schemas and the local part of the catalog."""
        return (self.home or platformdirs.user_data_path("distilsql")) / "state"
