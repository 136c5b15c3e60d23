"""The experiments and the demo, made small: what they write, and that they resume."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lvlm_va.critique import VerdictTable
from lvlm_va.experiments import demo
from lvlm_va.experiments.decoy import DIGITS, digits_loader, make_critic, run_decoy
from lvlm_va.experiments.evaluation import MEASURES, markdown_table

SMALL = replace(DIGITS, n_align=20, epochs=2, align_epochs=1)


def test_decoy_experiment_writes_per_seed_figures_and_resumes(tmp_path):
    lines = []
    metrics = run_decoy(digits_loader(), SMALL, seeds=2, out=tmp_path, echo=lines.append)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    for row in ("unaligned", "aligned", "ground_truth"):
        assert set(metrics[row]) == set(MEASURES)
        assert all(len(values) == 2 and all(0 <= v <= 1 for v in values) for values in metrics[row].values())
    assert lines[-1].count("\n|") == 5
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = run_decoy(digits_loader(), SMALL, seeds=2, out=tmp_path, echo=lines.append)
    assert again == metrics
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == files


def test_noisy_verdicts_are_extended(tmp_path):
    settings = replace(SMALL, critic="oracle", verdict_accuracy=0.8, propagate=40)
    metrics = run_decoy(digits_loader(), settings, seeds=1, out=tmp_path, echo=lambda line: None)
    assert metrics["settings"]["propagate"] == 40
    (path,) = tmp_path.glob("seed-0/propagate-*.npz")
    with np.load(path) as arrays:
        assert len(arrays["indices"]) == 40
    critiques = "".join(path.read_text() for path in tmp_path.glob("seed-0/critiques-*.jsonl"))
    assert "made wrong on purpose" in critiques


def test_unknown_critic():
    with pytest.raises(ValueError, match="'critic' argument must be one of.*Did you mean 'oracle'"):
        make_critic("orcale", digits_loader()("train", 0))


@pytest.mark.parametrize("name", ["tiny", "region"])
def test_only_true_masks_err_as_they_are_told(name):
    with pytest.raises(
        ValueError, match=f"'verdict_accuracy' argument must be 1 unless.*Got 0.7 for '{name}'"
    ):
        make_critic(name, digits_loader()("train", 0), verdict_accuracy=0.7)


def test_table_shows_means_and_deviations():
    text = markdown_table({"aligned": {name: [0.9, 1.0] for name in MEASURES}})
    assert text.splitlines()[-1] == "| aligned " + "| 0.950 ± 0.071 " * len(MEASURES) + "|"


class Links(HTMLParser):
    """Collect every address that a page would ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in {"src", "href"}]


def test_demo_writes_figures_picture_and_a_page_that_needs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DIGITS", SMALL)
    lines = []
    metrics = demo.run_demo(tmp_path, seed=0, echo=lines.append)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    for when in ("before", "after"):
        assert set(metrics[when]) == set(MEASURES)
    with Image.open(tmp_path / "before_after.png") as picture:
        assert picture.width > 500
    page = (tmp_path / "report.html").read_text()
    links = Links()
    links.feed(page)
    assert links.found
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links.found)
    assert f"{metrics['after']['accuracy']:.3f}" in page
    assert "worst group accuracy" in "\n".join(lines)

    (file,) = tmp_path.glob("verdicts-*.json")
    table = VerdictTable.load(file)
    corrected = table.replace([replace(verdict, verdict="unsure") for verdict in table.verdicts])
    corrected.save(tmp_path / "corrected.json")
    again = demo.run_demo(tmp_path, seed=0, verdicts=tmp_path / "corrected.json", echo=lines.append)
    assert again["before"] == metrics["before"]
    assert VerdictTable.load(file) == corrected
