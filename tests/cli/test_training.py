"""Training as people do it, from the command line."""

from __future__ import annotations

from lvlm_va.report import read_run


def test_options_of_training(align, tmp_path):
    options = (
        "--module",
        "mynets:make_net",
        "--irrelevant",
        "corners",
        "--augment",
        "--class-weight",
        "balanced",
    )
    done = align(tmp_path / "run", *options, "--if-worse", "restore")
    assert done.returncode == 0, done.stderr
    found = read_run(tmp_path / "run").parameters
    assert found["if_worse"] == "restore"
    assert found["class_weight"] == "balanced"
    assert str(found["augment"]) == "Augmentation()"
    assert "critiqued (" in done.stdout
    refused = align(tmp_path / "other", *options[:4], "--if-worse", "ignore")
    assert refused.returncode != 0
    assert "if_worse" in refused.stderr
