"""What fit tells of a result that mended less than it may seem to, and where else that stands."""

from __future__ import annotations

import html
import json
import warnings

import numpy as np
import pytest
from torch import nn

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.report import read_run
from lvlm_va.rounds.comparison import Comparison


def fit(blobs, tmp_path, **parameters) -> tuple[LVLMVAClassifier, list[str]]:
    defaults = {
        "critic": RegionCritic({"irrelevant": [("corners", 0.3)]}),
        "n_align": 8,
        "epochs": 1,
        "align_epochs": 1,
    }
    clf = LVLMVAClassifier(random_state=0, run_dir=tmp_path / "run", **defaults | parameters)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        clf.fit(*blobs)
    return clf, [str(found.message) for found in told]


def assert_told(clf, told, tmp_path) -> None:
    """What `fit` warned of stands in the estimator, the run directory and the report."""
    assert clf.remarks_ == tuple(told)
    assert read_run(tmp_path / "run").remarks == clf.remarks_
    page = clf.report(tmp_path / "report.html").read_text()
    for remark in told:
        assert remark in html.unescape(page)


def test_nothing_was_judged_spurious(blobs, tmp_path):
    clf, told = fit(blobs, tmp_path, critic=RegionCritic({"relevant": [(0, 0, 1, 1)]}))
    assert len(told) == 1
    assert "No segment was judged spurious" in told[0]
    assert "does not show that it has no shortcut" in told[0]
    assert_told(clf, told, tmp_path)


def test_all_verdicts_are_unsure(blobs, tmp_path):
    clf, told = fit(
        blobs, tmp_path, critic=RegionCritic({"0": {"irrelevant": ["corners"]}}), sampler=_of_class_1
    )
    assert len(told) == 1
    assert "are 'unsure'" in told[0]
    assert_told(clf, told, tmp_path)


def test_there_is_nothing_to_judge(tmp_path):
    constant = np.full((24, 1, 8, 8), 0.5, np.float32), np.arange(24) % 2
    clf, told = fit(constant, tmp_path)
    assert len(told) == 1
    assert "None of the 8 critiqued images has a segment" in told[0]
    assert_told(clf, told, tmp_path)


def test_alignment_was_too_short(blobs, tmp_path):
    clf, told = fit(blobs, tmp_path)
    assert clf.masks_.any()
    assert len(told) == 1
    assert "lambda of the penalty rose to" in told[0]
    assert_told(clf, told, tmp_path)
    assert not fit(blobs, tmp_path, rrr_strength=1.0)[1]


def test_what_is_told_of_an_alignment_stands_where_it_was_undone(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr(Comparison, "is_worse", True)
    clf, told = fit(blobs, tmp_path, if_worse="restore")
    assert [text.split()[0] for text in told] == ["Alignment", "The"]
    assert "lambda of the penalty rose to" in told[1]
    assert_told(clf, told, tmp_path)
    assert json.loads((tmp_path / "run" / "latest.json").read_text())["restored"]
    (curve,) = clf.history_["align"]  # of what was undone
    assert 0 < curve.rrr_strength[-1] < 1
    assert clf.history_["train"][0].rrr_strength == (0,)


def test_nothing_is_told_of_an_alignment_that_was_long_enough(blobs, tmp_path):
    clf, told = fit(blobs, tmp_path, align_epochs=8, batch_size=4)
    assert clf.history_["align"][-1].rrr_strength[-1] == pytest.approx(1)
    assert not told
    assert not clf.remarks_


def test_probabilities_in_the_place_of_logits_are_told_of(blobs, tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(2), nn.Softmax(1))
    with pytest.warns(UserWarning, match="look like probabilities"):
        LVLMVAClassifier(lambda: net, epochs=1).fit(*blobs)


def _of_class_1(probabilities, labels, n_align, rng):
    return np.flatnonzero(labels == 1)[:n_align]
