"""The aligned net elsewhere: each format is loaded again, without this package, and says the same."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
)

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.comparison import ERMClassifier
from tests.estimator.test_named_nets import MEAN, STD, make_folder

MORE = np.random.default_rng(1).random((5, 1, 8, 8))


def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip


def fit(blobs, module=net, **parameters):
    defaults = {
        "critic": RegionCritic({"irrelevant": ["left"]}),
        "n_align": 6,
        "epochs": 1,
        "align_epochs": 1,
    }
    defaults |= {"random_state": 0, "preprocess": {"mean": 0.4, "std": 0.2}}
    return LVLMVAClassifier(module, **(defaults | parameters)).fit(blobs[0], np.array(["b", "a"])[blobs[1]])


def normalised(images):
    return (torch.from_numpy(images).float() - 0.4) / 0.2


def about(folder):
    return json.loads((folder / "model.json").read_bytes())


@pytest.mark.parametrize(("form", "read"), [("state-dict", torch.load), ("safetensors", load_file)])
def test_weights(blobs, tmp_path, form, read):
    clf = fit(blobs)
    file, module = clf.export_model(tmp_path, form), net()
    module.load_state_dict(read(file))
    with torch.no_grad():
        found = module.eval()(normalised(MORE)).softmax(1)
    np.testing.assert_allclose(found, clf.predict_proba(MORE), atol=1e-6)
    assert about(tmp_path) == {
        "format": form,
        "file": file.name,
        "task": "multiclass",
        "classes": ["a", "b"],
        "image_shape": [1, 8, 8],
        "dtype": "float32",
        "images": "in [0, 1], to be normalised by 'preprocess'",
        "preprocess": {"mean": [0.4], "std": [0.2]},
    }


@pytest.mark.parametrize("preprocess", [{"mean": 0.4, "std": 0.2}, None, lambda images: images.sqrt() + 1])
def test_a_graph_takes_images_in_0_1(blobs, tmp_path, preprocess):
    clf = fit(blobs, preprocess=preprocess, epochs=2)
    program = torch.export.load(clf.export_model(tmp_path, "torch-export"))
    for n in (1, 2, 5):
        logits = program.module()(torch.from_numpy(MORE[:n]).float())
        np.testing.assert_allclose(logits.detach().softmax(1), clf.predict_proba(MORE[:n]), atol=1e-6)
    assert ("normalises itself" in about(tmp_path)["images"]) == (preprocess is not None)


def test_onnx(blobs, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    clf = fit(blobs)
    session = runtime.InferenceSession(clf.export_model(tmp_path, "onnx"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.onnx"]
    for n in (1, 2, 5):
        (logits,) = session.run(["logits"], {"images": MORE[:n].astype(np.float32)})
        np.testing.assert_allclose(torch.tensor(logits).softmax(1), clf.predict_proba(MORE[:n]), atol=1e-5)
    swin = SwinConfig(num_channels=1, image_size=8, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2],
                      window_size=2)  # fmt: skip
    clf = fit(blobs, SwinForImageClassification(swin), critic=None, epochs=0)
    with pytest.raises(ValueError, match="that torch.onnx can convert; 'torch-export' needs less"):
        clf.export_model(tmp_path / "other", "onnx")
    assert not list((tmp_path / "other").glob("*"))


def test_onnx_s_packages_are_asked_for_first(blobs, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx and onnxscript: pip install 'lvlm-va\[onnx\]'"):
        fit(blobs).export_model(tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_a_transformers_folder_keeps_what_it_came_with(blobs, tmp_path):
    home = make_folder(tmp_path / "net", names=("b", "a"))
    said = {"image_mean": MEAN, "image_std": STD, "size": {"height": 8, "width": 8}, "of mine": True}
    (home / "preprocessor_config.json").write_text(json.dumps(said))
    clf = fit(blobs, f"hf:{home}", preprocess=None)
    folder = clf.export_model(tmp_path / "out", "transformers")
    assert json.loads((folder / "preprocessor_config.json").read_bytes()) == said
    module = AutoModelForImageClassification.from_pretrained(folder)
    assert module.config.id2label == {0: "b", 1: "a"}
    with torch.no_grad():
        logits = module((torch.from_numpy(MORE).float() - MEAN[0]) / STD[0]).logits
    np.testing.assert_allclose(logits.softmax(1), clf.predict_proba(MORE), atol=1e-6)
    again = LVLMVAClassifier(f"hf:{folder}", epochs=0, random_state=0)
    again.fit(blobs[0], np.array(["b", "a"])[blobs[1]])
    np.testing.assert_allclose(again.predict_proba(MORE), clf.predict_proba(MORE), atol=1e-6)


@pytest.mark.parametrize("preprocess", [None, {"mean": 0.4, "std": 0.2}])
def test_a_transformers_folder_says_how_images_were_normalised(blobs, tmp_path, preprocess):
    config = ResNetConfig(num_channels=3, embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    module, X = ResNetForImageClassification(config), np.repeat(blobs[0], 3, 1)
    clf = fit((X, blobs[1]), module, preprocess=preprocess)
    folder = clf.export_model(tmp_path, "transformers")
    assert module.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert clf.module_.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 3, 8, 8), np.uint8)
    given = processor(list(pixels), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    with torch.no_grad():
        logits = AutoModelForImageClassification.from_pretrained(folder)(given).logits
    np.testing.assert_allclose(logits.softmax(1), clf.predict_proba(pixels), atol=1e-5)


class Moody(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, images):
        return self.net(images if images.mean() > 0 else -images)


@pytest.mark.parametrize(
    ("module", "more", "form", "says"),
    [
        (net, {}, "pickle", "'format' argument must be one of"),
        (net, {}, "transformers", "needs a net of transformers'. Got Sequential"),
        (Moody, {}, "torch-export", "that torch.export can trace"),
    ],
)
def test_what_cannot_be_written(blobs, tmp_path, module, more, form, says):
    with pytest.raises(ValueError, match=says):
        fit(blobs, module, **more).export_model(tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


# Torch's own, of what it compiles behind a normalisation.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_net_that_was_compiled(blobs, tmp_path):
    module = net()
    plain = fit(blobs, module)
    for number, compiled in enumerate((torch.compile(module, backend="eager"), module)):
        if compiled is module:
            module.compile(backend="eager")
        clf = fit(blobs, compiled)
        np.testing.assert_allclose(clf.predict_proba(MORE), plain.predict_proba(MORE), atol=1e-6)
        fresh = net()
        fresh.load_state_dict(load_file(clf.export_model(tmp_path / str(number), "safetensors")))
        program = torch.export.load(clf.export_model(tmp_path / str(number), "torch-export"))
        logits = program.module()(torch.from_numpy(MORE).float())
        np.testing.assert_allclose(logits.detach().softmax(1), plain.predict_proba(MORE), atol=1e-6)


def test_copies_and_rivals_export_too(blobs, tmp_path):
    clf = pickle.loads(pickle.dumps(fit(blobs, "mlp")))
    np.testing.assert_array_equal(np.load(clf.export_masks(tmp_path, "npy")), clf.masks_)
    rival = ERMClassifier("mlp", epochs=1, random_state=0).fit(*blobs)
    assert load_file(rival.export_model(tmp_path)).keys() == rival.module_.state_dict().keys()


def test_masks_of_all_origins(blobs, tmp_path):
    drawn = {"irrelevant": {0: np.eye(8), "59": np.eye(8)}}
    clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["left"]}), n_align=6, epochs=1, align_epochs=1,
                           propagate=20, random_state=0).fit(*blobs, masks=drawn)  # fmt: skip
    found = json.loads(clf.export_masks(tmp_path, "coco").read_bytes())
    marked = clf.alignment_data_.rows[clf.alignment_data_.marked].tolist()
    assert sorted(mark["image_id"] for mark in found["annotations"]) == marked
    origins = {mark["image_id"]: mark["attributes"]["origin"] for mark in found["annotations"]}
    assert {origins[0], origins[59]} == {"person"}
    assert set(origins.values()) == {"person", "propagated"}
    with pytest.raises(ValueError, match="must be given for there to be masks"):
        LVLMVAClassifier("mlp", epochs=1, random_state=0).fit(*blobs).export_masks(tmp_path)
