"""Does a family of regions cause predictions: put its regions into other images, and take them out of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor, nn

from lvlm_va.attribution import blurred_references
from lvlm_va.auditing.regions import RegionTable
from lvlm_va.common.randomness import derive_seed
from lvlm_va.data.stored_images import ImageRows
from lvlm_va.interventions import transplanted
from lvlm_va.modules.heads import sided_logits
from lvlm_va.modules.logits import predict_logits

Filling = Literal["blur", "mean", "other"]
FILLINGS: tuple[Filling, ...] = ("blur", "mean", "other")
# Images of other classes that are looked at for one in which a region covers little of what counts.
_N_CANDIDATES = 8


@dataclass(frozen=True)
class Count:
    """How many of some predictions changed.

    Attributes
    ----------
    changed, n : int
        Changed ones, and all.
    """

    changed: int
    n: int

    @property
    def rate(self) -> float:
        """Share that changed, in [0, 1]; 0 of none."""
        return self.changed / max(self.n, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of that share (Clopper and Pearson 1934)."""
        if not self.n:
            return 0.0, 1.0
        found = binomtest(self.changed, self.n).proportion_ci(0.95)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (round(self.n * end) for end in self.interval)
        return f"{self.changed} of {self.n} (95 % interval {low} to {high})"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Regions of a family, and the images that they are put into.

    Attributes
    ----------
    regions : ndarray of shape (m,), int64
        Rows of the table: what is put.
    receivers : ndarray of shape (m,), int64
        Images of other predicted classes that get it.
    controls : ndarray of shape (m,), int64
        Images of the receivers' own classes, whose pixels at the same place are put in instead.
    overlap : float
        Effect that the regions cover in the receivers, on average, where all effect of an image is 1 on average.
    """

    regions: NDArray[np.int64]
    receivers: NDArray[np.int64]
    controls: NDArray[np.int64]
    overlap: float


@dataclass(frozen=True)
class Swaps:
    """What became of predictions when regions of a family were put into, or taken out of, images.

    Attributes
    ----------
    transplants : Count
        Images of other classes that took on a region's class when it was put in, in its place.
    controls : Count
        The same images when they got the same place of an image of their own class: what putting in does by itself.
    p_value : float
        Of no more transplants than controls: exact, one-sided (McNemar 1947).
    overlap : float
        Effect that the regions cover there, on average, where all effect of an image is 1 on average.
    log_odds : float
        Mean change of the log-odds of the region's class by putting it in.
    moved : Count or None
        Images that took on its class when it was put elsewhere; None where that was not tried.
    occlusions : mapping of str to Count
        Images of the family that lose their class when its region is blurred (``"blur"``), filled with the image's mean
        colour (``"mean"``), or with the same place of an image of another class (``"other"``); empty where that was not
        tried.
    """

    transplants: Count
    controls: Count
    p_value: float
    overlap: float
    log_odds: float
    moved: Count | None = None
    occlusions: Mapping[str, Count] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def draw_pairs(
    table: RegionTable, members: NDArray[np.int64], classes: NDArray[np.int64], n_pairs: int, seed: int
) -> Pairs:
    """Draw which regions are put into which images.

    Parameters
    ----------
    table : RegionTable
        All regions.
    members : ndarray of shape (m,), int64
        The family's.
    classes : ndarray of shape (n,), int64
        Predicted class of each image, of two or more.
    n_pairs : int
        How many.
    seed : int
        Of the draw.

    Returns
    -------
    Pairs
        Of some random images of other classes each region gets the one in which it covers least effect: what it does
        there is not done by hiding what counts.
    """
    rng = np.random.default_rng(derive_seed(seed, len(members)))
    drawn = np.concatenate([rng.permutation(members) for _ in range(-(-n_pairs // len(members)))])[:n_pairs]
    regions, receivers, controls, overlaps = [], [], [], []
    of_class = {target: np.flatnonzero(classes == target) for target in np.unique(classes)}
    others = {target: np.flatnonzero(classes != target) for target in of_class}
    masks = table.masks(drawn)
    for region, mask in zip(drawn, masks, strict=True):
        able = others[table.targets[region]]
        candidates = rng.choice(able, min(_N_CANDIDATES, len(able)), replace=False)
        covered = (table.effect[torch.from_numpy(candidates)].float() * mask).sum((1, 2))
        receiver = candidates[int(covered.argmin())]
        same = of_class[classes[receiver]]
        regions.append(region)
        receivers.append(receiver)
        controls.append(rng.choice(same[same != receiver]) if len(same) > 1 else receiver)
        overlaps.append(float(covered.min()))
    return Pairs(np.array(regions), np.array(receivers), np.array(controls), float(np.mean(overlaps)))


def swap(
    net: nn.Module,
    images: ImageRows,
    table: RegionTable,
    logits: Tensor,
    pairs: Pairs,
    *,
    batch_size: int,
    seed: int,
    thorough: bool = True,
) -> Swaps:
    """Put regions into images and take them out, and count changed predictions: forwards only.

    Parameters
    ----------
    net : torch.nn.Module
        Takes images in [0, 1], returns logits (n, K) of classes, or (n, 1).
    images : Tensor or StoredImages of shape (n, C, H, W)
        The images of the table.
    table : RegionTable
        Their regions.
    logits : Tensor of shape (n, K)
        What `net` returns of the images as they are.
    pairs : Pairs
        Which into which.
    batch_size : int
        Images at a time.
    seed : int
        Of where regions are moved to.
    thorough : bool, default=True
        Whether regions are moved and taken out, too; otherwise they are put in only.

    Returns
    -------
    Swaps
        The counts.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, 0))
    rows, receivers, controls = (
        torch.from_numpy(part) for part in (table.rows[pairs.regions], pairs.receivers, pairs.controls)
    )
    targets, masks = torch.from_numpy(table.targets[pairs.regions]), table.masks(pairs.regions)
    plain, fillings = _log_odds(logits), FILLINGS if thorough else ()
    found: dict[str, list[Tensor]] = defaultdict(list)
    for part in torch.arange(len(rows)).split(batch_size):
        mask, own, into = masks[part], images[rows[part]], images[receivers[part]]
        changed = {
            "transplants": transplanted(into, own, mask),
            "controls": transplanted(into, images[controls[part]], mask),
        }
        if thorough:
            changed["moved"] = _moved(into, own, mask, generator)
        changed |= {way: transplanted(own, _fill(way, own, into), mask) for way in fillings}
        after = predict_logits(net, torch.cat(list(changed.values())), batch_size=batch_size)
        for way, odds in zip(changed, _log_odds(after).split(len(part)), strict=True):
            found[way].append(odds)
    odds = {way: torch.cat(parts) for way, parts in found.items()}
    # An aligned net may say the region's class of a receiver as it is.
    able = plain[receivers].argmax(1) != targets
    is_target = {way: rows_odds.argmax(1) == targets for way, rows_odds in odds.items()}
    is_target |= {way: is_target[way] & able for way in is_target if way not in fillings}
    more = int((is_target["transplants"] & ~is_target["controls"]).sum())
    less = int((is_target["controls"] & ~is_target["transplants"]).sum())
    kept = plain[rows].argmax(1) == targets
    own_odds = [
        rows_odds.gather(1, targets[:, None]) for rows_odds in (odds["transplants"], plain[receivers])
    ]
    counts = {way: Count(int(hit.sum()), int(able.sum())) for way, hit in is_target.items()}
    return Swaps(
        counts["transplants"],
        counts["controls"],
        p_value=float(binomtest(more, more + less, 0.5, alternative="greater").pvalue)
        if more + less
        else 1.0,
        overlap=pairs.overlap,
        log_odds=float((own_odds[0] - own_odds[1]).mean()),
        moved=counts.get("moved"),
        occlusions={way: Count(int((kept & ~is_target[way]).sum()), int(kept.sum())) for way in fillings},
    )


def _log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds of each class, (n, n_classes)."""
    log_p = sided_logits(logits.double(), multilabel=False)[:, 0].log_softmax(-1)
    return log_p - torch.log(-torch.expm1(log_p.clamp_max(-1e-9)))


def _fill(way: Filling, own: Tensor, into: Tensor) -> Tensor:
    """Return what regions of images are filled with: blurred images, their mean colours, or other images."""
    if way == "other":
        return into
    return blurred_references(own)[0] if way == "blur" else own.mean((2, 3), keepdim=True).expand_as(own)


def _moved(into: Tensor, own: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """Return images with the masked pixels of others somewhere else than these have them."""
    moved = own.clone()
    elsewhere = masks.clone()
    for k, mask in enumerate(masks):
        shift = [int(torch.randint(side, (), generator=generator)) for side in mask.shape]
        moved[k], elsewhere[k] = own[k].roll(shift, (1, 2)), mask.roll(shift, (0, 1))
    return transplanted(into, moved, elsewhere)
