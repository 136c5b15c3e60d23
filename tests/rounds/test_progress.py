"""Each long stage has one bar, which says in words what is done, and when it will be."""

import re

import pytest

from lvlm_va import LVLMVAClassifier, OracleCritic
from lvlm_va.critique import ParserJudge

STAGES = [
    "train", "choose images", "explain images", "cut into segments", "ask the critic", "read the verdicts",
    "extend the verdicts", "align", "explain the aligned net",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_bar_per_stage(digits, tmp_path, capsys):
    LVLMVAClassifier(
        "mlp", critic=OracleCritic(digits.masks), judge=ParserJudge(), n_align=12, n_references=3, propagate=20,
        epochs=2, align_epochs=2, random_state=0, run_dir=tmp_path, verbose=1,
    ).fit(digits.images, digits.labels)  # fmt: skip
    bars = re.findall(r"\r([a-z ]+): +0%\|.*?\| 0/(\d+) \[", capsys.readouterr().err)
    assert list(dict.fromkeys(name for name, _ in bars)) == STAGES
    assert len(bars) == len(STAGES)
    assert dict(bars)["explain images"] == "12"
