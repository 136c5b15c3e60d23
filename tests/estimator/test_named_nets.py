"""Nets by name: folders of transformers and timm, read with all that they say of themselves."""

from __future__ import annotations

import json
import shutil
import socket

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.modules.preprocessed import Normalisation, Preprocessed

MEAN, STD = [0.4], [0.2]


def make_folder(home, names=("well", "ill"), kind=ResNetForImageClassification):
    """Save a net that is right on bright left and right halves, whose logits are not in sorted order."""
    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic",
        id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)},
    )  # fmt: skip
    torch.manual_seed(0)
    kind(config).save_pretrained(home)
    (home / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return home


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "net")


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.random((40, 1, 16, 16)).astype(np.float32)


def by_hand(folder, images):
    net = ResNetForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = net((torch.from_numpy(images) - MEAN[0]) / STD[0]).logits
    return logits.softmax(1).numpy()


def test_a_transformers_folder_says_it_all(folder, images, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)
    expected = by_hand(folder, images)
    y = np.array(["well", "ill"])[expected.argmax(1)]
    y[:2] = ["well", "ill"]
    clf = LVLMVAClassifier(f"hf:{folder}", epochs=0, random_state=0).fit(images, y)
    assert clf.classes_.tolist() == ["well", "ill"]
    assert isinstance(clf.preprocess_, Normalisation)
    assert not isinstance(clf.module_, Preprocessed)
    shutil.rmtree(folder)
    np.testing.assert_allclose(clf.predict_proba(images), expected, atol=1e-6)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        clf.predict((images - MEAN[0]) / STD[0])


def test_what_the_user_says_of_normalisation_comes_first(folder, images):
    clf = LVLMVAClassifier(f"hf:{folder}", epochs=0, preprocess={"mean": 0.0, "std": 1.0}, random_state=0)
    clf.fit(images, np.arange(40) % 2)
    np.testing.assert_allclose(
        clf.predict_proba(images), by_hand(folder, images * STD[0] + MEAN[0]), atol=1e-6
    )


def test_it_is_aligned_as_the_module_itself(folder, images):
    y = np.arange(40) % 2
    shared = {"epochs": 1, "n_align": 4, "align_epochs": 1, "random_state": 0, "n_references": 2}
    shared["critic"] = RegionCritic({"irrelevant": ["corners"]})
    named = LVLMVAClassifier(f"hf:{folder}", **shared).fit(images, y)
    module = ResNetForImageClassification.from_pretrained(folder)
    given = LVLMVAClassifier(module, preprocess={"mean": MEAN, "std": STD}, **shared).fit(images, y)
    for name, value in named.module_.state_dict().items():
        assert torch.equal(value, given.module_.state_dict()[name]), name


def test_standardised_images_are_refused(folder, images):
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        LVLMVAClassifier(f"hf:{folder}", epochs=0).fit((images - 0.4) / 0.2, np.arange(40) % 2)


def test_an_order_that_does_not_fit_is_found(folder, images):
    y = np.array(["ill", "well"])[by_hand(folder, images).argmax(1)]
    images, y = np.tile(images, (3, 1, 1, 1)), np.tile(y, 3)
    assert len(set(y)) == 2
    with pytest.raises(ValueError, match="'classes'"):
        LVLMVAClassifier(f"hf:{folder}", epochs=0).fit(images, y)


def without_head(home):
    make_folder(home, kind=ResNetModel)


def without_weights(home):
    (make_folder(home) / "model.safetensors").unlink()


def without_normalisation(home):
    (make_folder(home) / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda home: None, "no folder .* nothing is downloaded"),
        (lambda home: home.mkdir(), "how images are normalised"),
        (without_normalisation, "how images are normalised"),
        (without_head, "Got none for classifier.1.bias, classifier.1.weight"),
        (without_weights, "with an image classifier"),
        (lambda home: make_folder(home, ["LABEL_0", "LABEL_1", "LABEL_2"]), "one logit per class"),
    ],
)
def test_folders_that_hold_no_classifier(tmp_path, images, monkeypatch, spoil, says):
    monkeypatch.setattr(socket.socket, "connect", None)
    spoil(tmp_path / "net")
    with pytest.raises(ValueError, match=f"'module' argument.*(?:{says})"):
        LVLMVAClassifier(f"hf:{tmp_path / 'net'}", epochs=0).fit(images, np.arange(40) % 2)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:microsoft/resnet-18", "no folder 'microsoft/resnet-18'"),
        ("timm:hf-hub:timm/resnet18.a1_in1k", "no folder"),
        ("hf", "Did you mean|'hf:FOLDER'"),
    ],
)
def test_names_of_a_hub_are_refused(images, monkeypatch, name, says):
    monkeypatch.setattr(socket.socket, "connect", None)
    with pytest.raises(ValueError, match=says):
        LVLMVAClassifier(name).fit(images, np.arange(40) % 2)


@pytest.mark.parametrize(
    "code", ["raise ImportError('No module named torchvision')", "raise RuntimeError('nms')"]
)
def test_a_timm_that_does_not_work_is_said(images, tmp_path, monkeypatch, code):
    (tmp_path / "timm.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "timm", raising=False)
    with pytest.raises(
        ImportError, match=r"needs timm, .* torchvision .*lvlm-va\[timm\].*raised: (No module|nms)"
    ):
        LVLMVAClassifier("timm:resnet18").fit(images, np.arange(40) % 2)


@pytest.fixture
def timm():
    try:
        import timm
    except (ImportError, RuntimeError):
        pytest.skip("needs timm, and a torchvision that fits")
    return timm


def test_nets_of_timm(timm, images, tmp_path):
    y = np.arange(40) % 2
    clf = LVLMVAClassifier("timm:test_resnet", epochs=1, random_state=0).fit(images, y)
    assert clf.preprocess_ is None
    from timm.models import save_for_hf

    net = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    save_for_hf(net, tmp_path / "net", safe_serialization=True)
    saved = LVLMVAClassifier(f"timm:{tmp_path / 'net'}", epochs=0, random_state=0).fit(images, y)
    with torch.no_grad():
        expected = net.eval()((torch.from_numpy(images) - 0.5) / 0.5).softmax(1)
    np.testing.assert_allclose(saved.predict_proba(images), expected, atol=1e-5)
    for name, says in (
        ("resnet18.a1_in1k", "nothing is downloaded"),
        ("resnet81", "Did you mean 'timm:resnet18'"),
    ):
        with pytest.raises(ValueError, match=says):
            LVLMVAClassifier(f"timm:{name}").fit(images, y)


def test_on_the_command_line(folder, lvlm_va, scans, tmp_path):
    def align(module, out, *more):
        return lvlm_va(
            "align", scans, "--module", module, "--image-size", 16, 16, "--grey", "--n-align", 12, "--irrelevant",
            "corners", "--align-epochs", 1, "--out", tmp_path / out, *more,
        )  # fmt: skip

    done = align(f"hf:{folder}", "run", "--classes", "well,ill")
    assert done.returncode == 0, done.stderr
    assert f"Images are normalised as {folder} says: mean [0.4], std [0.2]" in done.stdout
    assert align("hf:microsoft/resnet-18", "other").returncode == 2
    assert "must be trained first" in align("timm:resnet18", "other").stderr
    weights = align(f"hf:{shutil.copytree(folder, tmp_path / 'copy')}", "other", "--weights", folder)
    assert "weights need" in weights.stderr
