"""Several findings per image, from the table on the command line to report and export."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from lvlm_va.cli.app import app
from lvlm_va.cli.values import finding_values
from lvlm_va.report import read_run

OPTIONS = (
    "--module", "mynets:make_net", "--irrelevant", "corners", "--finding", "ill", "--finding", "dark",
    "--finding-value", "-1=0", "--describe", "ill=The centre counts.",
)  # fmt: skip


@pytest.fixture(scope="module")
def radiographs(scans, tmp_path_factory):
    """The scans with two findings: one is the class, the other, written as CheXpert does, tells of a dark half."""
    root = tmp_path_factory.mktemp("findings")
    lines = ["path,split,ill,dark"]
    for i, line in enumerate((scans / "labels.csv").read_text().splitlines()[1:]):
        name, label, split = line.split(",")[:3]
        pixels = np.asarray(Image.open(scans / name)).copy()
        dark = i % 3 == 0
        if dark:
            pixels[12:] = 0
        Image.fromarray(pixels).save(root / name)
        split = "val" if 30 <= i < 36 else split
        lines.append(f"{name},{split},{int(label == 'ill')},{1 if dark else -1}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    (root / "mynets.py").write_text((scans / "mynets.py").read_text())
    return root


def test_findings_from_the_table_to_report_and_export(align, radiographs, lvlm_va, tmp_path):
    run = tmp_path / "run"
    done = align(run, *OPTIONS, "--early-stopping", 0.25, "--propagate", 40, data=radiographs)
    assert done.returncode == 0, done.stderr
    assert "Used for early stopping: 6 images for validation." in done.stdout
    assert "no dark" in done.stdout
    record = read_run(run)
    assert record.class_names == ("no ill", "ill", "no dark", "dark")
    assert {name.split(" | ")[1] for name in record.image_ids} == {"ill", "dark"}
    assert record.verdicts.specifications["ill"] == "The centre counts."
    assert (record.parameters["early_stopping"], record.parameters["validation_fraction"]) == (True, 0.25)
    assert record.propagated["n_images"] == 40
    assert 0 <= json.loads((run / "metrics.json").read_text())["after"]["accuracy"] <= 1
    assert "no dark" in (run / "report.html").read_text()

    out = tmp_path / "out"
    exported = lvlm_va(
        "export", run, out, "--masks", "npy", "--verdicts", "csv", "--model", "torch-export",
        "--module", "mynets:make_net",
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    about = json.loads((out / "model.json").read_text())
    assert (about["task"], about["classes"]) == ("multilabel", ["ill", "dark"])
    assert np.load(out / "masks.npy").shape == (40, 16, 16)
    assert torch.export.load(out / "model.pt2").module()(torch.rand(3, 1, 16, 16)).shape == (3, 2)


def test_drawn_masks_hold_for_every_finding(align, radiographs, tmp_path):
    drawn = np.zeros((16, 16), np.uint8)
    drawn[:3, :3] = 255
    (tmp_path / "drawn").mkdir()
    for i in range(4):
        Image.fromarray(drawn).save(tmp_path / "drawn" / f"{i}.png")
    options = (*OPTIONS[:2], *OPTIONS[4:10])
    done = align(tmp_path / "run", *options, "--masks", tmp_path / "drawn", data=radiographs)
    assert done.returncode == 0, done.stderr
    assert "Left out: 6 images for validation." in done.stdout
    assert json.loads((tmp_path / "run" / "latest.json").read_text())["n_drawn_masks"] == 8
    refused = align(tmp_path / "other", *options, "--relevant-masks", tmp_path / "drawn", data=radiographs)
    assert refused.returncode == 2
    assert "Masks of what should count must say for which finding" in refused.stderr


def test_what_does_not_go_with_findings(tmp_path):
    assert finding_values(["blank=1", "-1=0"]) == {"": 1, "-1": 0}
    with pytest.raises(typer.BadParameter, match="expected CELL=0 or CELL=1, got '2'"):
        finding_values(["blank=2"])
    found = CliRunner().invoke(
        app,
        [
            "align",
            str(tmp_path),
            *OPTIONS,
            "--classes",
            "a,b",
            "--out",
            str(tmp_path / "run"),
            "--epochs",
            "1",
        ],
    )
    assert found.exit_code == 2
    assert "the findings are named by --finding" in found.output
