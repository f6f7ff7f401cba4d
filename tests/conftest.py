"""Settings that touch nothing of the user's, and real weights where a test asks for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.catalog import Catalog
from serve.hardware import SMALLER
from serve.pull import pull, verify
from serve.settings import Settings


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither the environment nor the user's settings file decides what a test sees."""
    empty = tmp_path_factory.mktemp("no-config")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DISTILSQL_")]:
            patch.delenv(name)
        patch.setattr("platformdirs.user_config_path", lambda *_, **__: empty)
        yield


@pytest.fixture(autouse=True, scope="session")
def _nothing_left_open() -> Iterator[None]:
    """llama-cpp-python opens the null device twice when it is imported and never closes it."""
    yield
    if (module := sys.modules.get("llama_cpp._utils")) is not None:
        module.outnull_file.close()
        module.errnull_file.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose models, state and events lie in this test's own folder."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def model_05b() -> Path:
    """The real 0.5B weights: the copy in the user's cache folder, fetched once if there is none."""
    settings = Settings()
    catalog = Catalog.load(settings)
    entry = catalog.get(SMALLER)
    _, path = pull(entry, settings)
    assert entry.sha256 and verify(path, entry.sha256), f"{path} is damaged: delete it and run again"
    return path
