"""What a notebook shows below an estimator: what was found, and where a run stands that has not ended."""

import copy

import pytest

from lvlm_va import LVLMVAClassifier, OracleCritic, RegionCritic, exam
from lvlm_va.datasets import decoy_digits


def shown(clf):
    return clf._repr_mimebundle_()["text/html"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_state_of_a_fit(digits, tmp_path):
    clf = LVLMVAClassifier(
        "mlp",
        critic=OracleCritic(digits.masks),
        n_align=20,
        epochs=2,
        align_epochs=2,
        random_state=0,
        run_dir=tmp_path,
    )
    assert "Run directory" not in shown(clf)
    clf.fit(digits.images, digits.labels)
    page = shown(clf)
    counts = clf.verdicts_.counts()
    assert f"20 images; segments: {counts['spurious']} spurious, {counts['relevant']} relevant" in page
    assert f"{clf.spurious_share_[0]:.0%}" in page
    accuracy = clf.aligned_.comparison.accuracy
    assert f"{accuracy.before} and {accuracy.after} of {accuracy.n}" in page
    assert str(tmp_path) in page
    assert page.count("<li>") >= len(clf.remarks_)
    assert "Fitted" in shown(copy.deepcopy(clf))


def test_the_state_of_a_run_that_was_stopped(digits, tmp_path):
    class Stops:
        name = "stops"

        def critique(self, requests):
            raise KeyboardInterrupt

        def fingerprint(self):
            return "stops"

    clf = LVLMVAClassifier("mlp", critic=Stops(), n_align=8, epochs=3, random_state=0, run_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt) as stopped:
        clf.fit(digits.images, digits.labels)
    assert str(tmp_path) in stopped.value.__notes__[0]
    page = shown(LVLMVAClassifier(run_dir=tmp_path))
    assert "3 of 3 epochs" in page
    assert "cut into segments" in page
    assert "critiqued" not in page
    (checkpoint,) = tmp_path.glob("train-*.safetensors")
    checkpoint.write_bytes(b"no checkpoint")
    assert "damaged" in shown(LVLMVAClassifier(run_dir=tmp_path))


def test_plain_training_and_an_exam():
    train = decoy_digits("train")
    clf = LVLMVAClassifier("mlp", epochs=1, random_state=0).fit(train.images[:60], train.labels[:60])
    assert "60 images: 0, 1, 2" in shown(clf)
    result = exam(RegionCritic({"irrelevant": ["corners"]}), sets=["digits"], n_images=2)
    assert f"{result.sets['digits'].grade.recall:.3f}" in result._repr_html_()
