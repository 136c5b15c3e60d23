"""Shortcuts that no region shows: set how bright, sharp or compressed a whole image is, and see what is said then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, rankdata
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor, nn

from lvlm_va.auditing.image_wide import IMAGE_STATISTICS, ImageStatistic
from lvlm_va.auditing.suspicion import holm
from lvlm_va.common.randomness import derive_seed
from lvlm_va.common.validation import check_integer
from lvlm_va.data import stored_images
from lvlm_va.data.stored_images import ImageRows, reading_ahead
from lvlm_va.modules.heads import decisions, probabilities
from lvlm_va.modules.logits import predict_logits

# Level of the corrected p-values; least share of predictions that must change beyond the controls; least share of the
# statistic's variance that must lie between classes.
LEVEL, LEAST_EFFECT, LEAST_APART = 0.05, 0.1, 0.25
# A value is reached when no more than this share of the way to it is left, or of the spread of all images' values.
_LEFT, _LEFT_OF_SPREAD = 0.25, 0.05
_RESAMPLES = 1000
FEWEST = 20
_FOLDS = 5

Interval = tuple[float, float]


@dataclass(frozen=True)
class DiffuseFinding:
    """What one statistic of whole images, such as their brightness, does to predictions.

    Attributes
    ----------
    statistic : str
        Its name.
    explained : float
        Share of the variance of the predicted probabilities that it explains beyond the label, or beyond their mean
        where there are no labels: a regression tree on held-out images. At most 1; 0 or less where it explains nothing.
    explained_interval : (float, float)
        Its interval of 95 %: bootstrap over images.
    flips, control_flips : float
        Share of predictions that change to another class when the statistic is set to the value of an image of that
        class, and share of predictions that change to that same class when it is set to the value of another image of
        their own class. In [0, 1], of the images in which the value could be reached.
    flips_interval, control_interval, effect_interval : (float, float)
        Intervals of 95 % of both and of their difference.
    apart : float
        Share of the variance of the statistic's ranks that lies between the predicted classes, in [0, 1]: how far it
        tells the classes apart in these images. The largest, of a statistic of several numbers.
    reached : float
        Share of the images in which the other class's value could be reached.
    p_value : float
        Of the hypothesis that the class of the image that the value comes from does not matter: sign test over the
        images, one-sided, corrected for the number of statistics (Holm 1979).
    alarming : bool
        See `diffuse_tests`.
    advice : str
        The augmentation that mends it; masks cannot.
    """

    statistic: str
    explained: float
    explained_interval: Interval
    flips: float
    flips_interval: Interval
    control_flips: float
    control_interval: Interval
    effect_interval: Interval
    apart: float
    reached: float
    p_value: float
    alarming: bool
    advice: str

    def __str__(self) -> str:
        return (
            f"Setting the {self.statistic} to that of images of another class changed {self.flips:.0%} of the "
            f"predictions to that class (that of images of their own class: {self.control_flips:.0%})."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def diffuse_tests(
    module: nn.Module,
    images: ImageRows,
    labels: ArrayLike | None = None,
    *,
    batch_size: int = 64,
    n_images: int = 500,
    seed: int = 0,
    statistics: Sequence[ImageStatistic] = IMAGE_STATISTICS,
) -> tuple[DiffuseFinding, ...]:
    """Test whether a classifier follows how bright, coloured, sharp, noisy, compressed or framed whole images are.

    Each image gets another class, drawn from those that the classifier tells. A statistic of the image is then set to
    the value of an image that is told to be of that class, and, as a control, to the value of one of the image's own
    class; both leave the same traces. Where the statistic is a shortcut, the first changes predictions to that class
    and the second does not.

    A finding is alarming when its corrected p-value is below 0.05, the lower end of `effect_interval`, of what the
    other class's value changes beyond the own class's, is above 0.1, and `apart` is at least 0.25. The last spares what
    should count and shows in a statistic, too, as pores do in sharpness. Statistics that go together, as brightness and
    background level do, all tell the class where one does: findings come in the order of that lower end, so that what
    changes predictions most stands first.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier: K logits of classes, or one of two.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images with values in [0, 1], n >= 20; best such as the classifier was not trained on.
    labels : array-like of shape (n,), default=None
        Their class numbers; only `explained` uses them.
    batch_size : int, default=64
        Images per forward pass.
    n_images : int, default=500
        Images that are drawn and tested. Each passes the module once, and twice for each statistic.
    seed : int, default=0
        Of all that is drawn.
    statistics : sequence of ImageStatistic
        What is tested; those that images of so many channels do not have are left out.

    Returns
    -------
    tuple of DiffuseFinding
        One for each statistic, the most suspicious first. Where all images are told to be of one class, nothing can be
        set to another's, and none is alarming.

    Raises
    ------
    ValueError
        If there are fewer than 20 images, values lie outside [0, 1], or labels do not fit.
    """
    check_integer("n_images", n_images, FEWEST)
    _check_images(images)
    generator = torch.Generator().manual_seed(derive_seed(seed, 0))
    rows = _drawn(len(images), n_images, generator)
    told = None if labels is None else _told(labels, len(images))[rows.numpy()]
    statistics = _fitting(statistics, images)

    def say(pixels: Tensor) -> Tensor:
        return predict_logits(module, pixels, batch_size=batch_size)

    logits, values = _surveyed(say, images, rows, statistics)
    said = decisions(logits, multilabel=False)
    targets, *donors = _partners(said, generator)
    # Of each image and statistic, with the other class's value and with the own class's.
    flipped, reached = torch.zeros(2, len(rows), len(statistics), 2, dtype=torch.bool)
    parts = torch.arange(len(rows)).split(stored_images.CHUNK)
    with reading_ahead(images, [rows[part] for part in parts]):
        for part in parts:
            pixels = _pixels(images, rows[part])
            for place, (statistic, known) in enumerate(zip(statistics, values, strict=True)):
                for side, donor in enumerate(donors):
                    wanted = known[donor[part]]
                    changed = statistic.set(pixels, wanted, generator)
                    near = _is_reached(known[part], wanted, statistic.read(changed), known.std(0))
                    reached[part, place, side] = near
                    now = decisions(say(changed), multilabel=False)
                    flipped[part, place, side] = near & (now == targets[part]) & (said != targets)[part]
    counts = np.random.default_rng(derive_seed(seed, 1)).multinomial(
        len(rows), np.full(len(rows), 1 / len(rows)), _RESAMPLES
    )
    shares = probabilities(logits, multilabel=False).numpy()
    errors = [_errors(known.numpy(), shares, told) for known in values]
    between = [apart(known.numpy(), said.numpy()) for known in values]
    return _judged(statistics, errors, between, flipped.numpy(), reached.numpy(), counts)


def apart(values: NDArray[Any], classes: NDArray[Any]) -> float:
    """Return the share of the variance of ranks of values (n, d) between classes (n,); the largest of d."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(0)
    codes = np.unique(classes, return_inverse=True)[1]
    sums = np.stack([np.bincount(codes, column) for column in ranks.T])
    return float(_ratio((sums**2 / np.bincount(codes)).sum(1), np.square(ranks).sum(0)).max())


def telling_statistics(
    images: ImageRows, classes: NDArray[Any], *, n_images: int = 200, seed: int = 0
) -> list[ImageStatistic]:
    """Return the statistics that tell classes apart in some of the images: the only ones that can be shortcuts there.

    Parameters
    ----------
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images. Of fewer than 20, and where values lie outside [0, 1], no statistic is read.
    classes : ndarray of shape (n,)
        What they are to tell apart.
    n_images : int, default=200
        Images that are drawn.
    seed : int, default=0
        Of the draw.
    """
    if len(images) < FEWEST:
        return []
    rows = _drawn(len(images), n_images, torch.Generator().manual_seed(derive_seed(seed, 0)))
    statistics, values, parts = _fitting(IMAGE_STATISTICS, images), [], rows.split(stored_images.CHUNK)
    with reading_ahead(images, parts):
        for part in parts:
            pixels = images[part].to("cpu", torch.float32)
            if pixels.min() < 0 or pixels.max() > 1:
                return []
            values.append([statistic.read(pixels) for statistic in statistics])
    return [
        statistic
        for statistic, known in zip(statistics, zip(*values, strict=True), strict=True)
        if apart(torch.cat(known).numpy(), classes[rows.numpy()]) >= LEAST_APART
    ]


def _drawn(n: int, n_images: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[:n_images].sort().values


def _fitting(statistics: Sequence[ImageStatistic], images: ImageRows) -> list[ImageStatistic]:
    return [statistic for statistic in statistics if statistic.channels in (None, images.shape[1])]


def _check_images(images: ImageRows) -> None:
    if images.ndim != 4 or len(images) < FEWEST:
        raise ValueError(
            f"The 'images' argument must be at least {FEWEST} images of shape (n, C, H, W). "
            f"Got shape {tuple(images.shape)} instead."
        )


def _told(labels: ArrayLike, n: int) -> NDArray[Any]:
    told = np.asarray(labels)
    if told.shape != (n,):
        raise ValueError(
            f"The 'labels' argument must hold one class number for each of the {n} images. Got shape {told.shape} "
            "instead; several findings are tested one at a time, by a module that returns the logit of one."
        )
    return told


def _pixels(images: ImageRows, rows: Tensor) -> Tensor:
    pixels = images[rows].to("cpu", torch.float32)
    low, high = pixels.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"The 'images' argument must hold values in [0, 1]. Got {float(low):.3g} to {float(high):.3g} instead."
        )
    return pixels


def _surveyed(
    say: Callable[[Tensor], Tensor], images: ImageRows, rows: Tensor, statistics: Sequence[ImageStatistic]
) -> tuple[Tensor, list[Tensor]]:
    """Return the logits (n, K) of these images, and of each statistic their values (n, d)."""
    logits, values = [], []
    parts = rows.split(stored_images.CHUNK)
    with reading_ahead(images, parts):
        for part in parts:
            pixels = _pixels(images, part)
            logits.append(say(pixels))
            values.append([statistic.read(pixels) for statistic in statistics])
    return torch.cat(logits), [torch.cat(column) for column in zip(*values, strict=True)]


def _partners(said: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw for each image (n,) another class, an image told to be of it, and one told to be of the image's own class.

    Where no other class is told, all three are the image's own.
    """
    targets, others, owns = said.clone(), torch.arange(len(said)), torch.arange(len(said))
    classes = said.unique()
    members = {int(label): (said == label).nonzero().flatten() for label in classes}

    def draw(candidates: Tensor, n: int) -> Tensor:
        return candidates[torch.randint(len(candidates), (n,), generator=generator)]

    for label, rows in members.items():
        owns[rows] = draw(rows, len(rows))
        if len(members) > 1:
            targets[rows] = draw(classes[classes != label], len(rows))
    for label, rows in members.items():
        wanting = ((targets == label) & (said != label)).nonzero().flatten()
        others[wanting] = draw(rows, len(wanting))
    return targets, others, owns


def _is_reached(before: Tensor, wanted: Tensor, after: Tensor, spread: Tensor) -> Tensor:
    """Return in which images (n,) the values (n, d) came near enough to those wanted."""
    left, way = ((found - wanted).abs() for found in (after, before))
    return (left <= (_LEFT * way.amax(1, keepdim=True)).maximum(_LEFT_OF_SPREAD * spread)).all(1)


def _errors(values: NDArray[Any], shares: NDArray[Any], told: NDArray[Any] | None) -> NDArray[Any]:
    """Return the squared errors (n, 2) of probabilities foretold without and with a statistic, on held-out images."""
    known = np.zeros((len(shares), 1)) if told is None else (told[:, None] == np.unique(told)).astype(float)
    folds = KFold(_FOLDS, shuffle=True, random_state=0)
    tree = DecisionTreeRegressor(max_leaf_nodes=8 + known.shape[1], min_samples_leaf=4, random_state=0)
    return np.stack(
        [
            np.square(shares - cross_val_predict(tree, given, shares, cv=folds).reshape(shares.shape)).sum(1)
            for given in (known, np.hstack([known, values]))
        ],
        1,
    )


def _judged(
    statistics: Sequence[ImageStatistic],
    errors: Sequence[NDArray[Any]],
    between: Sequence[float],
    flipped: NDArray[np.bool_],
    reached: NDArray[np.bool_],
    counts: NDArray[Any],
) -> tuple[DiffuseFinding, ...]:
    """Return the findings; `counts` (r, n) says how often each image comes in each resample."""
    p_values = holm(np.array([_sign_test(*flipped[:, place].T) for place in range(len(statistics))])).tolist()
    findings = []
    for place, (statistic, error, p_value) in enumerate(zip(statistics, errors, p_values, strict=True)):
        flips, able = flipped[:, place].astype(float), reached[:, place].astype(float)
        shares = _ratio(flips.sum(0), able.sum(0))
        drawn = _ratio(counts @ flips, counts @ able)
        without, with_it = (counts @ error).T
        effect = _interval(drawn[:, 0] - drawn[:, 1])
        findings.append(
            DiffuseFinding(
                statistic.name,
                float(_ratio(error[:, 0].sum() - error[:, 1].sum(), error[:, 0].sum())),
                _interval(_ratio(without - with_it, without)),
                float(shares[0]),
                _interval(drawn[:, 0]),
                float(shares[1]),
                _interval(drawn[:, 1]),
                effect,
                between[place],
                float(able[:, 0].mean()),
                p_value,
                p_value < LEVEL and effect[0] > LEAST_EFFECT and between[place] >= LEAST_APART,
                statistic.advice,
            )
        )
    return tuple(sorted(findings, key=lambda found: (-found.effect_interval[0], found.p_value)))


def _ratio(part: Any, whole: Any) -> NDArray[Any]:
    """Return a quotient, 0 where both are 0 ."""
    quotient: NDArray[Any] = np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)
    return quotient


def _interval(drawn: NDArray[Any]) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return low, high


def _sign_test(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    n = int((one != other).sum())
    return float(binomtest(int((one & ~other).sum()), n, alternative="greater").pvalue) if n else 1.0
