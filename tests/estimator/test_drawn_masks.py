"""Masks that people drew: alone, beside a critic, refused, and found again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.utils.data import TensorDataset

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.alignment import AlignmentSet, train
from lvlm_va.comparison import GroundTruthRRRClassifier
from lvlm_va.critique import Critique, SegmentVerdict
from lvlm_va.datasets import decoy_digits
from lvlm_va.propagation import Propagation
from lvlm_va.rounds.marks import ORIGINS, KeptMarks, Marks
from lvlm_va.runs.directory import read_dataclass

IDS = [f"scan {i}" for i in range(60)]


def make(critic=None, **parameters):
    defaults = {"n_align": 6, "epochs": 1, "align_epochs": 2, "random_state": 0, "segmenter": "ppeps_wgm"}
    return LVLMVAClassifier("mlp", critic=critic, **(defaults | parameters))


def half(side, size=8):
    mask = np.zeros((size, size), bool)
    mask[:, : size // 2] = side == "left"
    mask[:, size // 2 :] = side == "right"
    return mask


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def masks_by_row(clf):
    data = clf.alignment_data_
    return dict(zip(data.rows.tolist(), [mask.numpy() for _, _, mask in data], strict=True))


def test_masks_alone_align_like_the_training_loop_itself(blobs):
    X, y = blobs
    masks = {3: half("left"), 7: half("right").astype(int), 50: np.zeros((8, 8))}
    clf = make(rrr_strength=0.1).fit(X, y, masks={"irrelevant": masks})
    plain = make().fit(X, y)
    assert same(clf.unaligned_module_, plain.module_)
    assert not same(clf.module_, plain.module_)
    drawn = torch.from_numpy(np.stack([half("left"), half("right"), np.zeros((8, 8), bool)]))
    job, rows = clf.job_, torch.tensor([3, 7, 50])
    oracle = train(
        clf.unaligned_module_,
        job.data.images,
        job.data.labels,
        job.options.aligning,
        alignment_set=AlignmentSet(
            job.data.images[rows], job.data.labels[rows], drawn.to(job.data.images.dtype)
        ),
        seed=job.seed,
    )
    assert same(clf.module_, oracle.module)
    assert clf.alignment_data_.rows[clf.alignment_data_.marked].tolist() == [3, 7]
    assert clf.remarks_ == ()
    with pytest.raises(ValueError, match="'critic' argument"):
        clf.report()


def test_what_should_count_rules_out_all_else(blobs):
    inside = make().fit(*blobs, masks={"relevant": {i: half("left") for i in range(20)}})
    outside = make().fit(*blobs, masks={"irrelevant": {str(i): half("right") for i in range(20)}})
    assert same(inside.module_, outside.module_)
    # A plaster within the drawing of the lesion.
    plaster = np.zeros((8, 8), bool)
    plaster[2:4, :2] = True
    clf = make().fit(*blobs, masks={"relevant": {5: half("left")}, "irrelevant": {5: plaster}})
    (mask,) = [mask for _, _, mask in clf.alignment_data_ if mask.any()]
    assert np.array_equal(mask.numpy(), half("right") | plaster)


def test_masks_of_some_images_mend():
    train_set, test = decoy_digits("train"), decoy_digits("test")
    rows = np.random.default_rng(0).choice(len(train_set.labels), 150, replace=False).tolist()
    clf = LVLMVAClassifier("mlp", epochs=20, align_epochs=20, batch_size=32, random_state=0)
    clf.fit(train_set.images, train_set.labels, masks={"irrelevant": {i: train_set.masks[i] for i in rows}})
    aligned = clf.score(test.images, test.labels)
    clf.module_ = clf.unaligned_module_
    assert aligned > clf.score(test.images, test.labels) + 0.1


def test_all_masks_are_the_ground_truth_of_the_rival(digits):
    masks = dict(enumerate(digits.masks))
    shared = {"epochs": 1, "align_epochs": 1, "rrr_strength": 0.1, "random_state": 0}
    ours = LVLMVAClassifier("mlp", align_fraction=1.0, **shared)
    ours.fit(digits.images, digits.labels, masks={"irrelevant": masks})
    rival = GroundTruthRRRClassifier("mlp", **shared).fit(digits.images, digits.labels, masks=digits.masks)
    assert same(ours.module_, rival.module_)


@pytest.mark.parametrize("propagate", [False, Propagation(n_images=40)])
def test_the_person_wins_against_a_verdict(blobs, propagate):
    critic = RegionCritic({"irrelevant": ["left"]})
    free = make(critic, propagate=propagate).fit(*blobs)
    critiqued = free.alignment_set_.tolist()
    contradicted, elsewhere = critiqued[0], next(i for i in range(60) if i not in critiqued)
    drawn = {contradicted: half("right"), elsewhere: half("right"), critiqued[1]: np.zeros((8, 8), int)}
    clf = make(critic, propagate=propagate).fit(*blobs, masks={"irrelevant": drawn})
    # The critic is asked, and its verdicts stand, as ever.
    assert clf.alignment_set_.tolist() == critiqued
    assert clf.verdicts_ == free.verdicts_
    assert np.array_equal(clf.masks_[0], half("right"))
    assert not clf.masks_[1].any()
    assert np.array_equal(clf.masks_[2:], free.masks_[2:])
    before = masks_by_row(free)
    for row, mask in masks_by_row(clf).items():
        assert np.array_equal(mask, drawn[row] if row in drawn else before[row])
    assert not same(clf.module_, free.module_)
    # Also after corrected verdicts.
    assert np.array_equal(clf.realign(clf.verdicts_).masks_[0], half("right"))


class Content:
    """A critic whom nothing disturbs."""

    name = "content"

    def critique(self, requests):
        return [
            Critique.from_verdicts(
                request.image_id,
                [SegmentVerdict(request.image_id, k, "relevant") for k in range(1, request.n_segments + 1)],
            )
            for request in requests
        ]


def test_a_critic_that_finds_nothing_is_told_of(blobs):
    with pytest.warns(
        UserWarning, match="No segment was judged spurious .* the drawn masks of 1 images alone"
    ):
        clf = make(Content()).fit(*blobs, masks={"irrelevant": {0: half("left")}})
    assert "0 unsure" in clf.remarks_[0]


def test_early_stopping_holds_out_drawn_masks(blobs):
    masks = {"irrelevant": {i: half("left") for i in range(10)}}
    clf = make(early_stopping=True, validation_fraction=0.3).fit(*blobs, masks=masks)
    assert len(clf.alignment_data_) == 57
    assert len(clf.history_["align"][0].validation_score) == 2
    with pytest.raises(ValueError, match="draw more"):
        make(early_stopping=True).fit(*blobs, masks={"irrelevant": {0: half("left")}})


def test_images_that_are_read_when_needed(blobs, monkeypatch):
    X, y = torch.from_numpy(blobs[0]).float(), torch.from_numpy(blobs[1])
    masks = {"irrelevant": {4: half("right"), 9: half("left")}}
    held = make().fit(X, y, masks=masks)
    monkeypatch.setattr("lvlm_va.data.inputs.LARGEST_IN_MEMORY", 0)
    read = make().fit(TensorDataset(X, y), masks=masks)
    assert same(held.module_, read.module_)


def test_a_run_goes_on_and_tells_of_the_masks(blobs, tmp_path):
    critic, masks = RegionCritic({"irrelevant": ["left"]}), {"irrelevant": {"scan 4": half("right")}}
    once = make(critic, run_dir=tmp_path / "run").fit(*blobs, image_ids=IDS, masks=masks)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*-*.*")}
    again = make(critic, run_dir=tmp_path / "run").fit(*blobs, image_ids=IDS, masks=masks)
    assert same(once.module_, again.module_)
    assert {path: path.stat().st_mtime_ns for path in files if path.suffix == ".npz"} == {
        path: when for path, when in files.items() if path.suffix == ".npz"
    }
    latest = json.loads((tmp_path / "run" / "latest.json").read_bytes())
    assert latest["n_drawn_masks"] == 1
    assert "In 1 image a person has drawn" in once.report(tmp_path / "report.html").read_text("utf-8")
    marks, names = read_dataclass(tmp_path / "run" / latest["files"]["marks"][0], KeptMarks).unpacked()
    assert names == [IDS[row] for row in marks.indices.tolist()]
    person = [
        name for name, kind in zip(names, marks.origins.tolist(), strict=True) if ORIGINS[kind] == "person"
    ]
    assert person == ["scan 4"]
    assert np.array_equal(marks.masks[names.index("scan 4")].numpy(), half("right"))
    # Other masks are another alignment, in the same folder.
    other = make(critic, run_dir=tmp_path / "run").fit(
        *blobs, image_ids=IDS, masks={"irrelevant": {4: half("left")}}
    )
    assert not same(other.module_, once.module_)


def test_kept_marks_come_back():
    rng = np.random.default_rng(0)
    for shape in ((0, 3, 5), (130, 3, 5), (2, 8, 8)):
        masks = torch.from_numpy(rng.random(shape) > 0.5)
        rows = torch.randperm(200)[: shape[0]]
        marks = Marks(rows, masks, torch.zeros(shape[0], dtype=torch.uint8))
        found, names = KeptMarks.of(marks, [f"ä {i}" for i in marks.indices.tolist()]).unpacked()
        assert torch.equal(found.masks, masks)
        assert names == [f"ä {i}" for i in rows.tolist()]


@pytest.mark.parametrize(
    ("masks", "error", "says"),
    [
        ({0: half("left")}, ValueError, "Did you mean|must be one of"),
        (np.zeros((60, 8, 8)), TypeError, "Got ndarray"),
        ({"irrelevant": [half("left")]}, TypeError, "Got list for 'irrelevant'"),
        ({"irelevant": {0: half("left")}}, ValueError, "Did you mean 'irrelevant'"),
        ({"irrelevant": {"scan 60": half("left")}}, ValueError, "'scan 60', which is none"),
        ({"irrelevant": {60: half("left")}}, ValueError, "0 to 59"),
        ({"irrelevant": {-1: half("left")}}, ValueError, "Got -1"),
        ({"irrelevant": {True: half("left")}}, ValueError, "Got True"),
        ({"irrelevant": {1.0: half("left")}}, ValueError, "Got 1.0"),
        ({"irrelevant": {1: half("left"), "scan 1": half("left")}}, ValueError, "row 1 as 1 and 'scan 1'"),
        ({"irrelevant": {1: half("left")[None]}}, ValueError, r"\(1, 8, 8\) for irrelevant 1"),
        ({"irrelevant": {1: 255 * half("left")}}, ValueError, "other values for irrelevant 1"),
        ({"irrelevant": {1: np.full((8, 8), np.nan)}}, ValueError, "other values"),
        ({"irrelevant": {1: np.ones((8, 8))}}, ValueError, "nothing left of 'scan 1'"),
        ({"relevant": {1: np.zeros((8, 8))}}, ValueError, "nothing left of 'scan 1'"),
        ({"irrelevant": {1: np.zeros((8, 8))}}, ValueError, "mark none"),
        ({}, ValueError, "mark none"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_asked(blobs, tmp_path, masks, error, says):
    class Costly:
        name = "costly"

        def critique(self, requests):
            raise AssertionError("asked")

    with pytest.raises(error, match=f"'masks' argument.*(?:{says})"):
        make(Costly(), run_dir=tmp_path / "run").fit(*blobs, image_ids=IDS, masks=masks)
    assert not (tmp_path / "run").exists()


def test_a_number_that_may_be_either_of_two_images_is_refused(blobs):
    with pytest.raises(ValueError, match="Got 1, which is a row, and the name of row 0"):
        make().fit(*blobs, image_ids=range(1, 61), masks={"irrelevant": {1: half("left")}})


def test_masks_alone_extend_nothing(blobs):
    with pytest.raises(ValueError, match="'propagate' argument"):
        make(propagate=True).fit(*blobs, masks={"irrelevant": {0: half("left")}})


def test_a_fit_without_masks_forgets_them(blobs):
    clf = make().fit(*blobs, masks={"irrelevant": {0: half("left")}})
    clf.fit(*blobs)
    assert not hasattr(clf, "unaligned_module_")
    assert same(clf.module_, clone(clf).fit(*blobs).module_)
