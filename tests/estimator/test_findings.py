"""Several findings per image: each is sampled, extended, drawn on and scored as a classifier of it alone would be."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic
from lvlm_va.critique import Critique, SegmentVerdict
from lvlm_va.model_selection import RightReasonsScorer
from lvlm_va.propagation import Propagation

FINDINGS = ("fracture", "effusion")
N = 60


def make_net(n_logits: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, n_logits)).double()


def make(module: nn.Module, **parameters) -> LVLMVAClassifier:
    defaults = {
        "n_align": 40,
        "epochs": 0,
        "align_epochs": 2,
        "batch_size": 16,
        "lr": 1e-2,
        "references": "zeros",
        "segmenter": "grid",
        "random_state": 0,
    }
    return LVLMVAClassifier(module, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def data():
    """Images with a bright quarter for each of two findings; the top is spurious for one, the rest for the other."""
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (N, 2))
    X = rng.uniform(0, 0.3, (N, 1, 8, 8))
    X[Y[:, 0] == 1, :, :4, :4] += 0.6
    X[Y[:, 1] == 1, :, 4:, 4:] += 0.6
    masks = np.zeros((N, 2, 8, 8), bool)
    masks[:, 0, :4], masks[:, 1, 4:] = True, True
    return X, Y, masks


@pytest.fixture(scope="module")
def trained(data):
    X, Y, _ = data
    return make(make_net(2), critic=None, epochs=10).fit(X, Y).module_


def of_one(module: nn.Module, finding: int) -> nn.Module:
    """Return the net of this finding alone."""
    alone, last = make_net(1), module[3]
    alone.load_state_dict(
        module.state_dict() | {"3.weight": last.weight[[finding]], "3.bias": last.bias[[finding]]}
    )
    return alone


def cases_of(clf: LVLMVAClassifier, finding: int) -> np.ndarray:
    return (clf.alignment_findings_ == FINDINGS[finding]).nonzero()[0]


def test_each_finding_is_extended_as_by_a_net_of_its_own(data, trained):
    X, Y, masks = data
    # A forest would draw its features otherwise where there are more of them.
    how = {"propagate": Propagation(KNeighborsClassifier(3), consensus=True)}
    both = make(trained, critic=OracleCritic(masks), classes=FINDINGS, n_align=40, **how).fit(X, Y)
    extended = both.propagated_
    assert len(extended.indices) == len(set(extended.indices.tolist())) == 2 * N
    for finding in range(2):
        alone = make(of_one(trained, finding), critic=OracleCritic(masks[:, finding]), n_align=20, **how)
        alone.fit(X, Y[:, finding])
        own = cases_of(both, finding)
        assert both.alignment_set_[own].tolist() == alone.alignment_set_.tolist()
        assert np.array_equal(both.masks_[own], alone.masks_)
        about = extended.indices % 2 == finding
        rows = torch.argsort(extended.indices[about])
        wanted = torch.argsort(alone.propagated_.indices)
        found = extended.masks[about][rows]
        assert torch.equal(found, alone.propagated_.masks[wanted])
        assert found.any()
        assert torch.equal(extended.consensus[finding], alone.propagated_.consensus)
        torch.testing.assert_close(extended.coverage[finding], alone.propagated_.coverage)
    assert not torch.equal(extended.consensus[0], extended.consensus[1])
    assert 0.5 < float(extended.agreement) <= 1


class Counting(OracleCritic):
    def critique(self, requests):
        asked.extend(request.image_id for request in requests)
        return super().critique(requests)


asked: list[str] = []


def test_adaptive_asks_as_often_about_each_finding_and_finds_more(data, trained):
    X, Y, _ = data
    rng = np.random.default_rng(1)
    masks = np.zeros((N, 2, 8, 8), bool)  # in some images only, and of one finding only
    few = rng.permutation(N)[:18]
    X = X.copy()
    X[few, :, :3, 5:] = 1
    masks[few, 0, :3, 5:] = True
    share = {}
    for sampler in ("random", "adaptive"):
        asked.clear()
        how = {"sampler": sampler, "n_align": 51, "align_epochs": 0, "classes": FINDINGS}
        clf = make(trained, critic=Counting(masks, threshold=0.3), **how).fit(X, Y)
        assert len(asked) == len(set(asked)) == 51
        assert [len(cases_of(clf, finding)) for finding in range(2)] == [26, 25]
        share[sampler] = clf.masks_[cases_of(clf, 0)].any((1, 2)).mean()
        assert not clf.masks_[cases_of(clf, 1)].any()
    assert share["adaptive"] > share["random"]


def test_propagation_aligns_by_each_findings_own_masks_and_survives_a_pickle(data, trained, tmp_path):
    X, Y, masks = data
    how = {"critic": OracleCritic(masks), "classes": FINDINGS, "propagate": 90, "early_stopping": True}
    clf = make(trained, **how, run_dir=tmp_path / "run").fit(X, Y)
    assert len(clf.propagated_.indices) == 90
    assert len(clf.history_["align"][-1].validation_score) == 2
    folder = clf.export_masks(tmp_path / "masks", "coco")
    assert folder.exists()
    again = pickle.loads(pickle.dumps(clf)).realign(clf.verdicts_, X, Y)
    for one, two in zip(clf.module_.parameters(), again.module_.parameters(), strict=True):
        assert torch.equal(one, two)


class UnsureOfEffusion(RegionCritic):
    def critique(self, requests):
        return [
            found
            if "fracture" in found.image_id
            else Critique.from_verdicts(
                found.image_id, [SegmentVerdict(found.image_id, v.segment, "unsure") for v in found.verdicts]
            )
            for found in super().critique(requests)
        ]


def test_a_finding_without_a_verdict_stays_without_masks_and_is_named(data, trained):
    X, Y, _ = data
    with pytest.warns(UserWarning, match="no verdict to extend on 'effusion'"):
        clf = make(
            trained, critic=UnsureOfEffusion({"irrelevant": ["top"]}), classes=FINDINGS, propagate=True
        ).fit(X, Y)
    of_effusion = clf.propagated_.indices % 2 == 1
    assert not clf.propagated_.masks[of_effusion].any()
    assert clf.propagated_.masks[~of_effusion].any()


def test_a_drawing_is_about_its_own_finding(data, trained):
    X, Y, masks = data
    names = [f"scan {row}" for row in range(N)]
    drawn = np.zeros((8, 8), bool)
    drawn[0, 7] = True
    drawings = {
        "irrelevant": {(3, "fracture"): drawn, "scan 5 | effusion": ~drawn, ("scan 7", "effusion"): drawn}
    }
    alone = make(trained, classes=FINDINGS).fit(X, Y, masks=drawings, image_ids=names)
    marks = alone.job_.marks(alone.aligned_)
    assert marks.indices.tolist() == [6, 11, 15]
    assert marks.masks.sum((1, 2)).tolist() == [1, 63, 1]
    with_critic = make(trained, classes=FINDINGS, critic=OracleCritic(masks), n_align=2 * N)
    with_critic.fit(X, Y, masks=drawings, image_ids=names)
    cases = 2 * with_critic.alignment_set_ + (with_critic.alignment_findings_ == "effusion")
    for case, mask in zip(cases.tolist(), with_critic.masks_, strict=True):
        if case in (6, 11, 15):
            assert np.array_equal(mask, ~drawn if case == 11 else drawn)
        else:
            assert not mask[0, 7] or case % 2 == 0
    for key, message in (
        (3, "say which finding each drawing is about"),
        ((3, "tumour"), r"one of \['fracture', 'effusion'\]. Got \(3, 'tumour'\)"),
        ("scan 5", "say which finding"),
        ("scan 99 | effusion", "name images by their row or by one of image_ids"),
    ):
        with pytest.raises(ValueError, match=message):
            make(trained, classes=FINDINGS).fit(X, Y, masks={"irrelevant": {key: drawn}}, image_ids=names)
    twice = {"irrelevant": {(3, "fracture"): drawn, "scan 3 | fracture": drawn}}
    with pytest.raises(ValueError, match="name each case once"):
        make(trained, classes=FINDINGS).fit(X, Y, masks=twice, image_ids=names)


@pytest.mark.parametrize("measure", ["transplants", "attributions"])
def test_the_score_is_the_mean_of_the_findings_own(data, trained, measure):
    X, Y, masks = data
    how = {"classes": FINDINGS, "critic": OracleCritic(masks), "n_align": 2 * N}
    clf = make(trained, **how).fit(X, Y)
    scorer = RightReasonsScorer.from_critiqued(clf, measure=measure)
    each = []
    for finding in range(2):
        alone = make(of_one(clf.module_, finding), critic=None).fit(X, Y[:, finding])
        own = cases_of(clf, finding)
        one = RightReasonsScorer(X[clf.alignment_set_[own]], clf.masks_[own], measure=measure)
        each.append(one(alone, X, Y[:, finding]))
    assert scorer(clf, X, Y) == pytest.approx(np.mean(each))
    assert scorer(clf, X[:20], Y[:20]) <= 1
    critic = RightReasonsScorer.from_critic(clf, X, Y, measure=measure)
    assert repr(critic) == f"RightReasonsScorer({N} images)"
    assert critic(make(trained, classes=FINDINGS, critic=None).fit(X, Y), X, Y) <= 1


def test_scores_of_findings_in_a_search_and_what_does_not_fit(data, trained):
    X, Y, masks = data
    scorer = RightReasonsScorer(X, masks[:, 0], findings=np.zeros(N, int))
    search = GridSearchCV(
        make(make_net(2), critic=None, epochs=5), {"lr": [1e-3, 1e-2]}, scoring=scorer, cv=2
    )
    assert 0 < search.fit(X, Y).best_score_ <= 1
    with pytest.raises(ValueError, match=r"'y' argument must be of shape \(n, n_findings\)"):
        scorer(search, X, Y[:, 0])
    with pytest.raises(ValueError, match=r"'y' argument must be of shape \(n,\)"):
        RightReasonsScorer(X, masks[:, 0])(search, X, Y)
    with pytest.raises(ValueError, match="a column for each finding that masks are about, at least 3"):
        RightReasonsScorer(X, masks[:, 0], findings=np.full(N, 2))(search, X, Y)
    with pytest.raises(ValueError, match="'findings' argument must be integers >= 0"):
        RightReasonsScorer(X, masks[:, 0], findings=np.full(N, 0.5))


def test_an_oracle_with_masks_of_each_finding_is_for_findings_alone(data):
    masks = data[2]
    with pytest.raises(ValueError, match=r"'masks' argument must be of shape \(60, 8, 8\)"):
        OracleCritic(masks).check_data(N, (8, 8), ["a", "b", "c", "d"])
    with pytest.raises(ValueError, match=r"or, of several findings, .* Got \(60, 2, 8, 8\)"):
        OracleCritic(masks).check_data(N, (8, 8), ["no a", "a", "no b", "b", "no c", "c"])
    with pytest.raises(ValueError, match=r"\(n, n_findings, H, W\)"):
        OracleCritic(masks[0, 0])
