"""Nets with one logit, nets that tell several findings, and nets whose logits are a part of their output."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic, VerdictTable
from lvlm_va.comparison import ERMClassifier
from lvlm_va.critique import SegmentVerdict
from lvlm_va.metrics import finding_accuracies

FINDINGS = ("fracture", "effusion")


class Sided(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        z = self.net(images)
        return torch.cat([-z / 2, z / 2], 1)


class Wrapped(nn.Module):
    """A net whose logits are a part of what it returns."""

    def __init__(self, net: nn.Module, wrap) -> None:
        super().__init__()
        self.net, self.wrap = net, wrap

    def forward(self, images: torch.Tensor):
        return self.wrap(self.net(images))


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


class Recording(RegionCritic):
    def __init__(self) -> None:
        super().__init__({"irrelevant": ["corners"]})
        object.__setattr__(self, "requests", [])

    def fingerprint(self):
        return "recording"

    def critique(self, requests):
        self.requests.extend(requests)
        return super().critique(requests)


def make_net(n_logits: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, n_logits)).double()


def make(module=None, **parameters) -> LVLMVAClassifier:
    defaults = {
        "critic": RegionCritic({"irrelevant": ["corners"]}),
        "n_align": 20,
        "epochs": 6,
        "align_epochs": 3,
        "batch_size": 16,
        "lr": 1e-2,
        "rrr_strength": 0.1,
        "random_state": 0,
    }
    return LVLMVAClassifier(module, **{**defaults, **parameters})


@pytest.fixture
def findings():
    """60 images in which each of two findings is a bright quarter."""
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (60, 2))
    X = rng.uniform(0, 0.3, (60, 1, 8, 8))
    X[Y[:, 0] == 1, :, :4, :4] += 0.6
    X[Y[:, 1] == 1, :, 4:, 4:] += 0.6
    return X, Y


def same_weights(one: nn.Module, two: nn.Module) -> None:
    for left, right in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_one_logit_is_fitted_as_the_same_net_with_two(blobs):
    X, y = blobs
    names = np.array(["ill", "well"])[y]
    net = make_net(1)
    one, two = (make(module, early_stopping=True).fit(X, names) for module in (net, Sided(net)))
    assert (one.task_, two.task_) == ("binary", "multiclass")
    assert isinstance(one.module_, nn.Sequential)
    same_weights(one.module_, two.module_.net)
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X))
    assert one.predict(X).tolist() == two.predict(X).tolist()
    assert one.score(X, names) > 0.9
    assert one.verdicts_ == two.verdicts_
    assert np.array_equal(one.masks_, two.masks_)
    assert one.masks_.any()
    # Attributed is the logit itself, with its sign, and not a half of it.
    torch.testing.assert_close(one.explanation_.attributions, 2 * two.explanation_.attributions)


def test_what_speaks_against_is_the_negative_of_what_speaks_for(blobs):
    X, y = blobs
    clf = make(make_net(1), critic=None).fit(X, y)
    against, towards = (clf.explain(X, np.full(60, label)) for label in (0, 1))
    torch.testing.assert_close(against.attributions, -towards.attributions)
    with torch.no_grad():
        logits = clf.module_(torch.from_numpy(X))[:, 0]
        mean = clf.module_(clf.references_.shared)[:, 0].mean()
    torch.testing.assert_close(towards.output_difference, logits - mean)
    assert clf.explain(X).target.tolist() == (logits > 0).int().tolist()


def test_each_finding_is_explained_as_by_a_net_of_its_own(findings):
    X, Y = findings
    clf = make(make_net(2), critic=None, classes=FINDINGS, references="zeros").fit(X, Y)
    last = clf.module_[3]
    for k, finding in enumerate(FINDINGS):
        alone = make_net(1)
        alone.load_state_dict(
            clf.module_.state_dict() | {"3.weight": last.weight[[k]], "3.bias": last.bias[[k]]}
        )
        own = make(alone, critic=None, epochs=0, references="zeros").fit(X, Y[:, k])
        found = clf.explain(X, Y, finding=finding)
        torch.testing.assert_close(found.attributions, own.explain(X, Y[:, k]).attributions)
        assert found.target.tolist() == (2 * k + Y[:, k]).tolist()
        np.testing.assert_allclose(clf.predict_proba(X)[:, k], own.predict_proba(X)[:, 1])
        assert clf.predict(X)[:, k].tolist() == own.predict(X).tolist()
    each = np.array(FINDINGS)[np.arange(60) % 2]
    mixed = clf.explain(X, finding=each)
    assert (mixed.target // 2).tolist() == (np.arange(60) % 2).tolist()
    assert (mixed.target % 2).tolist() == clf.predict(X)[np.arange(60), np.arange(60) % 2].tolist()


def test_findings_end_to_end(findings, tmp_path):
    X, Y = findings
    critic = Recording()
    said = {"fracture": "The bone counts.", "no effusion": "A dry joint."}
    how = {"critic": critic, "classes": FINDINGS, "specifications": said, "run_dir": tmp_path / "run"}
    clf = make(make_net(2), sampler="class_balanced", **how).fit(X, Y)
    assert clf.task_ == "multilabel"
    assert clf.classes_.tolist() == list(FINDINGS)
    assert clf.score(X, Y) > 0.9
    # As many cases of each finding, each asked about once, with the words on that finding and what its label says.
    assert np.unique(clf.alignment_findings_, return_counts=True)[1].tolist() == [10, 10]
    assert len({request.image_id for request in critic.requests}) == 20
    for request, row, finding in zip(
        critic.requests, clf.alignment_set_, clf.alignment_findings_, strict=True
    ):
        present = Y[row, FINDINGS.index(finding)]
        assert (request.index, request.image_id) == (row, f"{row} | {finding}")
        assert request.label == ("" if present else "no ") + finding
        assert (
            request.description
            == {"fracture": "The bone counts.", "effusion": "A dry joint." * (not present)}[finding]
        )
    assert clf.masks_.shape == (20, 8, 8)
    assert not hasattr(clf, "alignment_data_")

    page = clf.report(
        tmp_path / "report.html", X, Y, groups=np.where(X.mean((1, 2, 3)) > 0.3, "bright", "dark")
    )
    text = page.read_text()
    assert "no effusion" in text
    assert "fracture: bright" in text

    asked = len(critic.requests)
    again = make(make_net(2), sampler="class_balanced", **how).fit(X, Y)
    assert len(critic.requests) == asked
    same_weights(again.module_, clf.module_)

    # A correction of one finding's case changes the masks of that case alone.
    case = clf.verdicts_.verdicts[0].image_id
    edit = VerdictTable((SegmentVerdict(case, 1, "spurious"),))
    before = clf.masks_.copy()
    other = pickle.loads(pickle.dumps(clf))
    other.set_params(run_dir=None).realign(edit, X, Y)
    changed = (other.masks_ != before).any((1, 2))
    assert changed.tolist() == [
        f"{r} | {f}" == case for r, f in zip(clf.alignment_set_, clf.alignment_findings_, strict=True)
    ]
    assert "no effusion" in str(clf.behaviour_summary())


def test_findings_in_rounds_and_with_images_held_out(findings):
    X, Y = findings
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :4, :4] = True
    clf = make(
        make_net(2),
        critic=OracleCritic(masks),
        n_rounds=2,
        round_tolerance=0,
        n_align=11,
        early_stopping=True,
    )
    clf.fit(X, Y)
    cases = list(zip(clf.alignment_set_.tolist(), clf.alignment_findings_.tolist(), strict=True))
    assert len(set(cases)) == len(cases) == 22
    assert np.unique(clf.alignment_findings_, return_counts=True)[1].tolist() == [12, 10]
    assert len(clf.history_["align"][-1].validation_score) == 3


@pytest.mark.parametrize("strategy", ["low_entropy", "high_entropy", "random", "class_balanced"])
def test_every_sampler_keeps_the_findings_in_balance(findings, strategy):
    X, Y = findings
    Y[:, 1] = 0
    Y[:4, 1] = 1
    clf = make(make_net(2), sampler=strategy, n_align=16, epochs=3, align_epochs=0).fit(X, Y)
    assert np.unique(clf.alignment_findings_, return_counts=True)[1].tolist() == [8, 8]
    if strategy == "class_balanced":
        assert sum(clf.explanation_.target.tolist().count(outcome) == 4 for outcome in range(4)) == 4


def test_accuracy_of_each_finding_and_the_worst(findings):
    _, Y = findings
    predicted = Y.copy()
    predicted[:15, 1] ^= 1
    found = finding_accuracies(Y, predicted, findings=FINDINGS)
    assert dict(zip(found.groups.tolist(), found.accuracies.tolist(), strict=True)) == {
        "effusion": 0.75,
        "fracture": 1,
    }
    assert (found.worst, found.worst_group) == (0.75, "effusion")
    groups = np.where(np.arange(60) < 15, "left", "right")
    assert finding_accuracies(Y, predicted, findings=FINDINGS, groups=groups).worst_group == "effusion: left"
    with pytest.raises(ValueError, match=r"'y_pred' argument must be of shape \(n, 2\)"):
        finding_accuracies(Y, predicted[:, 0], findings=FINDINGS)


@pytest.mark.parametrize(
    ("output", "wrap"),
    [
        (1, lambda z: ("features", z)),
        ("scores", lambda z: {"scores": z, "features": None}),
        ("scores", lambda z: SimpleNamespace(scores=z, logits=z.detach())),
    ],
)
def test_logits_that_are_a_part_of_the_output(blobs, output, wrap):
    X, y = blobs
    net = make_net(2)
    plain, named = make(net).fit(X, y), make(Wrapped(net, wrap), output=output).fit(X, y)
    assert isinstance(named.module_, Wrapped)
    same_weights(plain.module_, named.module_)
    assert np.array_equal(plain.predict_proba(X), named.predict_proba(X))
    assert torch.equal(plain.explain(X).attributions, named.explain(X).attributions)


@pytest.mark.parametrize(
    "how", [{"propagate": True}, {"sampler": "adaptive"}, {"n_rounds": 2, "round_tolerance": 0}]
)
def test_one_logit_goes_all_ways_that_two_go(blobs, how):
    X, y = blobs
    net = make_net(1)
    masks = np.zeros((60, 8, 8), bool)
    masks[:, :, :4] = True
    one, two = (make(module, critic=OracleCritic(masks), **how).fit(X, y) for module in (net, Sided(net)))
    assert one.alignment_set_.tolist() == two.alignment_set_.tolist()
    assert one.masks_.any()
    assert np.array_equal(one.masks_, two.masks_)
    same_weights(one.module_, two.module_.net)


def test_built_in_nets_have_the_logits_of_the_task(findings):
    X, Y = findings
    for task, y, shape in (
        ("auto", Y[:, 0], 2),
        ("binary", Y[:, 0], 1),
        ("auto", Y, 2),
        ("multilabel", Y, 2),
    ):
        clf = make("mlp", task=task, critic=None, epochs=1).fit(X, y)
        with torch.no_grad():
            assert clf.module_(torch.from_numpy(X[:3]).float()).shape == (3, shape)


def test_a_dataset_may_hold_findings(findings):
    X, Y = findings
    rows = [
        (torch.from_numpy(image).float(), torch.from_numpy(present))
        for image, present in zip(X, Y, strict=True)
    ]
    dataset, net = Rows(rows), make_net(2).float()
    one, two = make(net).fit(dataset), make(net).fit(X.astype(np.float32), Y)
    same_weights(one.module_, two.module_)
    assert one.score(dataset) == two.score(X.astype(np.float32), Y)
    csr = make(net).fit(X.astype(np.float32), scipy.sparse.csr_matrix(Y))
    same_weights(csr.module_, two.module_)


def test_an_output_that_is_not_there(blobs):
    X, y = blobs
    for wrap, output, message in (
        (
            lambda z: {"scores": z},
            "logits",
            r"'output' argument must name .* 'logits' for a dict, which has \['scores'\]",
        ),
        (lambda z: (z,), 3, "3 for a tuple, which has 1 parts"),
        (lambda z: SimpleNamespace(scores=z), "logits", "'logits' for a SimpleNamespace"),
    ):
        with pytest.raises(ValueError, match=message):
            make(Wrapped(make_net(2), wrap), output=output).fit(X, y)
    with pytest.raises(TypeError, match="name that part with 'output'"):
        make(Wrapped(make_net(2), lambda z: (z,))).fit(X, y)


def test_labels_and_nets_that_do_not_fit(findings):
    X, Y = findings
    for module, y, parameters, message in (
        (
            make_net(2),
            Y + 1,
            {},
            r"'y' argument must be of shape \(n, n_findings\) .* of 0 and 1. Got 2 among them",
        ),
        (make_net(2), Y * 0.5, {}, r"of 0 and 1. Got 0.5 among them"),
        (
            make_net(3),
            Y,
            {},
            r"one logit per finding: 2 findings were found in y. Got logits of shape \(2, 3\)",
        ),
        (make_net(1), Y[:, [0]], {"task": "multilabel"}, r"one finding: pass its column, y\[:, 0\]"),
        (make_net(1), Y[:, 0], {"task": "multilabel"}, r"Got shape \(60,\) instead"),
        (make_net(1), np.arange(60) % 3, {}, r"one logit per class: 3 classes were found in y"),
        (
            make_net(1),
            np.arange(60) % 3,
            {"task": "binary"},
            r"'y' argument must hold two classes for task='binary'",
        ),
        (
            make_net(2),
            Y[:, 0],
            {"task": "binary"},
            r"return one logit for task='binary'. Got logits of shape \(2, 2\)",
        ),
        (
            make_net(1),
            Y[:, 0],
            {"task": "multiclass"},
            r"one logit per class: 2 classes .* Got logits of shape \(2, 1\)",
        ),
        (make_net(2), Y, {"classes": ["a"]}, r"'classes' argument must name each of the 2 findings once"),
        (make_net(2), Y, {"classes": ["a", "no a"]}, r"'classes' argument must name each"),
        (make_net(2), Y, {"classes": ["a", "b | c"]}, r"names without ' \| '"),
        (make_net(2), Y, {"specifications": {"bone": "counts"}}, r"'specifications'.*'bone'"),
        (make_net(2), Y, {"n_align": 122}, r"'n_align' argument must be at most 120"),
    ):
        with pytest.raises(ValueError, match=message):
            make(module, **parameters).fit(X, y)
    with pytest.raises(ValueError, match=r"exactly one 1 in each row of shape \(60, 2\): pass y.argmax\(1\)"):
        make(make_net(2)).fit(X, np.eye(2)[Y[:, 0]])
    with pytest.raises(ValueError, match="y should be a 1d array"):
        make(make_net(2), task="multiclass").fit(X, Y)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        ERMClassifier(make_net(2), epochs=1).fit(X, Y)
    with pytest.raises(ValueError, match="Got logits of shape"):
        ERMClassifier(make_net(1), epochs=1).fit(X, Y[:, 0])
    clf = make(make_net(2), critic=None, classes=FINDINGS, epochs=1).fit(X, Y)
    for finding in (None, "tumour"):
        with pytest.raises(
            ValueError, match=r"'finding' argument must say which of \['fracture', 'effusion'\]"
        ):
            clf.explain(X, finding=finding)
    with pytest.raises(ValueError, match=r"'y' argument must be of shape \(n, 2\)"):
        clf.explain(X, Y[:, 0], finding="effusion")


def test_trained_nets_that_say_the_opposite_or_end_in_a_sigmoid(findings):
    X, Y = findings
    net = make(make_net(2), critic=None, epochs=20).fit(X, Y).module_
    with pytest.raises(ValueError, match=r"logit of finding '0' does not fit .* with the other sign"):
        make(net, epochs=0).fit(X, 1 - Y)
    one = make(make_net(1), critic=None, epochs=20).fit(X, Y[:, 0]).module_
    with pytest.raises(ValueError, match="order of the classes does not fit"):
        make(one, epochs=0).fit(X, 1 - Y[:, 0])
    with pytest.warns(UserWarning, match="Leave out its last sigmoid"):
        make(nn.Sequential(net, nn.Sigmoid()), epochs=0, critic=None).fit(X, Y)
