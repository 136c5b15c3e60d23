"""``lvlm-va review`` and ``lvlm-va align --verdicts``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load_file

from lvlm_va import VerdictTable
from lvlm_va.alignment.checkpoint import read_progress
from lvlm_va.critique import SegmentVerdict
from lvlm_va.review.reviewed import ReviewedRun


def test_align_again_with_corrected_verdicts_asks_nobody(align, tmp_path):
    out = tmp_path / "run"
    assert align(out, "--irrelevant", "corners").returncode == 0
    command = (out / "command.json").read_text()
    first = load_file(out / "aligned.safetensors")
    (file,) = out.glob("verdicts-*.json")
    table = VerdictTable.load(file)
    edits = [
        SegmentVerdict(v.image_id, v.segment, "relevant" if v.verdict == "spurious" else "spurious")
        for v in table.verdicts
    ]
    table.replace(edits).save(tmp_path / "verdicts.json")
    (critiques,) = out.glob("critiques-*")
    said, written = critiques.read_bytes(), critiques.stat().st_mtime_ns

    done = align(out, "--irrelevant", "corners", "--verdicts", tmp_path / "verdicts.json")
    assert done.returncode == 0, done.stderr
    assert (critiques.read_bytes(), critiques.stat().st_mtime_ns) == (said, written)
    assert VerdictTable.load(file) == table.replace(edits)
    second = load_file(out / "aligned.safetensors")
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    assert (out / "command.json").read_text() == command
    assert {read_progress(path) for path in out.glob("align-*.safetensors")} == {(2, 2)}
    with pytest.raises(ValueError, match="must name a checkpoint"):
        read_progress(out / "aligned.safetensors")


def test_what_cannot_be_reviewed(lvlm_va, run_folder, tmp_path):
    done = lvlm_va("review", tmp_path / "nowhere")
    assert (done.returncode, "no folder" in done.stderr) == (3, True)
    assert lvlm_va("review", tmp_path).returncode == 2
    done = lvlm_va("review", run_folder, "--critic", "nobody:x")
    assert (done.returncode, "critic" in done.stderr) == (2, True)
    run = ReviewedRun(run_folder, by="ada")
    done = lvlm_va("review", run_folder)
    assert (done.returncode, "being reviewed already" in done.stderr) == (3, True)
    run.close()
    (run_folder / "command.json").write_text(
        json.dumps({"arguments": ["lvlm-va", "align"], "folder": "/nowhere"})
    )
    run = ReviewedRun(run_folder, by="ada")
    assert "/nowhere" in run.why_not_realign()
    run.close()
