"""The command line as a user meets it: real processes' exit codes, real files."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.torch import load_file

from lvlm_va import VerdictTable
from lvlm_va.experiments import decoy, table
from lvlm_va.ops import has_native


def test_help_teaches(lvlm_va):
    text = lvlm_va("--help").stdout
    assert all(word in text for word in ("demo", "align", "experiment", "info", "Exit codes"))
    assert "labels.csv" in lvlm_va("align", "--help").stdout


def test_info_says_what_is_compiled():
    done = subprocess.run([sys.executable, "-m", "lvlm_va", "info"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "torch" in done.stdout
    assert re.search(rf"^kernels +{'CPU' if has_native() else 'none'}", done.stdout, flags=re.MULTILINE)


def test_align_report_and_align_again_from_its_verdicts(align, lvlm_va, tmp_path):
    out = tmp_path / "run"
    done = align(out, "--irrelevant", "corners", "--describe", "ill=the bright bar, never the tag")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"before", "after", "verdicts", "seconds"} <= set(metrics)
    assert {"accuracy", "worst_group_accuracy", "average_group_accuracy"} <= set(metrics["after"])
    page = (out / "report.html").read_text()
    assert f"{metrics['after']['accuracy']:.3f}" in page
    assert "ill, no tag" in page
    (out / "report.html").unlink()
    assert lvlm_va("report", out).returncode == 0
    assert (out / "report.html").read_text() == page
    assert (out / "figures" / "groups.png").exists()
    assert set(load_file(out / "aligned.safetensors")) == {"1.weight", "1.bias", "3.weight", "3.bias"}
    (verdicts,) = out.glob("verdicts-*.json")
    table = VerdictTable.load(verdicts)
    assert table.specifications == {"ill": "the bright bar, never the tag"}
    assert table.verdicts[0].image_id.endswith(".png")

    again = align(tmp_path / "again", "--critic", f"table:{verdicts}")
    assert again.returncode == 0, again.stderr
    one, two = (load_file(folder / "aligned.safetensors") for folder in (out, tmp_path / "again"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_order_of_the_classes_is_named(align, tmp_path):
    out = tmp_path / "run"
    done = align(out, "--irrelevant", "corners", "--classes", "well, ill")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["identity"]["classes"] == ["well", "ill"]
    assert "Note: The weight lambda of the penalty rose to" in done.stdout
    refused = align(tmp_path / "other", "--irrelevant", "corners", "--classes", "well,il")
    assert refused.returncode == 2
    assert "'classes' argument" in refused.stderr


def test_explanations_are_cut_as_told(align, tmp_path):
    done = align(tmp_path / "run", "--irrelevant", "corners", "--segmenter", "a saw")
    assert done.returncode == 2
    assert "'segmenter' argument must be one of" in done.stderr
    done = align(tmp_path / "run", "--irrelevant", "corners", "--segmenter", "grid")
    assert done.returncode == 0, done.stderr


def test_trained_weights_are_loaded(align, tmp_path):
    assert align(tmp_path / "one", "--irrelevant", "corners").returncode == 0
    weights = tmp_path / "one" / "aligned.safetensors"
    done = align(
        tmp_path / "two", "--irrelevant", "corners", "--weights", weights, "--epochs", 0, "--align-epochs", 0
    )
    assert done.returncode == 0, done.stderr
    one, two = load_file(weights), load_file(tmp_path / "two" / "aligned.safetensors")
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_normalisation_is_named_or_read_beside_the_weights(align, tmp_path):
    named = align(tmp_path / "one", "--irrelevant", "corners", "--mean", 0.3, "--std", 0.25)
    assert named.returncode == 0, named.stderr
    assert set(load_file(tmp_path / "one" / "aligned.safetensors")) == {
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
    }
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "one" / "aligned.safetensors").rename(model / "model.safetensors")
    (model / "preprocessor_config.json").write_text('{"image_mean": [0.3], "image_std": [0.25]}')
    options = ("--irrelevant", "corners", "--epochs", 0, "--weights", model)
    read = align(tmp_path / "two", *options)
    assert read.returncode == 0, read.stderr
    assert f"normalised as {model} says: mean [0.3], std [0.25]" in read.stdout
    again = align(tmp_path / "three", *options, "--mean", 0.3, "--std", 0.25)
    assert "normalised as" not in again.stdout
    one, two = (load_file(tmp_path / name / "aligned.safetensors") for name in ("two", "three"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert json.loads((tmp_path / "two" / "latest.json").read_text())["parameters"]["preprocess"] == {
        "mean": [0.3],
        "std": [0.25],
    }


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ((), 2, "either a critic or regions"),
        (("--irrelevant", "cornres"), 2, "Did you mean 'corners'"),
        (("--critic", "table:nowhere.json"), 3, "nowhere.json"),
        (("--irrelevant", "corners", "--n-align", 99), 2, "'n_align' argument"),
        (("--irrelevant", "corners", "--describe", "ill"), 2, "NAME=TEXT"),
        (("--irrelevant", "corners", "--mean", "0.5"), 2, "give both"),
        (("--irrelevant", "corners", "--mean", "0.5;0.4", "--std", "0.2"), 2, "expected numbers such as"),
        (("--irrelevant", "corners", "--mean", "0.5,0.4", "--std", "0.2"), 2, "'preprocess' argument must"),
        (("--irrelevant", "corners", "--weights", "nowhere.safetensors"), 3, "nowhere.safetensors"),
    ],
)
def test_bad_arguments_have_their_exit_codes(align, tmp_path, more, code, message):
    done = align(tmp_path / "run", *more)
    assert done.returncode == code
    assert message in done.stderr


def test_folder_per_class_and_a_table_with_other_names(align, scans, tmp_path):
    for path in scans.glob("*.png"):
        folder = tmp_path / "knees" / ("ill" if int(path.stem) % 2 == 0 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    done = align(tmp_path / "a", "--irrelevant", "corners", "--table", "folders", data=tmp_path / "knees")
    assert done.returncode == 0, done.stderr
    text = (scans / "labels.csv").read_text().replace("path,label", "image,grade").replace(".png", "")
    (scans / "isic.csv").write_text(text)
    options = (
        "--table",
        "isic.csv",
        "--column",
        "path=image",
        "--column",
        "label=grade",
        "--extension",
        ".png",
    )
    done = align(tmp_path / "b", "--irrelevant", "corners", *options)
    assert done.returncode == 0, done.stderr
    assert "after: accuracy" in done.stdout


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_damaged_weights(align, tmp_path, name):
    (tmp_path / name).write_bytes(b"junk")
    done = align(tmp_path / "run", "--irrelevant", "corners", "--weights", tmp_path / name)
    assert done.returncode == 2
    assert "state_dict" in done.stderr


def test_built_in_net_without_training_is_refused(lvlm_va, scans, tmp_path):
    done = lvlm_va("align", scans, "--module", "cnn", "--irrelevant", "corners", "--out", tmp_path)
    assert done.returncode == 2
    assert "must be trained first" in done.stderr


def test_experiment_needs_its_data(lvlm_va, tmp_path):
    done = lvlm_va("experiment", "decoy-mnist", "--out", tmp_path)
    assert done.returncode == 2
    assert "--data-dir" in done.stderr
    done = lvlm_va("experiment", "decoy-mnist", "--out", tmp_path, "--data-dir", tmp_path)
    assert done.returncode == 3
    assert "train-images" in done.stderr


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("main", ["--propagate", "0"], "--propagate"),
        ("main", ["--variant", "ross"], "--variant"),
        ("lambda", ["--quick", "--data-dir", "mnist"], "--data-dir"),
        ("decoy-digits", ["--verdict-accuracy", "0.7"], "--verdict-accuracy"),
        ("decoy-digits", ["--critic", "region", "--verdict-accuracy", "1"], "--verdict-accuracy"),
        ("decoy-digits", ["--variant", "ross"], "--variant"),
        ("decoy-digits", ["--data-dir", "mnist"], "--data-dir"),
        ("decoy-digits", ["--quick"], "--quick"),
        ("decoy-mnist", ["--data-dir", "mnist", "--fashion-dir", "fashion"], "--fashion-dir"),
        ("decoy-mnist", ["--data-dir", "mnist", "--jobs", "-1"], "--jobs"),
        ("decoy-mnist", ["--data-dir", "mnist", "--method", "subg"], "--method"),
        ("decoy-fashion-mnist", ["--fashion-dir", "fashion", "--data-set", "decoy-digits"], "--data-set"),
    ],
)
def test_experiment_refuses_what_does_not_apply(lvlm_va, tmp_path, name, options, refused):
    done = lvlm_va("experiment", name, "--out", tmp_path / "run", *options)
    assert done.returncode == 2
    assert f"Invalid value for {refused}: " in done.stderr
    assert not (tmp_path / "run").exists()


def test_experiment_takes_what_applies(lvlm_va, tmp_path, monkeypatch):
    ran = {}
    monkeypatch.setattr(
        decoy, "run_decoy", lambda name, task, critiques, **others: ran.update(decoy=critiques)
    )
    monkeypatch.setattr(table, "run_comparison", lambda comparison, tasks, **others: ran.update(main=others))
    options = ["--critic", "oracle", "--verdict-accuracy", "0.7", "--propagate", "0"]
    assert lvlm_va("experiment", "decoy-digits", "--out", tmp_path, *options).returncode == 0
    assert (ran["decoy"].critic, ran["decoy"].verdict_accuracy, ran["decoy"].propagate) == ("oracle", 0.7, 0)
    assert ran["decoy"].n_align == decoy.DIGITS.n_align
    assert lvlm_va("experiment", "main", "--quick", "--jobs", "1", "--out", tmp_path).returncode == 0
    assert (ran["main"]["seeds"], ran["main"]["jobs"]) == (1, 1)
