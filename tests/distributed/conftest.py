from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.distributed.team import Team


@pytest.fixture(scope="package")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Return two processes that stay for all tests."""
    team = Team(2, tmp_path_factory.mktemp("team") / "store")
    yield team
    team.close()
