"""The experiments and the demo, made small: what they write, and that they resume."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lvlm_va.common.threads import one_thread
from lvlm_va.critique import TinyCritic, VerdictTable
from lvlm_va.estimator import LVLMVAClassifier
from lvlm_va.experiments import demo
from lvlm_va.experiments.critics import critic_maker
from lvlm_va.experiments.decoy import DIGITS, run_decoy
from lvlm_va.experiments.evaluation import evaluate
from lvlm_va.experiments.methods import estimator_parameters
from lvlm_va.experiments.table import markdown
from lvlm_va.experiments.tasks import DECOY_DIGITS
from lvlm_va.report.measures import MEASURES

SMALL = replace(DECOY_DIGITS, n_align=20, settings=replace(DECOY_DIGITS.settings, epochs=2, align_epochs=1))
FEW = replace(DIGITS, n_align=20)
BESIDES = {"worst_group_gain", "average_group_gain", "n_critiqued", "seconds", "core_seconds"}
FOUND = {"spurious_images", "spurious_effect", "purity", "masked"}


def test_decoy_experiment_writes_per_seed_figures_and_resumes(tmp_path):
    lines = []
    metrics = run_decoy("decoy-digits", SMALL, FEW, seeds=2, out=tmp_path, echo=lines.append)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert list(metrics["decoy-digits"]) == ["unaligned", "aligned", "ground_truth"]
    for name, rows in metrics["decoy-digits"].items():
        assert len(rows) == 2
        for row in rows:
            assert set(row) == set(MEASURES) | BESIDES | (FOUND if name == "aligned" else set())
            assert all(0 <= row[measure] <= 1 for measure in MEASURES)
    assert lines[-1].count("\n|") == 5
    assert (tmp_path / "table.md").read_text().strip() == lines[-1].strip()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(files) == 2
    again = run_decoy("decoy-digits", SMALL, FEW, seeds=2, out=tmp_path, echo=lines.append)
    assert again == metrics
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == files


def test_decoy_figures_are_those_of_the_estimator(tmp_path):
    """Both nets, and the references that attributions are measured against."""
    (rows,) = run_decoy("decoy-digits", SMALL, FEW, seeds=1, out=tmp_path, echo=lambda line: None).values()
    data, test = SMALL.load("train", 0), SMALL.load("test", 0)
    parameters = estimator_parameters(SMALL) | {"critic": TinyCritic()}
    with one_thread():
        fitted = LVLMVAClassifier(**parameters, random_state=0).fit(data.images, data.labels)
        for name, module in (("unaligned", fitted.unaligned_module_), ("aligned", fitted.module_)):
            figures = evaluate(module, test, fitted.references_).figures()
            assert figures == {measure: rows[name][0][measure] for measure in MEASURES}


def test_noisy_verdicts_are_extended(tmp_path):
    critiques = replace(FEW, critic="oracle", verdict_accuracy=0.8, propagate=40)
    run_decoy("decoy-digits", SMALL, critiques, seeds=1, out=tmp_path, echo=lambda line: None)
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["settings"] == asdict(critiques)
    assert about["data_sets"]["decoy-digits"]["propagate"] == 40
    (path,) = tmp_path.glob("seed-0/propagate-*.npz")
    with np.load(path) as arrays:
        assert len(arrays["indices"]) == 40
    critiques = "".join(path.read_text() for path in tmp_path.glob("seed-0/critiques-*.jsonl"))
    assert "made wrong on purpose" in critiques


def test_unknown_critic():
    with pytest.raises(ValueError, match="'critic' argument must be one of.*Did you mean 'oracle'"):
        critic_maker("orcale")


@pytest.mark.parametrize("name", ["tiny", "region"])
def test_only_true_masks_err_as_they_are_told(name):
    with pytest.raises(
        ValueError, match=f"'verdict_accuracy' argument must be 1 unless.*Got 0.7 for '{name}'"
    ):
        critic_maker(name, verdict_accuracy=0.7)


def test_table_shows_means_and_deviations():
    text = markdown({"aligned": [dict.fromkeys(MEASURES, value) for value in (0.9, 1.0)]}, MEASURES)
    assert text.splitlines()[-1] == "| aligned " + "| 0.950 ± 0.071 " * len(MEASURES) + "|"


class Links(HTMLParser):
    """Collect every address that a page would ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in {"src", "href"}]


def test_demo_writes_figures_picture_and_a_page_that_needs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DECOY_DIGITS", SMALL)
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
    assert all(
        link.startswith(("data:image/png;base64,", "data:image/webp;base64,", "#")) for link in links.found
    )
    assert f"{metrics['after']['accuracy']:.3f}" in page
    assert "worst group accuracy" in "\n".join(lines)

    (file,) = tmp_path.glob("verdicts-*.json")
    table = VerdictTable.load(file)
    corrected = table.replace([replace(verdict, verdict="unsure", content="") for verdict in table.verdicts])
    corrected.save(tmp_path / "corrected.json")
    again = demo.run_demo(tmp_path, seed=0, verdicts=tmp_path / "corrected.json", echo=lines.append)
    assert again["before"] == metrics["before"]
    assert VerdictTable.load(file).counts() == corrected.counts()
