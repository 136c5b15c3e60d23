"""Training: short, but from beginning to end."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from lvlm_va.critique import TinyCritic, check_critiques
from tests.critique.making import corner_and_centre
from tools.tiny_critic.training import Steps, train_tiny_critic

SHORT = Steps(look=2, read=2, speak=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of the same seed, what was said, and whether global state was left alone."""
    root, lines = tmp_path_factory.mktemp("trained"), []
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 -- the global generator must stay as it was
    for name in ("first", "second"):
        train_tiny_critic(root / name, seed=3, steps=SHORT, echo=lines.append)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    return root, lines


def test_the_same_seed_gives_the_same_files(folders):
    root, _ = folders
    names = sorted(path.name for path in (root / "first").iterdir())
    assert names == sorted(path.name for path in (root / "second").iterdir())
    for name in names:
        assert (root / "first" / name).read_bytes() == (root / "second" / name).read_bytes(), name


def test_weights_are_kept_in_half_precision_and_computed_with_in_single(folders):
    folder = folders[0] / "first"
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118


def test_each_stage_says_how_it_went(folders):
    _, lines = folders
    assert [line.split(":")[0] for line in lines[:3]] == [
        f"{stage}, step 2 of 2" for stage in ("look", "read", "speak")
    ]


def test_what_was_written_judges_segments_however_badly(folders):
    critic = TinyCritic(folder=folders[0] / "first")
    requests = [corner_and_centre(description="The digit counts.")]
    check_critiques(requests, critiques := critic.critique(requests))
    assert [verdict.segment for verdict in critiques[0].verdicts] == [1, 2]
