"""Searches in several processes or threads: the scores of a sequential one, and no question asked twice."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dask.distributed import Client, LocalCluster
from joblib import parallel_config
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from torch import nn

from lvlm_va import LVLMVAClassifier, RightReasonsScorer
from lvlm_va.critique import LVLMCritic, RegionRenderer
from lvlm_va.segmentation import PPEPSWGM
from tests.critique.scripted import SPECIFICATIONS
from tests.serving import Answer, Asked, FaultServer

GRID = {"rrr_strength": [0.0, 0.01, 0.1, 1.0]}


class Counting:
    """A model that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked[hashlib.sha256(json.dumps(asked.body).encode()).hexdigest()] += 1
        return Answer("Segment 1: spurious\nSegment 2: relevant", delay=0.05)


@contextmanager
def workers(kind: str) -> Iterator[None]:
    """Have joblib work in this way."""
    if kind == "dask":
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
            parallel_config("dask"),
        ):
            yield
    else:
        with nullcontext() if kind == "alone" else parallel_config(kind, n_jobs=2):
            yield


def search(kind: str, cache: Path, make: Any = GridSearchCV) -> tuple[Any, Counter[str]]:
    """Return what a search finds, and how often each question was asked."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(0, 0.3, (60, 1, 8, 8)).astype(np.float32), np.arange(60) % 2
    X[y == 0, :, :, :4] += 0.6
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :, :2] = True
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
    model = Counting()
    with FaultServer(model) as server:
        clf = LVLMVAClassifier(
            net,
            critic=LVLMCritic(f"{server.url}#critic", cache=cache, renderer=RegionRenderer(size=64)),
            specifications=SPECIFICATIONS,
            segmenter=PPEPSWGM(n_segments=2),
            n_align=5,
            n_references=4,
            epochs=3,
            align_epochs=3,
            batch_size=16,
            lr=0.01,
            random_state=0,
        )
        with workers(kind):
            scorer = RightReasonsScorer(X, masks, measure="attributions")
            found = make(clf, GRID, scoring=scorer, cv=3, refit=False).fit(X, y)
    return found.cv_results_, model.asked


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Add up in the order in which workers do, who have one core each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", ["loky", "threading", "dask"])
def test_scores_are_those_of_a_sequential_search_and_nothing_is_asked_twice(
    kind: str, tmp_path: Path
) -> None:
    expected, asked = search("alone", tmp_path / "alone.sqlite")
    assert len(set(expected["mean_test_score"])) == len(expected["params"]) == 4
    assert len(asked) == 3 * 5  # what is asked in a fold does not depend on the alignment
    assert set(asked.values()) == {1}
    found, asked_by_workers = search(kind, tmp_path / "workers.sqlite")
    for fold in range(3):
        scores = (results[f"split{fold}_test_score"] for results in (found, expected))
        np.testing.assert_array_equal(*scores)
    assert asked_by_workers == asked


def test_halving(tmp_path: Path) -> None:
    make = partial(HalvingGridSearchCV, resource="align_epochs", max_resources=4, factor=2, random_state=0)
    expected, asked = search("alone", tmp_path / "alone.sqlite", make)
    found, asked_by_workers = search("loky", tmp_path / "workers.sqlite", make)
    np.testing.assert_array_equal(found["mean_test_score"], expected["mean_test_score"])
    assert asked_by_workers == asked
    assert set(asked.values()) == {1}
