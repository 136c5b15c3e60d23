"""Tiny checkpoints, written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.backends.tiny_folders import BUILDERS, build


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what gives the folder of an architecture with random weights."""
    return cache(lambda architecture: build(architecture, tmp_path_factory.mktemp(architecture)))


@pytest.fixture(scope="session", params=BUILDERS)
def any_folder(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> Path:
    """Return the folder of each architecture in turn."""
    return tiny_folder(request.param)
