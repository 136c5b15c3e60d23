"""Images that do not fit in memory, in two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lvlm_va.data import inputs as _inputs
from tests.data.test_stored_images import EXTENDED, Items, make, shortcut
from tests.distributed.team import Team


def fitted(run_dir: Path | None, largest_in_memory: int) -> dict[str, Any]:
    bound, _inputs.LARGEST_IN_MEMORY = _inputs.LARGEST_IN_MEMORY, largest_in_memory
    try:
        images, labels = shortcut()
        # These processes are daemons, which may have no workers: they read for themselves.
        clf = make(run_dir=run_dir, num_workers=2, propagate=EXTENDED).fit(Items(images, labels))
    finally:
        _inputs.LARGEST_IN_MEMORY = bound
    weights = {name: value.numpy() for name, value in clf.module_.state_dict().items()}
    return {**weights, "masks": clf.masks_, "propagated": clf.propagated_.masks.numpy()}


def test_processes_that_read_find_what_those_with_images_in_memory_find(team: Team, tmp_path: Path) -> None:
    expected = team.run(fitted, tmp_path / "memory", 2**30)
    found = team.run(fitted, tmp_path / "streamed", 0)
    for one, other in zip(expected, found, strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)
