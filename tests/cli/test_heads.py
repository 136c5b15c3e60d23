"""A net with one logit, which is a part of its output, from the command line."""

from __future__ import annotations

import json

import torch

from lvlm_va.report import read_run


def test_one_logit_within_a_dict(align, scans, lvlm_va, tmp_path):
    (scans / "onenet.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = nn.Sequential(nn.Flatten(), nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 1))\n"
        "    def forward(self, images):\n"
        "        return {'score': self.net(images)}\n"
    )
    options = ("--module", "onenet:Net", "--irrelevant", "corners")
    refused = align(tmp_path / "without", *options)
    assert refused.returncode != 0
    assert "name that part with 'output'" in refused.stderr
    done = align(tmp_path / "run", *options, "--output", "score")
    assert done.returncode == 0, done.stderr
    record = read_run(tmp_path / "run")
    assert record.class_names == ("ill", "well")
    assert record.outcome.probabilities_after.sum(1).allclose(record.outcome.probabilities_after.new_ones(12))
    assert 0 <= json.loads((tmp_path / "run" / "metrics.json").read_text())["after"]["accuracy"] <= 1
    out = tmp_path / "out"
    done = lvlm_va("export", tmp_path / "run", out, "--model", "torch-export", "--module", "onenet:Net")
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "model.json").read_text())["task"] == "binary"
    assert torch.export.load(out / "model.pt2").module()(torch.rand(3, 1, 16, 16)).shape == (3, 1)
