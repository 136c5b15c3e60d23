"""The estimator end to end: what it finds, inside scikit-learn's tools, in rounds, resumed and corrected."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic, TableCritic, VerdictTable
from lvlm_va.critique import SegmentVerdict
from lvlm_va.metrics import alignment_score, worst_group_accuracy
from lvlm_va.segmentation import positive_effect


class CountingCritic(RegionCritic):
    """A critic that counts the images it was asked about."""

    asked: ClassVar[list[str]] = []

    def critique(self, requests):
        self.asked.extend(request.image_id for request in requests)
        return super().critique(requests)


@pytest.fixture
def counting():
    CountingCritic.asked.clear()
    return CountingCritic({"irrelevant": ["corners"]})


def make(**parameters) -> LVLMVAClassifier:
    defaults = {
        "module": "mlp",
        "critic": RegionCritic({"irrelevant": ["corners"]}),
        "n_align": 30,
        "epochs": 8,
        "align_epochs": 4,
        "batch_size": 32,
        "random_state": 0,
    }
    return LVLMVAClassifier(**{**defaults, **parameters})


def test_masks_lie_on_the_decoy_and_alignment_rises(digits):
    clf = make(sampler="random", epochs=40, align_epochs=20).fit(digits.images, digits.labels)
    effect = positive_effect(clf.explanation_.attributions).numpy()
    on_decoy, masked = effect * digits.masks[clf.alignment_set_], effect * clf.masks_
    assert (on_decoy * clf.masks_).sum() > 0.8 * on_decoy.sum() > 0
    corner = np.ix_(range(30), [*range(6), *range(22, 28)], [*range(6), *range(22, 28)])
    assert masked[corner].sum() > 0.9 * masked.sum()
    images, labels = digits.images[:50], digits.labels[:50]
    after = alignment_score(clf.explain(images, labels).attributions, digits.masks[:50])
    clf.module_ = clf.unaligned_module_
    before = alignment_score(clf.explain(images, labels).attributions, digits.masks[:50])
    assert after > 0.9 > before


def test_fitted_attributes(digits):
    clf = make().fit(digits.images, digits.labels)
    n = len(clf.alignment_set_)
    assert n == 30
    assert clf.explanation_.attributions.shape == (n, 1, 28, 28)
    assert clf.segments_.labels.shape == (n, 28, 28)
    assert [c.image_id for c in clf.critiques_] == [str(i) for i in clf.alignment_set_]
    assert sum(clf.verdicts_.counts().values()) == int(clf.segments_.n_segments.sum())
    assert len(clf.history_["train"]) == len(clf.history_["align"]) == 1
    assert set(clf.seconds_) == {"train", "sample", "explain", "segment", "critique", "align"}


def test_without_a_critic_it_only_trains(digits):
    clf = make(critic=None).fit(digits.images, digits.labels)
    assert not hasattr(clf, "verdicts_")
    assert clf.explain(digits.images[:2]).relative_completeness_error() < 1e-4


def test_trained_module_is_taken_as_it_is(digits):
    trained = make(critic=None).fit(digits.images, digits.labels).module_
    clf = make(module=trained, epochs=0).fit(digits.images, digits.labels)
    for name, tensor in clf.unaligned_module_.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name])


def test_transformers_model(digits):
    clf = make(module="resnet18", n_align=4, epochs=1, align_epochs=1).fit(
        digits.images[:40], digits.labels[:40]
    )
    assert clf.predict_proba(digits.images[:3]).shape == (3, 10)


def test_pipeline_grid_search_and_two_jobs(digits):
    X, y = digits.images[:80], digits.labels[:80] % 2
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), make(n_align=5, epochs=2, align_epochs=1))
    search = GridSearchCV(pipeline, {"lvlmvaclassifier__rrr_strength": [0.0, "auto"]}, cv=2, n_jobs=2)
    assert 0 <= search.fit(X, y).best_score_ <= 1
    assert len(cross_val_score(make(n_align=5, epochs=2, align_epochs=1), X, y, cv=2, n_jobs=2)) == 2


def test_rounds_critique_new_images_and_add_up(digits, counting):
    clf = make(critic=counting, segmenter="ppeps_wgm", n_align=10, n_rounds=2, round_tolerance=0)
    clf.fit(digits.images, digits.labels)
    assert clf.spurious_share_[1] > 0
    assert len(set(clf.alignment_set_)) == 20
    assert len(set(counting.asked)) == len(counting.asked) <= 20
    assert clf.masks_.shape == (20, 28, 28)
    assert len(clf.history_["align"]) == 2


def test_images_without_effect_are_no_error(digits):
    X = digits.images.copy()
    X[:5] = 0
    clf = make(sampler=lambda p, labels, n, rng: np.arange(n), references="zeros").fit(X, digits.labels)
    assert (clf.segments_.n_segments[:5] == 0).all()
    assert not clf.masks_[:5].any()


class Interrupting(RegionCritic):
    """A critic that breaks off after 16 images, once."""

    broken: ClassVar[list[bool]] = []

    def critique(self, requests):
        if CountingCritic.asked and not self.broken:
            self.broken.append(True)
            raise ConnectionError("the critic went away")
        CountingCritic.asked.extend(request.image_id for request in requests)
        return super().critique(requests)


def test_run_directory_repeats_nothing(digits, counting, tmp_path):
    one = make(critic=counting, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    assert counting.asked
    counting.asked.clear()
    two = make(critic=counting, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    assert not counting.asked
    assert one.verdicts_ == two.verdicts_
    np.testing.assert_array_equal(one.predict_proba(digits.images), two.predict_proba(digits.images))
    assert not [path for path in (tmp_path / "run").rglob("*") if path.suffix in {".pkl", ".pt", ".pickle"}]


def test_interrupted_critic_loses_nothing_and_ends_equal(digits, tmp_path):
    CountingCritic.asked.clear()
    critic = Interrupting({"irrelevant": ["corners"]})
    with pytest.raises(ConnectionError):
        make(critic=critic, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    asked = len(CountingCritic.asked)
    assert asked
    resumed = make(critic=critic, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    assert len(CountingCritic.asked) == len(set(CountingCritic.asked))
    whole = make(critic=critic).fit(digits.images, digits.labels)
    np.testing.assert_array_equal(resumed.predict_proba(digits.images), whole.predict_proba(digits.images))


def test_expert_edits_the_file_of_the_run_and_fits_again(digits, counting, tmp_path):
    first = make(critic=counting, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    (path,) = (tmp_path / "run").glob("verdicts-*.json")
    path.write_text(path.read_text().replace('"spurious"', '"relevant"'))
    counting.asked.clear()
    second = make(critic=counting, run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    assert first.masks_.any()
    assert not second.masks_.any()
    assert not counting.asked


def test_realign_follows_corrected_verdicts(digits, counting, tmp_path):
    clf = make(critic=counting).fit(digits.images, digits.labels)
    counting.asked.clear()
    spurious = next(v for v in clf.verdicts_.verdicts if v.verdict == "spurious")
    before = clf.masks_.sum()
    edit = VerdictTable((SegmentVerdict(spurious.image_id, spurious.segment, "relevant", source="human"),))
    edit.save(tmp_path / "edit.json")
    clf.realign(tmp_path / "edit.json")
    assert clf.masks_.sum() < before
    assert clf.verdicts_[spurious.image_id, spurious.segment].source == "human"
    assert not counting.asked
    with pytest.raises(ValueError, match="'verdicts' argument.*image 'nobody'"):
        clf.realign(VerdictTable((SegmentVerdict("nobody", 1, "relevant"),)))


def test_realign_with_the_same_verdicts_gives_the_same_module(digits):
    clf = make().fit(digits.images, digits.labels)
    expected = clf.predict_proba(digits.images)
    np.testing.assert_array_equal(clf.realign(clf.verdicts_).predict_proba(digits.images), expected)


def test_realign_over_two_rounds_gives_the_same_module(digits):
    clf = make(n_align=10, n_rounds=2).fit(digits.images, digits.labels)
    expected = clf.predict_proba(digits.images)
    np.testing.assert_array_equal(clf.realign(clf.verdicts_).predict_proba(digits.images), expected)


def test_realign_keeps_the_corrections_in_the_run_directory(digits, tmp_path):
    clf = make(run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    before = json.loads((tmp_path / "run" / "latest.json").read_text())["files"]
    cleared = [replace(v, verdict="relevant") for v in clf.verdicts_.verdicts]
    clf.realign(VerdictTable(tuple(cleared)))
    files = json.loads((tmp_path / "run" / "latest.json").read_text())["files"]
    assert set(files) == set(before) == {
        "train", "sample", "explain", "segment", "shown", "critiques", "verdicts", "alignment-set",
        "align", "outcome", "marks",
    }  # fmt: skip
    assert all((tmp_path / "run" / name).exists() for names in files.values() for name in names)
    assert all(len(names) == 1 for names in files.values())
    again = make(run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    assert not again.masks_.any()
    np.testing.assert_array_equal(again.predict_proba(digits.images), clf.predict_proba(digits.images))


def test_edits_of_both_rounds_files_count_and_ask_nothing(digits, counting, tmp_path):
    parameters = {"critic": counting, "n_align": 10, "n_rounds": 2, "run_dir": tmp_path / "run"}
    first = make(**parameters).fit(digits.images, digits.labels)
    assert first.masks_[:10].any()
    paths = list((tmp_path / "run").glob("verdicts-*.json"))
    assert len(paths) == 2
    for path in paths:
        path.write_text(path.read_text().replace('"spurious"', '"relevant"'))
    counting.asked.clear()
    second = make(**parameters).fit(digits.images, digits.labels)
    assert not second.masks_.any()
    assert not counting.asked
    again = first.realign(VerdictTable())  # reads what was corrected in the files meanwhile
    assert not again.masks_.any()
    np.testing.assert_array_equal(again.predict_proba(digits.images), second.predict_proba(digits.images))


def test_vision_transformer_in_a_run_directory(digits, tmp_path):
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=28,
        patch_size=14,
        num_channels=1,
        num_labels=10,
    )
    parameters = {"module": ViTForImageClassification(config), "n_align": 4, "epochs": 1, "align_epochs": 1}
    one = make(**parameters, run_dir=tmp_path / "run").fit(digits.images[:40], digits.labels[:40])
    n_files = len(list((tmp_path / "run").iterdir()))
    two = make(**parameters, run_dir=tmp_path / "run").fit(digits.images[:40], digits.labels[:40])
    assert len(list((tmp_path / "run").iterdir())) == n_files
    assert one.explanation_.relative_completeness_error() < 1e-4
    np.testing.assert_array_equal(one.predict_proba(digits.images), two.predict_proba(digits.images))


def test_failed_fit_leaves_nothing_to_predict_with(digits):
    clf = make().fit(digits.images, digits.labels)
    with pytest.raises(ValueError, match="at least two classes"):
        clf.fit(digits.images, digits.labels * 0)
    with pytest.raises(NotFittedError):
        clf.predict(digits.images)
    with pytest.raises(NotFittedError):
        clf.realign(VerdictTable())


def test_file_edited_for_a_segment_that_does_not_exist(digits, tmp_path):
    clf = make(run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    (path,) = (tmp_path / "run").glob("verdicts-*.json")
    path.write_text(path.read_text().replace(f'"{clf.alignment_set_[0]}"', '"mistyped"', 1))
    with pytest.raises(ValueError, match="'verdicts' argument must be on segments.*'mistyped'"):
        make(run_dir=tmp_path / "run").fit(digits.images, digits.labels)


@pytest.mark.parametrize(
    "change", [{"segmenter": "grid"}, {"rrr_strength": 0.0}, {"lr": 1e-2}, {"n_align": 20}]
)
def test_changed_parameter_in_one_run_directory_equals_a_fresh_run(digits, tmp_path, change):
    make(run_dir=tmp_path / "run").fit(digits.images, digits.labels)
    there = make(run_dir=tmp_path / "run", **change).fit(digits.images, digits.labels)
    fresh = make(**change).fit(digits.images, digits.labels)
    np.testing.assert_array_equal(there.predict_proba(digits.images), fresh.predict_proba(digits.images))


def test_groups_and_image_ids_are_routed(digits):
    X, y = digits.images[:80], digits.labels[:80] % 2
    ids = np.array([f"scan-{i}" for i in range(80)])
    with config_context(enable_metadata_routing=True):
        clf = make(n_align=5, epochs=1, align_epochs=1).set_fit_request(image_ids=True)
        scorer = make_scorer(worst_group_accuracy).set_score_request(groups=True)
        pipeline = make_pipeline(FunctionTransformer(np.sqrt), clf)
        scores = cross_val_score(
            pipeline, X, y, cv=2, scoring=scorer, params={"groups": np.arange(80) % 3, "image_ids": ids}
        )
    assert np.isfinite(scores).all()


def test_realign_after_pickling_needs_the_data(digits):
    clf = make().fit(digits.images, digits.labels)
    expected = clf.predict_proba(digits.images)
    again = pickle.loads(pickle.dumps(clf))
    with pytest.raises(ValueError, match="'X' and 'y' arguments must be the training data"):
        again.realign(clf.verdicts_)
    for images, labels in (
        (digits.images[:20], digits.labels[:20]),
        (digits.images[::-1], digits.labels[::-1]),
    ):
        with pytest.raises(ValueError, match="'X', 'y' and 'image_ids' arguments must be those fitted"):
            again.realign(clf.verdicts_, images, labels)
    again.realign(clf.verdicts_, digits.images, digits.labels)
    np.testing.assert_array_equal(again.predict_proba(digits.images), expected)


def test_table_critic_repeats_a_run(digits, tmp_path):
    first = make().fit(digits.images, digits.labels)
    first.verdicts_.save(tmp_path / "verdicts.json")
    for critic in (TableCritic(tmp_path / "verdicts.json"), f"table:{tmp_path / 'verdicts.json'}"):
        again = make(critic=critic).fit(digits.images, digits.labels)
        np.testing.assert_array_equal(again.masks_, first.masks_)


def test_oracle_knows_rows(digits):
    clf = make(critic=OracleCritic(digits.masks), segmenter="ppeps_wgm").fit(digits.images, digits.labels)
    on_decoy = (clf.masks_ & digits.masks[clf.alignment_set_]).sum()
    assert on_decoy > 0.8 * clf.masks_.sum() > 0


def test_image_ids_and_descriptions_reach_the_critic(digits):
    seen = []

    class Listening:
        name = "listening"

        def critique(self, requests):
            seen.extend(requests)
            return RegionCritic({"irrelevant": ["corners"]}).critique(requests)

    ids = [f"scan-{i}" for i in range(len(digits.labels))]
    specifications = {k: f"the strokes of a {k}" for k in range(10)}
    make(critic=Listening(), specifications=specifications).fit(digits.images, digits.labels, image_ids=ids)
    assert seen
    for request in seen:
        assert request.image_id == ids[request.index]
        assert request.label == str(digits.labels[request.index])
        assert request.description == f"the strokes of a {request.label}"
        assert request.image.shape == (28, 28, 3)


def test_run_json_says_what_run_it_is(digits, tmp_path):
    make(run_dir=tmp_path / "run", critic=None).fit(digits.images, digits.labels)
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert identity["classes"] == [str(k) for k in range(10)]
    assert identity["image_shape"] == [1, 28, 28]


def test_own_module_class_as_callable(digits):
    class Net(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Flatten(), nn.Linear(784, 10))

    a, b = (make(module=Net, critic=None).fit(digits.images, digits.labels) for _ in range(2))
    np.testing.assert_array_equal(a.predict_proba(digits.images), b.predict_proba(digits.images))
