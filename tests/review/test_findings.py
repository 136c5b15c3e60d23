"""A run on several findings per image: each image comes once for each finding that was critiqued."""

from __future__ import annotations

import numpy as np

from lvlm_va import LVLMVAClassifier
from lvlm_va.review.journal import TABLE_FILE
from tests.review.conftest import Attacker


def test_findings_are_reviewed_one_by_one(serve, tmp_path):
    rng = np.random.default_rng(0)
    X, Y = rng.uniform(0, 1, (12, 1, 8, 8)), rng.integers(0, 2, (12, 2))
    clf = LVLMVAClassifier(
        "mlp",
        critic=Attacker(),
        classes=["fracture", "effusion"],
        specifications={"effusion": "The fluid counts."},
        n_align=24,
        epochs=1,
        align_epochs=1,
        n_references=2,
        segmenter="grid",
        random_state=0,
        run_dir=tmp_path / "run",
    )
    clf.fit(X, Y, image_ids=[f"scan-{i}" for i in range(12)])
    client = serve(tmp_path / "run")
    state = client.get("/api/state")
    said = {image["id"]: image["label"] for image in state["images"]}
    assert said == {
        f"scan-{i} | {finding}": ("" if Y[i, k] else "no ") + finding
        for i in range(12)
        for k, finding in enumerate(("fracture", "effusion"))
    }
    assert state["descriptions"]["no effusion"] == "The fluid counts."

    case = "scan-3 | effusion"
    status, _ = client.post("verdict", image=case, segment=1, verdict="spurious", revision=0)
    assert status == 200
    before = clf.masks_.copy()
    clf.realign(tmp_path / "run" / TABLE_FILE)
    changed = (clf.masks_ != before).any((1, 2))
    (row,) = changed.nonzero()[0]
    assert (clf.alignment_set_[row], clf.alignment_findings_[row]) == (3, "effusion")
