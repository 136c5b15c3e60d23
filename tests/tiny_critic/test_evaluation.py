"""The figures of the model card: what is counted, and what the command prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lvlm_va.backends import ChatReply
from lvlm_va.critique import TinyCritic
from tests.backends.inner import Inner
from tools.tiny_critic import evaluation
from tools.tiny_critic.__main__ import app
from tools.tiny_critic.evaluation import evaluate_tiny_critic
from tools.tiny_critic.real_segments import ideal_segments, straddling_segments
from tools.tiny_critic.templates import HELD_OUT, TRAINED

ALWAYS = "Segment covers the patch. Answer: artefact"
HEADLINES = ["verdict_accuracy", "reversed_accuracy", "demo_accuracy", "demo_oracle_accuracy", "bytes"]


@pytest.mark.parametrize("segments", [ideal_segments, straddling_segments])
def test_real_segments_lie_where_they_should(segments):
    known = segments(12, seed=4)
    assert len(known) == 12
    for k in known:
        assert k.request.n_segments == len(k.on_patch)
        assert k.request.effect.sum() == pytest.approx(1)
        assert k.request.segments.shape == k.request.image.shape[:2] == (28, 28)
    marked = [on_patch for k in known for on_patch in k.on_patch]
    assert 0.05 < np.mean(marked) < 0.95


def test_ideal_segments_are_pure():
    for k in ideal_segments(5, seed=4):
        assert k.on_patch[0] is True
        assert not any(k.on_patch[1:])


def test_a_critic_that_finds_all_spurious_is_right_where_all_is(monkeypatch):
    monkeypatch.setattr(evaluation, "_demo_accuracy", lambda critic, seed: 0.5 if critic else 0.75)
    critic = TinyCritic(Inner(lambda request, before: ChatReply(ALWAYS, "inner")))
    lines = []
    figures = evaluate_tiny_critic(critic, n_images=6, n_per_template=2, echo=lines.append)
    assert list(figures) == [*HEADLINES, "detail"]
    assert (figures["demo_accuracy"], figures["demo_oracle_accuracy"]) == (0.5, 0.75)
    assert figures["verdict_accuracy"] + figures["reversed_accuracy"] == pytest.approx(1)
    for kind in ("ppeps_wgm", "regions", "ideal", "straddling"):
        cells = figures["detail"][kind]
        assert set(cells) == {f"{t}_{p}" for t in ("trained", "held_out") for p in ("normal", "reversed")}
        assert all(cell["spurious_recall"] == 1 for cell in cells.values())
    by_template = figures["detail"]["by_template"]
    n_templates = sum(len(t.matters) + len(t.irrelevant) + len(t.contrasts) for t in (TRAINED, HELD_OUT))
    assert len(by_template) == 2 * n_templates
    assert len({(cell["template"], cell["polarity"]) for cell in by_template}) == len(by_template)
    assert json.loads(json.dumps(figures)) == figures
    assert len(lines) == 18


def test_the_command_prints_one_json_object(monkeypatch, tmp_path):
    figures = dict.fromkeys(HEADLINES, 1)
    monkeypatch.setattr(evaluation, "evaluate_tiny_critic", lambda critic, **asked: figures)
    result = CliRunner().invoke(app, ["evaluate", "--json", "--out", str(tmp_path / "figures.json")])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == figures == json.loads((tmp_path / "figures.json").read_text())
