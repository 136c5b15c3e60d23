"""The whole method after training, written with captum, pomegranate and a whole-batch penalty.

The same decisions as the estimator's, stage by stage: the same images, references, starts of EM, floor, pruning,
oracle, batch sizes, optimizer, schedule and strength of the penalty.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks import pomegranate_peer
from benchmarks.pomegranate_peer import Mixture
from benchmarks.rrr_peer import frozen_norms, step, whole_batch_loss
from lvlm_va.segmentation.starts import draw_uniforms, kmeans_plus_plus

N_SEGMENTS, N_RESTARTS, MAX_ITER, TOL, MIN_SHARE = 5, 3, 100, 1e-4, 0.02
THRESHOLD = 0.5  # of the oracle


@dataclass(frozen=True)
class Task:
    """What both sides are given: a trained module, the data, and which images are critiqued."""

    module: nn.Module
    images: Tensor
    labels: Tensor
    true_masks: Tensor
    chosen: Tensor
    references: Tensor
    epochs: int
    batch_size: int
    lr: float
    strength: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What both sides return: the aligned module, the masks of the critiqued images, seconds of each stage."""

    module: nn.Module
    masks: Tensor
    seconds: dict[str, float]


def run(task: Task) -> Outcome:
    """Explain, segment, judge, mask and align."""
    from captum.attr import DeepLiftShap

    clock = [time.perf_counter()]
    images, labels = task.images[task.chosen], task.labels[task.chosen]
    phi = DeepLiftShap(task.module).attribute(images, task.references, target=labels).detach()
    clock.append(time.perf_counter())
    effect = phi.sum(1).clamp_min(0).double()
    segments = torch.stack([segment(part, task.seed) for part in effect])
    clock.append(time.perf_counter())
    masks = judge(segments, effect, task.true_masks[task.chosen])
    clock.append(time.perf_counter())
    module = align(task, images, labels, masks)
    clock.append(time.perf_counter())
    stages = ("explain", "segment", "critique", "align")
    seconds = [end - start for start, end in pairwise(clock)]
    return Outcome(module, masks, dict(zip(stages, seconds, strict=True)))


def segment(effect: Tensor, seed: int) -> Tensor:
    """Return the segment of each pixel of one map (H, W): 0 for none, else from 1."""
    labels = torch.zeros(effect.shape, dtype=torch.int64)
    if not effect.any():
        return labels
    points, weights = pomegranate_peer.support(effect)
    floor = tuple(1 / (12 * size**2) for size in effect.shape)

    def fit(start: Mixture) -> Mixture:
        return pomegranate_peer.fit_until(points, weights, start, max_iter=MAX_ITER, tol=TOL, floor=floor)

    fits = []
    for uniforms in draw_uniforms(seed, N_RESTARTS, N_SEGMENTS):
        means, covariances, shares = (part[0] for part in kmeans_plus_plus(effect[None], uniforms))
        alive = shares > 0
        fits.append(fit((means[alive], covariances[alive], shares[alive] / shares.sum())))
    best = max(fits, key=lambda mixture: pomegranate_peer.log_likelihood(points, weights, mixture))
    inside = effect > 0
    labels[inside] = 1 + prune(points, weights, best, fit)
    return labels


def prune(points: Tensor, weights: Tensor, mixture: Mixture, fit: Callable[[Mixture], Mixture]) -> Tensor:
    """Drop the weakest component and fit again while it is too weak; return each point's component."""
    while True:
        owner = pomegranate_peer.log_joint(points, mixture).argmax(1)
        owned = torch.bincount(owner, weights, minlength=len(mixture[2]))
        weakest = torch.minimum(mixture[2], owned).argmin()
        if len(owned) == 1 or min(mixture[2][weakest], owned[weakest]) >= MIN_SHARE:
            return owner
        kept = torch.arange(len(owned)) != weakest
        means, covariances, shares = (part[kept] for part in mixture)
        mixture = fit((means, covariances, shares / shares.sum()))


def judge(segments: Tensor, effect: Tensor, true_masks: Tensor) -> Tensor:
    """Return the masks (n, H, W) of the segments of which at least half of the effect is spurious."""
    masks = torch.zeros(segments.shape)
    for j in range(1, int(segments.max()) + 1):
        inside = segments == j
        total = (effect * inside).sum((1, 2))
        spurious = (effect * inside * true_masks).sum((1, 2)) >= THRESHOLD * total
        masks += inside * (spurious & (total > 0))[:, None, None]
    return masks


def align(task: Task, images: Tensor, labels: Tensor, masks: Tensor) -> nn.Module:
    """Fine-tune with half of each batch from the alignment set, the rate falling to 0 over the last third."""
    module = frozen_norms(copy.deepcopy(task.module))
    optimizer = torch.optim.Adam(module.parameters(), lr=task.lr)
    half = task.batch_size // 2
    steps_per_epoch = -(-len(task.images) // half)
    total = task.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, 3 * (total - i) / total))
    draw = torch.Generator().manual_seed(task.seed)
    aligned = torch.randperm(len(images), generator=draw)
    none = torch.zeros(half, *masks.shape[1:])
    for _ in range(task.epochs):
        for rows in torch.randperm(len(task.images), generator=draw).split(half):
            marked, aligned = aligned[: len(rows)], aligned[len(rows) :]
            if len(marked) < len(rows):
                more = torch.randperm(len(images), generator=draw)
                marked, aligned = torch.cat([marked, more])[: len(rows)], more
            loss = whole_batch_loss(
                module,
                torch.cat([task.images[rows], images[marked]]),
                torch.cat([task.labels[rows], labels[marked]]),
                torch.cat([none[: len(rows)], masks[marked]]),
                len(marked),
                task.strength,
            )
            step(optimizer, loss)
            schedule.step()
    return module.eval()
