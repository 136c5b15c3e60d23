"""Sets to audit: the words for their classes, and the marks that are their shortcuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lvlm_va.critic_exam.sets import SETS
from lvlm_va.experiments.audit import _summary, run_audits
from lvlm_va.experiments.audit_sets import make_audit_sets


@pytest.mark.parametrize("name", list(make_audit_sets()))
def test_every_class_has_a_name_and_words_and_marks_are_all_that_a_shortcut_adds(name: str) -> None:
    chosen = make_audit_sets()[name]
    data, plain = (chosen.load("test", 3, shortcut) for shortcut in (True, False))
    words = SETS[chosen.words]
    classes = np.unique(data.labels)
    assert list(classes) == list(range(len(words.classes))) == sorted(words.specifications)
    differing = (data.images != plain.images).any(axis=1)
    assert differing.any() and not (differing & ~data.masks).any()


def test_a_share_of_the_gain_is_that_of_the_mean_nets() -> None:
    nets = [
        {
            "worst_group_before": 0.4,
            "worst_group_300": 0.8,
            "worst_group_families": 0.8,
            "worst_group_critic": 0.6,
        },
        {
            "worst_group_before": 0.6,
            "worst_group_300": 0.8,
            "worst_group_families": 0.6,
            "worst_group_critic": 0.9,
        },
    ]
    found = _summary(nets)
    assert found["share_of_gain"] == pytest.approx(0.4 / 0.6)
    assert found["share_of_gain_critic"] == pytest.approx(0.5 / 0.6)
    del nets[0]["worst_group_critic"]
    assert "share_of_gain_critic" not in _summary(nets)


def test_a_critic_that_no_name_describes_is_refused_before_nets_are_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs arguments"):
        run_audits(quick=True, seeds=1, out=tmp_path, echo=print, critic="oracle")
    assert not list(tmp_path.iterdir())
