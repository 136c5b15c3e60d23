"""Alignment that did harm is told of, and undone where that is wished."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.metrics import PairedAccuracy
from lvlm_va.report import read_run

HARM = "Alignment made the classifier worse"


@pytest.fixture(scope="module")
def halves():
    """Return 200 images whose bright half tells the class, and masks of just that, as if it were spurious."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.uniform(0, 0.4, (200, 1, 8, 8)).astype(np.float32)
    masks = np.zeros((200, 8, 8), bool)
    for i, label in enumerate(y):
        columns = slice(4 * label, 4 * label + 3)
        X[i, 0, 2:5, columns] += 0.5
        masks[i, :, columns] = True
    return X, y, masks


def fit(halves, **parameters):
    X, y, masks = halves
    defaults = {"n_align": 100, "epochs": 15, "align_epochs": 30, "batch_size": 16, "n_references": 5}
    clf = LVLMVAClassifier(
        "mlp", critic=OracleCritic(masks), random_state=0, rrr_strength=100.0, **defaults | parameters
    )
    with pytest.warns(UserWarning, match=HARM):
        return clf.fit(X, y)


def test_harm_is_told_of_and_stands_first_in_the_report(halves, tmp_path):
    clf = fit(halves, run_dir=tmp_path)
    found = clf.aligned_.comparison
    assert found.is_worse
    assert found.accuracy.fell()
    assert HARM in clf.remarks_[0]
    assert "if_worse='restore'" in clf.remarks_[0]
    assert read_run(tmp_path).remarks == clf.remarks_
    page = clf.report(tmp_path / "report.html").read_text()
    assert page.index(HARM) < page.index("What changed</h2>")
    assert clf.score(*halves[:2]) < 0.9


def test_the_unaligned_classifier_comes_back(halves):
    clf = fit(halves, if_worse="restore")
    assert "The unaligned classifier was restored." in clf.remarks_[0]
    for name, weight in clf.unaligned_module_.state_dict().items():
        torch.testing.assert_close(clf.module_.state_dict()[name], weight, rtol=0, atol=0)
    assert clf.score(*halves[:2]) == 1


def test_masks_over_most_of_the_image_are_told_of(halves):
    X, y, _ = halves
    critic = OracleCritic(np.ones((200, 8, 8), bool))
    clf = LVLMVAClassifier(
        "mlp", critic=critic, n_align=40, epochs=1, align_epochs=1, random_state=0, segmenter="grid"
    )
    with pytest.warns(UserWarning, match=r"and 9.% of what speaks for the class: little.* masks cannot mend"):
        clf.fit(X, y)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_counts_of_pairs(pairs):
    before, after = torch.tensor(pairs).T
    found = PairedAccuracy.of(before, after)
    assert (found.before, found.after) == (int(before.sum()), int(after.sum()))
    assert (found.lost, found.gained) == (int((before & ~after).sum()), int((after & ~before).sum()))
    assert PairedAccuracy.from_json(found.to_json()) == found
    assert not (found.fell() and found.rose())


def test_a_fall_is_more_than_noise():
    # Of 5 changed images all lost: 1/32 < 0.05; of 4: 1/16.
    assert PairedAccuracy(100, 90, 85, 5).fell()
    assert not PairedAccuracy(100, 90, 86, 4).fell()
    assert PairedAccuracy(100, 85, 90, 0).rose()
    with pytest.raises(ValueError, match="no images of which this could be true"):
        PairedAccuracy(10, 5, 9, 6)
