"""What every command does the same way: read the settings, print data, fail in one line."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import typer

from serve.errors import DistilsqlError
from serve.settings import Settings


def load_settings(**flags: Any) -> Settings:
    """The settings with the flags that were given (those that are not None) on top.

    Raises typer.BadParameter (exit code 2) naming the setting or variable that is wrong.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        where = (
            f"--{name}"
            if name in given
            else f"the setting {name} (DISTILSQL_{name.upper()} or the settings file)"
        )
        raise typer.BadParameter(f"{where}: {first['msg']}") from error
    except (SettingsError, tomllib.TOMLDecodeError) as error:
        raise DistilsqlError(f"the settings cannot be read: {error}") from error


def print_json(data: object) -> None:
    """Data for programs: JSON on standard output."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
