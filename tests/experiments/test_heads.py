"""The comparison of heads, on few images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from lvlm_va.datasets import tagged_radiographs
from lvlm_va.experiments import heads
from lvlm_va.experiments.tasks import TrainingSettings, make_tasks


def test_every_head_is_measured_and_found_again(monkeypatch, tmp_path):
    def small(**_):
        task = make_tasks(quick=True, mnist=None, fashion=None)["tagged-radiographs"]
        settings = TrainingSettings("mlp", 1, 1, batch_size=16, n_references=2)
        load = lambda split, seed: tagged_radiographs(split, n=40, size=32, seed=seed)  # noqa: E731
        return {"tagged-radiographs": replace(task, load=load, settings=settings, n_align=6)}

    monkeypatch.setattr(heads, "make_tasks", small)
    lines = []
    first = heads.run_heads(quick=True, seeds=1, out=tmp_path, echo=lines.append)
    assert {head: set(rows[0]) for head, rows in first.items()} == {
        "two_logits": {"worst_group_before", "worst_group_after"},
        "one_logit": {"worst_group_before", "worst_group_after"},
        "two_findings": {"worst_group_before", "worst_group_after", "effusion_before", "effusion_after"},
    }
    assert heads.run_heads(quick=True, seeds=1, out=tmp_path, echo=lines.append) == first
    assert json.loads((tmp_path / "metrics.json").read_text())["heads"] == first


def test_a_swelling_tells_of_itself_alone():
    data = tagged_radiographs("train", n=200, size=32)
    images, present = heads.with_effusion(data, 0)
    assert present.sum() == 100
    assert abs(np.corrcoef(present, data.labels)[0, 1]) < 0.2
    added = (images - data.images).mean((1, 2, 3))
    assert added[present == 1].mean() > 2 * added[present == 0].mean()
    assert images.max() <= 1
