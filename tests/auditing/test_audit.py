"""Whole audits: of nets, of estimators, of findings, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import lvlm_va
from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.auditing import Audit
from lvlm_va.report import write_audit
from tests.auditing.scenes import Diffuse, Reads, scene
from tests.browser import accessibility_violations, open_browser, set_size, set_theme


def tag_share(found: Audit, number: int) -> float:
    """Return how much of the regions of a family lies in tags."""
    family = found.families[number - 1]
    _, _, masks = scene()
    inside = found.table.masks(family.members)
    return float((inside & masks[torch.from_numpy(found.table.rows[family.members])]).sum() / inside.sum())


@pytest.fixture(scope="module")
def cheat() -> Audit:
    images, labels, _ = scene()
    return lvlm_va.audit(Reads(10, 2), images, labels.numpy(), n_pairs=60)


def test_a_tag_is_the_most_suspicious_family_and_an_alarm(cheat):
    assert tag_share(cheat, 1) > 0.5
    first = cheat.families[0]
    assert first.alarming
    assert first.swaps.transplants.rate > 5 * first.swaps.controls.rate
    assert first.where == "at the top left"
    assert cheat.accuracy == 1.0
    assert [family.number for family in cheat.families] == list(range(1, len(cheat.families) + 1))
    assert cheat.covered == pytest.approx(sum(family.share for family in cheat.families))
    assert "look like a shortcut" in str(cheat)
    assert np.array_equal(np.flatnonzero(cheat.families_of_regions == 1), first.members)
    assert first.images.shape[1:] == (24, 24, 3)
    assert first.masks.any((1, 2)).all()


def test_it_cannot_know_what_should_count():
    """One thing that tells the class is as suspicious as another: the page says that a person must look."""
    images, labels, _ = scene(tagged=False)
    found = lvlm_va.audit(Reads(0, 10), images, labels.numpy(), n_pairs=60)
    assert found.families[0].where == "in the middle"


def test_a_net_that_no_region_turns_raises_no_alarm():
    images, labels, _ = scene(tagged=False)
    found = lvlm_va.audit(Diffuse(), images + 0.2 * labels[:, None, None, None], labels.numpy(), n_pairs=60)
    assert not found.alarms
    assert "None of" in str(found)
    # It is the whole image that does, and that is told.
    assert [one.statistic for one in found.diffuse_alarms][:1] == ["brightness"]
    assert "masks cannot mend it" in str(found)


def test_labels_are_not_needed_and_change_nothing_else(cheat):
    images, _, _ = scene()
    alone = lvlm_va.audit(Reads(10, 2), images, n_pairs=60)
    assert alone.accuracy is None
    assert [family.to_json() for family in alone.families] == [family.to_json() for family in cheat.families]


def test_one_logit_and_a_finding_are_audited_alike(cheat):
    images, labels, _ = scene()

    class Findings(nn.Module):
        def __init__(self):
            super().__init__()
            self.tag, self.other = Reads(10, 2, one=True), Reads(0, 10, one=True)

        def forward(self, x):
            return torch.cat([self.other(x), self.tag(x)], 1)

    one = lvlm_va.audit(Reads(10, 2, one=True), images, labels.numpy(), n_pairs=60)
    both = np.stack([labels.numpy()] * 2, 1)
    finding = lvlm_va.audit(Findings(), images, both, classes=["lump", "tag"], finding="tag", n_pairs=60)
    assert finding.class_names == ("no tag", "tag")
    for found in (one, finding):
        assert found.alarms
        assert tag_share(found, 1) > 0.5
        assert found.families[0].swaps.transplants == cheat.families[0].swaps.transplants


# So bright a tag changes the contrast of the image, too.
@pytest.mark.filterwarnings("ignore:The classifier follows the contrast")
def test_the_same_families_are_tried_before_and_after_alignment():
    images, labels, masks = scene()
    clf = LVLMVAClassifier(
        Reads(4, 8),
        critic=OracleCritic(masks),
        epochs=0,
        align_epochs=15,
        lr=0.05,
        n_align=80,
        batch_size=16,
        random_state=0,
    ).fit(images, labels)
    found = lvlm_va.audit(clf, images, n_pairs=60)
    first = found.families[0]
    assert tag_share(found, 1) > 0.5
    assert first.swaps.transplants.rate > 0.5
    assert first.after.transplants.rate < 0.1
    assert "after alignment" in str(found)


def test_a_dataset_and_a_sample_of_it():
    images, labels, _ = scene()
    dataset = torch.utils.data.TensorDataset(images, labels)
    found = lvlm_va.audit(Reads(10, 2), dataset, n_images=100, n_pairs=30)
    assert (found.n_images, found.accuracy) == (100, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b", "c"]}, "'classes' argument must name the 2 classes"),
        ({"finding": "tag"}, "'finding' argument must be None"),
        ({"y": np.arange(160) % 3}, "'classes' argument must name the 2 classes"),
        ({"y": np.array(["x", "y"] * 80), "classes": ["a", "b"]}, "'y' argument must hold the classes"),
        ({"n_pairs": 0}, "'n_pairs' argument"),
        ({"y": np.arange(200) % 2}, "'y' argument must hold a label for each of 160"),
        ({"model": Reads(0, 0)}, "at least two predicted classes"),
        ({"y": np.ones((160, 2), int), "finding": "x"}, "'finding' argument must say which"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    images, labels, _ = scene()
    given = {"model": Reads(10, 2), "X": images, "y": labels.numpy(), **changes}
    with pytest.raises(ValueError, match=message):
        lvlm_va.audit(given.pop("model"), given.pop("X"), given.pop("y"), **given)


def test_it_is_written_as_json_and_as_a_page(cheat, tmp_path):
    assert json.loads(json.dumps(cheat.to_json()))["families"][0]["alarming"] is True
    page = write_audit(cheat, tmp_path / "audit.html", title="A <b>tag</b>")
    text = page.read_text(encoding="utf-8")
    assert "A &lt;b&gt;tag&lt;/b&gt;" in text
    assert "It looks like it." in text
    assert text.count("<article") == min(12, len(cheat.families))
    with open_browser() as browser:
        browser.get(page.absolute().as_uri())
        for theme, width in (("light", 1440), ("dark", 400)):
            set_theme(browser, theme)
            set_size(browser, width, 900)
            assert accessibility_violations(browser) == []
            assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert browser.get_log("browser") == []


def test_an_estimator_has_its_own():
    images, labels, _ = scene()
    clf = LVLMVAClassifier(Reads(10, 2), epochs=0).fit(images, labels)
    with pytest.raises(ValueError, match="'classes' argument must be None"):
        lvlm_va.audit(clf, images, classes=["a", "b"])


def test_one_bright_pixel_late_leaves_whole_images_out_and_says_so(tmp_path):
    images, labels, _ = scene()
    images[-1, 0, -1, -1] = 1.2
    with pytest.warns(UserWarning, match="should hold images in"):
        found = lvlm_va.audit(Reads(10, 2), images, labels.numpy(), n_pairs=20)
    assert found.diffuse == ()
    assert "Whole images were not tried" in str(found)
    assert "Whole images were not tried" in write_audit(found, tmp_path / "a.html").read_text(
        encoding="utf-8"
    )


def test_the_same_image_many_times_is_no_error():
    images, labels, _ = scene(2)
    found = lvlm_va.audit(Reads(10, 2), images.repeat(80, 1, 1, 1), labels.repeat(80).numpy(), n_pairs=20)
    assert found.families
