"""Find families of regions, try each, and rank them by suspicion."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvlm_va.attribution import Explainer
from lvlm_va.auditing.diffuse import FEWEST, DiffuseFinding, diffuse_tests
from lvlm_va.auditing.families import Clusterer, exemplars, find_families
from lvlm_va.auditing.regions import RegionTable, find_regions
from lvlm_va.auditing.suspicion import alarming, suspicion
from lvlm_va.auditing.swaps import Pairs, Swaps, draw_pairs, swap
from lvlm_va.auditing.types import Audit, Family
from lvlm_va.common.randomness import derive_seed
from lvlm_va.critique.requests import to_rgb
from lvlm_va.data.stored_images import CHUNK, ImageRows
from lvlm_va.modules.heads import decisions
from lvlm_va.modules.logits import predict_logits
from lvlm_va.segmentation import Segmenter

_N_EXEMPLARS = 8
# Families that are tried thoroughly: the most suspicious by a first trial of a third of the pairs.
_N_TRIED, _FIRST = 8, 3
# Images that are set to the brightness, sharpness and so on of others.
_N_WHOLE = 150


def audit_net(
    net: nn.Module,
    images: ImageRows,
    explainer: Explainer,
    segmenter: Segmenter,
    class_names: Sequence[str],
    *,
    labels: Tensor | None = None,
    aligned: nn.Module | None = None,
    clusterer: Clusterer | None = None,
    n_pairs: int = 150,
    batch_size: int = 64,
    seed: int = 0,
    verbose: int = 0,
) -> Audit:
    """Audit a net; see `lvlm_va.audit`.

    Parameters
    ----------
    net : torch.nn.Module
        Takes images in [0, 1], returns logits of shape (n, K), or (n, 1) of two classes.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images.
    explainer, segmenter
        How the net is explained.
    class_names : sequence of str
        The classes.
    labels : Tensor of shape (n,), int64, or None, default=None
        The images' true classes, to say how often the net is right.
    aligned : torch.nn.Module or None, default=None
        The net after alignment, which the same regions are tried on.
    clusterer : Clusterer or None, default=None
        Who groups regions; see `lvlm_va.auditing.find_families`.
    n_pairs : int, default=150
        Images that regions of a family are put into.
    batch_size : int, default=64
        Images at a time.
    seed : int, default=0
        Of all that is drawn.
    verbose : int, default=0
        1 shows progress bars.

    Returns
    -------
    Audit
        Families, the most suspicious first.

    Raises
    ------
    ValueError
        If all images are predicted to be of one class, or nothing can be attributed.
    """
    clock = _Clock()
    logits = predict_logits(net, images, batch_size=batch_size)
    predicted = decisions(logits, multilabel=False)
    if len(predicted.unique()) < 2:
        raise ValueError(
            "The 'X' argument must hold images of at least two predicted classes: what speaks for one is put into "
            f"images of another. Got only {class_names[int(predicted[0])]!r}."
        )
    with tqdm(total=len(images), desc="explain", disable=not verbose, leave=False) as bar:
        table = find_regions(net, images, predicted, explainer, segmenter, seed=seed, on_progress=bar.update)
    clock.lap("explain")
    of_region, descriptors = find_families(table, clusterer, seed=seed)
    clock.lap("group")
    groups = [np.flatnonzero(of_region == number) for number in range(of_region.max() + 1)]
    classes = predicted.numpy()

    def tried(module: nn.Module, plain: Tensor, pairs: Pairs, thorough: bool = True) -> Swaps:
        drawn = derive_seed(seed, len(pairs.regions))
        return swap(module, images, table, plain, pairs, batch_size=batch_size, seed=drawn, thorough=thorough)

    with tqdm(total=len(groups) + _N_TRIED, desc="try", disable=not verbose, leave=False) as bar:
        pairs_of, swaps = [], []
        for members in groups:
            pairs_of.append(draw_pairs(table, members, classes, -(-n_pairs // _FIRST), seed))
            swaps.append(tried(net, logits, pairs_of[-1], thorough=False))
            bar.update()
        for number in sorted(range(len(groups)), key=lambda number: -suspicion(swaps[number]))[:_N_TRIED]:
            # Other pairs than before: those that chose it would be in favour of it.
            pairs_of[number] = draw_pairs(table, groups[number], classes, n_pairs, derive_seed(seed, 1))
            swaps[number] = tried(net, logits, pairs_of[number])
            bar.update()
    clock.lap("try")
    diffuse = _diffuse(net, images, labels, batch_size=batch_size, seed=seed)
    clock.lap("try whole images")
    later: list[Swaps | None] = [None] * len(groups)
    if aligned is not None:
        plain = predict_logits(aligned, images, batch_size=batch_size)
        later = [tried(aligned, plain, pairs, thorough=False) for pairs in pairs_of]
        clock.lap("try after alignment")
    alarms = alarming(swaps)
    ranked = sorted(range(len(groups)), key=lambda number: (not alarms[number], -suspicion(swaps[number])))
    families, numbers = [], np.zeros(len(table), np.int64)
    for rank, group in enumerate(ranked, start=1):
        members = groups[group]
        numbers[members] = rank
        family = _describe(table, images, descriptors, members, swaps[group], class_names)
        families.append(replace(family, number=rank, alarming=alarms[group], after=later[group]))
    covered = float(table.shares[numbers > 0].sum() / len(images))
    accuracy = None if labels is None else float((predicted == labels).double().mean())
    return Audit(
        tuple(families),
        len(images),
        tuple(class_names),
        covered,
        accuracy,
        diffuse,
        table,
        numbers,
        clock.seconds,
    )


def _diffuse(
    net: nn.Module, images: ImageRows, labels: Tensor | None, *, batch_size: int, seed: int
) -> tuple[DiffuseFinding, ...]:
    """Return what whole images do, where they are as they must be for it."""
    parts = torch.arange(len(images)).split(CHUNK)
    if len(images) < FEWEST or any(images[part].min() < 0 or images[part].max() > 1 for part in parts):
        return ()
    told = None if labels is None else labels.numpy()
    return diffuse_tests(net, images, told, batch_size=batch_size, n_images=_N_WHOLE, seed=seed)


def _describe(
    table: RegionTable,
    images: ImageRows,
    descriptors: NDArray[np.float64],
    members: NDArray[np.int64],
    swaps: Swaps,
    class_names: Sequence[str],
) -> Family:
    counts = Counter(table.targets[members].tolist())
    row, column = table.place[members].mean(0).tolist()
    typical = members[exemplars(descriptors[members], table.rows[members], _N_EXEMPLARS)]
    shown = images[torch.from_numpy(table.rows[typical])].cpu().numpy()
    return Family(
        number=0,
        members=members,
        exemplars=typical,
        images=np.stack([to_rgb(image) for image in shown]),
        masks=table.masks(typical).numpy(),
        n_images=len(np.unique(table.rows[members])),
        share=float(table.shares[members].sum() / len(images)),
        classes={class_names[target]: count / len(members) for target, count in counts.most_common()},
        place=(row, column),
        area=float(table.area[members].mean()),
        swaps=swaps,
        suspicion=suspicion(swaps),
        alarming=False,
    )


class _Clock:
    """Seconds of stages that follow on each other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now
