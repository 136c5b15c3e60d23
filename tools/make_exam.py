"""Make the questions of the critic's exam: train a net on each drawn set, explain it, cut regions, note the truth.

``python -m tools.make_exam [SET ...]`` writes ``lvlm_va/critic_exam/sheets/<set>.npz``; some minutes a set on a core.
Nothing was tuned on these images: their seed is used for nothing else.
"""

from __future__ import annotations

import logging
import sys

import numpy as np
import torch
from scipy import ndimage

from lvlm_va import LVLMVAClassifier
from lvlm_va.common.threads import one_thread
from lvlm_va.critic_exam.sets import EXAM_SEED, SETS, SHEETS
from lvlm_va.segmentation import Regions
from lvlm_va.segmentation.smoothing import smoothed

N_IMAGES = 48
logger = logging.getLogger("make_exam")


def choose(has_shortcut: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rows, half of them with the shortcut where that many have and lack it."""
    rows = []
    for part, wanted in ((has_shortcut, N_IMAGES // 2), (~has_shortcut, N_IMAGES - N_IMAGES // 2)):
        rows.append(rng.permutation(np.flatnonzero(part))[:wanted])
    short = N_IMAGES - sum(map(len, rows))
    rest = np.setdiff1d(np.arange(len(has_shortcut)), np.concatenate(rows))
    return np.sort(np.concatenate([*rows, rng.permutation(rest)[:short]]))


def make(name: str) -> None:
    """Write the sheet of one set."""
    net = SETS[name].net
    data = SETS[name].load("train", net.n, None)
    classifier = LVLMVAClassifier(net.module, random_state=EXAM_SEED, **net.training())
    classifier.fit(data.images, data.labels)
    rows = choose(data.masks.any((1, 2)), np.random.default_rng(EXAM_SEED))
    explanation = classifier.explain(data.images[rows], data.labels[rows])
    found = Regions().segment(explanation.attributions, torch.from_numpy(data.images[rows]), 0)
    side = data.images.shape[-1]
    effect = smoothed(explanation.attributions.sum(1, dtype=torch.float64), side / 64).clamp_min(0).numpy()
    labels, most = found.labels.numpy(), int(found.n_segments.max())
    inside = np.full((len(rows), most), np.nan)
    for i, row in enumerate(rows):
        # The smoothing takes what a thing adds to the logit a little beyond its edge.
        mask = ndimage.binary_dilation(data.masks[row], iterations=max(1, round(side / 64)))
        for j in range(int(found.n_segments[i])):
            weight = effect[i] * (labels[i] == j + 1)
            inside[i, j] = (weight * mask).sum() / weight.sum()
    SHEETS.mkdir(exist_ok=True)
    np.savez_compressed(
        SHEETS / f"{name}.npz",
        rows=rows,
        n=len(data.images),
        segments=labels.astype(np.uint8),
        shares=found.shares.numpy()[:, :most].astype(np.float32),
        inside=inside.astype(np.float32),
        accuracy=classifier.score(data.images, data.labels),
    )
    spurious = np.nan_to_num(inside) >= 0.5
    logger.info(
        "%s: accuracy %.3f, %d segments, %d artefacts, ambiguous %d", name,
        classifier.score(data.images, data.labels), int(found.n_segments.sum()), spurious.sum(),
        ((inside > 0.25) & (inside < 0.75)).sum(),
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with one_thread():
        for wanted in sys.argv[1:] or SETS:
            make(wanted)
