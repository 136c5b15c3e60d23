"""``lvlm-va export``: what a run directory holds, in other formats."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lvlm_va import LVLMVAClassifier, RegionCritic
from lvlm_va.experiments.export_run import export_run
from lvlm_va.modules.build import build_module
from lvlm_va.rounds.comparison import Comparison
from tests.estimator.test_named_nets import make_folder

IDS = [f"ward {i % 2}/{i}.jpg" for i in range(60)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a normalisation and a drawn mask, and its estimator."""
    home = tmp_path_factory.mktemp("exported")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.uniform(0, 1, (60, 1, 8, 8))
    clf = LVLMVAClassifier(
        "cnn", critic=RegionCritic({"irrelevant": ["left"]}), n_align=6, epochs=1, align_epochs=1, random_state=0,
        run_dir=home / "run", preprocess={"mean": 0.4, "std": 0.2},
    )  # fmt: skip
    return clf.fit(X, y, image_ids=IDS, masks={"irrelevant": {59: np.eye(8)}}), home / "run", X


def test_masks_and_verdicts_are_the_estimator_s(run, lvlm_va, tmp_path):
    clf, folder, _ = run
    done = lvlm_va(
        "export", folder, tmp_path / "out", "--masks", "png", "--verdicts", "csv", "--model", "safetensors"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Written: ") == 3
    for row, mask in zip(clf.alignment_set_, clf.masks_, strict=True):
        found = np.asarray(Image.open((tmp_path / "out" / "masks" / IDS[row]).with_suffix(".png")))
        np.testing.assert_array_equal(found == 255, mask)
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "ward 1" / "59.png")).sum() == 8 * 255
    rows = list(csv.DictReader((tmp_path / "out" / "verdicts.csv").read_text("utf-8").splitlines()))
    assert [(row["image_id"], int(row["segment"]), row["verdict"]) for row in rows] == [
        (verdict.image_id, verdict.segment, verdict.verdict) for verdict in clf.verdicts_.verdicts
    ]
    state = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in clf.module_.state_dict().items())


@pytest.mark.parametrize("form", ["npy", "coco"])
def test_a_run_directory_and_its_estimator_export_the_same(run, tmp_path, form):
    clf, folder, _ = run
    (one,) = export_run(folder, tmp_path / "one", masks=form)
    other = clf.export_masks(tmp_path / "other", form)
    assert one.read_bytes() == other.read_bytes()


def test_a_graph_of_a_run(run, lvlm_va, tmp_path):
    clf, folder, X = run
    done = lvlm_va("export", folder, tmp_path, "--model", "torch-export", "--module", "cnn")
    assert done.returncode == 0, done.stderr
    logits = torch.export.load(tmp_path / "model.pt2").module()(torch.from_numpy(X[:3]).float())
    np.testing.assert_allclose(logits.detach().softmax(1), clf.predict_proba(X[:3]), atol=1e-6)
    facts = json.loads((tmp_path / "model.json").read_bytes())
    assert (facts["classes"], facts["preprocess"]) == (["0", "1"], {"mean": [0.4], "std": [0.2]})


def test_a_graph_of_a_run_of_the_command_line(align, lvlm_va, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(255 * np.eye(16, dtype=np.uint8)).save(tmp_path / "masks" / "2.png")
    run = ("--mean", 0.3, "--std", 0.3)
    assert align(tmp_path / "run", "--masks", tmp_path / "masks", *run).returncode == 0
    arguments = ("export", tmp_path / "run", tmp_path / "out", "--masks", "coco", "--model", "torch-export")
    done = lvlm_va(*arguments, "--module", "mynets:make_net")
    assert done.returncode == 0, done.stderr
    (mark,) = json.loads((tmp_path / "out" / "masks.json").read_bytes())["annotations"]
    assert (mark["area"], mark["attributes"]) == (16, {"origin": "person"})
    net = build_module(__import__("mynets").make_net, (1, 16, 16), 2, seed=0, default_dtype=torch.float32)
    net.load_state_dict(load_file(tmp_path / "run" / "aligned.safetensors"))
    X = torch.rand(3, 1, 16, 16)
    found = torch.export.load(tmp_path / "out" / "model.pt2").module()(X)
    torch.testing.assert_close(found, net((X - 0.3) / 0.3))
    refused = lvlm_va("export", tmp_path / "run", tmp_path / "out", "--verdicts", "csv")
    assert refused.returncode == 2
    assert "without a critic" in refused.stderr


def test_a_transformers_folder_of_a_run(blobs, lvlm_va, tmp_path):
    home = make_folder(tmp_path / "net", names=("0", "1"))
    clf = LVLMVAClassifier(f"hf:{home}", critic=RegionCritic({"irrelevant": ["left"]}), n_align=6, epochs=1,
                           align_epochs=1, random_state=0, run_dir=tmp_path / "run").fit(*blobs)  # fmt: skip
    done = lvlm_va("export", tmp_path / "run", tmp_path, "--model", "transformers", "--module", f"hf:{home}")
    assert done.returncode == 0, done.stderr
    again = LVLMVAClassifier(f"hf:{tmp_path / 'model'}", epochs=0, random_state=0).fit(*blobs)
    np.testing.assert_allclose(again.predict_proba(blobs[0]), clf.predict_proba(blobs[0]), atol=1e-6)
    assert (tmp_path / "model" / "preprocessor_config.json").read_text() == (
        home / "preprocessor_config.json"
    ).read_text()


def test_a_run_without_images_and_of_several_rounds(blobs, tmp_path):
    clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["left"]}), n_align=5, n_rounds=2, epochs=1,
                           round_tolerance=0, align_epochs=1, early_stopping=True, propagate=30, keep_images=False,
                           random_state=0, run_dir=tmp_path / "run").fit(*blobs)  # fmt: skip
    masks, model = export_run(tmp_path / "run", tmp_path / "out", masks="npy", model="state-dict")[::-1]
    assert len(np.load(masks)) == 30
    state = torch.load(model)
    assert all(torch.equal(value, state[name]) for name, value in clf.module_.state_dict().items())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "Say what to export"),
        ({"masks": "gif"}, "'masks' argument must be one of"),
        ({"verdicts": "xlsx"}, "'verdicts' argument must be one of"),
        ({"model": "onx"}, "Did you mean 'onnx'"),
        ({"model": "torch-export"}, "name the net with 'module'"),
        ({"model": "torch-export", "module": "mlp"}, "must be the net of this run"),
        ({"model": "transformers", "module": "cnn"}, "needs a net of transformers'"),
    ],
)
def test_what_cannot_be_exported(run, tmp_path, asked, says):
    with pytest.raises(ValueError, match=says):
        export_run(run[1], tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_folders_without_an_aligned_net(blobs, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        export_run(tmp_path / "run", tmp_path, model="safetensors")
    make = {"epochs": 1, "random_state": 0, "n_align": 6, "run_dir": tmp_path / "run"}
    LVLMVAClassifier("mlp", **make).fit(*blobs)
    with pytest.raises(ValueError, match="holds no align of an aligned net"):
        export_run(tmp_path / "run", tmp_path, model="safetensors")
    critic = RegionCritic({"irrelevant": ["left"]})
    LVLMVAClassifier("mlp", critic=critic, align_epochs=0, **make).fit(*blobs)
    with pytest.raises(ValueError, match="align_epochs=0"):
        export_run(tmp_path / "run", tmp_path, model="safetensors")


def centred(images):
    return 2 * images - 1


def test_a_normalisation_by_a_function_needs_python(blobs, tmp_path):
    clf = LVLMVAClassifier("mlp", critic=RegionCritic({"irrelevant": ["left"]}), n_align=6, epochs=1, align_epochs=1,
                           preprocess=centred, random_state=0, run_dir=tmp_path / "run").fit(*blobs)  # fmt: skip
    with pytest.raises(ValueError, match=r"by a function, centred, .* clf.export_model"):
        export_run(tmp_path / "run", tmp_path, model="torch-export", module="mlp")
    (file,) = export_run(tmp_path / "run", tmp_path, model="safetensors")
    assert load_file(file).keys() == clf.module_.state_dict().keys()


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_net_that_was_restored(blobs, tmp_path, monkeypatch, epochs):
    monkeypatch.setattr(Comparison, "is_worse", True)
    clf = LVLMVAClassifier(
        build_module("mlp", (1, 8, 8), 2, seed=0, default_dtype=torch.float32), epochs=epochs, align_epochs=1,
        critic=RegionCritic({"irrelevant": ["left"]}), n_align=6, if_worse="restore", random_state=0,
        run_dir=tmp_path / "run",
    ).fit(*blobs)  # fmt: skip
    if epochs:
        (file,) = export_run(tmp_path / "run", tmp_path / "out", model="safetensors")
        state = load_file(file)
        assert all(torch.equal(value, state[name]) for name, value in clf.module_.state_dict().items())
    else:
        with pytest.raises(ValueError, match="those that fit was given"):
            export_run(tmp_path / "run", tmp_path / "out", model="safetensors")
