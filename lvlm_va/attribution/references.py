"""Reference images: what an explanation compares an image with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lvlm_va.common.class_balance import class_balanced_order
from lvlm_va.common.errors import unknown_name
from lvlm_va.common.validation import check_integer, check_real
from lvlm_va.data.stored_images import CHUNK, ImageRows, image_batches

Strategy = Literal["class_balanced", "zeros", "mean", "blurred"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)

# A blur this wide leaves the colours of an image and takes its shapes away.
_BLUR_SHARE = 0.125


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """References chosen once from training data, and asked for whenever images are explained.

    Attributes
    ----------
    strategy : str
        How they were chosen: a name of `make_references`, or ``"custom"``.
    shared : Tensor of shape (B, C, H, W) or None
        References shared by all images; None where each image makes its own (``"blurred"``).

    Examples
    --------
    >>> import torch
    >>> from lvlm_va.attribution import ReferenceSet
    >>> images, labels = torch.rand(30, 1, 4, 4), torch.arange(30) % 3
    >>> ReferenceSet.choose("class_balanced", images, labels, seed=0).for_images(images[:2]).shape
    torch.Size([20, 1, 4, 4])
    >>> ReferenceSet.choose("blurred", images, labels, seed=0).for_images(images[:2]).shape
    torch.Size([1, 2, 1, 4, 4])
    """

    strategy: str
    shared: Tensor | None

    @classmethod
    def choose(
        cls, strategy: Any, images: ImageRows, labels: Any, n_references: int = 20, *, seed: int
    ) -> ReferenceSet:
        """Choose references; the arguments are those of `make_references`, and ``"blurred"`` besides."""
        if isinstance(strategy, str) and strategy == "blurred":
            return cls("blurred", None)
        shared = make_references(strategy, images, labels, n_references, seed=seed)
        return cls(strategy if isinstance(strategy, str) else "custom", shared)

    def for_images(self, images: Tensor) -> Tensor:
        """Return the references to explain `images` (n, C, H, W) with.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W)
            What is explained.

        Returns
        -------
        Tensor of shape (B, C, H, W) or (1, n, C, H, W)
            As `Attributor.attribute` takes them.
        """
        return blurred_references(images) if self.shared is None else self.shared


def make_references(
    strategy: Any, images: ImageRows, labels: Any, n_references: int = 20, *, seed: int
) -> Tensor:
    """Return references that all images share.

    Parameters
    ----------
    strategy : {"class_balanced", "zeros", "mean"} or array-like of shape (B, C, H, W)
        ``"class_balanced"``: random training images, as many of each class as there are to be had;
        ``"zeros"``: one black image; ``"mean"``: the mean training image; or the references themselves
        (uint8 and uint16 are divided by their largest value).
        ``"blurred"`` depends on the images explained: use `ReferenceSet` or `blurred_references`.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Training images, in [0, 1].
    labels : array-like of shape (n,)
        Their classes.
    n_references : int
        How many to draw under ``"class_balanced"``, >= 1; at most n come back, each image once.
    seed : int
        Seed of the draw.

    Returns
    -------
    Tensor of shape (B, C, H, W)
        References, in the dtype of `images`.

    Raises
    ------
    ValueError
        If the strategy is unknown or does not fit, or shapes do not agree.
    """
    if not isinstance(strategy, str):
        return _own(strategy, images)
    if strategy == "blurred":
        raise ValueError(
            "The 'references' argument must name references that do not depend on the images explained. Got "
            "'blurred' instead; use ReferenceSet.choose('blurred', ...).for_images(images)."
        )
    if strategy not in STRATEGIES:
        raise unknown_name("references", strategy, STRATEGIES)
    if strategy == "zeros":
        return torch.zeros((1, *images.shape[1:]), device=images.device, dtype=images.dtype)
    if not len(images):
        raise ValueError("The 'images' argument must hold at least one image. Got none instead.")
    if strategy == "mean":
        return _mean(images)
    return images[torch.from_numpy(_balanced(np.asarray(labels), len(images), n_references, seed))]


def blurred_references(images: Tensor, sigma: float | None = None) -> Tensor:
    """Return one reference per image: the image under a Gaussian blur.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Images to explain, floating.
    sigma : float or None
        Standard deviation in pixels, > 0; None takes an eighth of the shorter side.

    Returns
    -------
    Tensor of shape (1, n, C, H, W)
        As `Attributor.attribute` takes references of each image's own.

    Raises
    ------
    ValueError
        If `sigma` is not positive or the images are no (n, C, H, W).
    """
    if images.ndim != 4:
        raise ValueError(
            f"The 'images' argument must have shape (n, C, H, W). Got {tuple(images.shape)} instead."
        )
    sigma = _BLUR_SHARE * min(images.shape[-2:]) if sigma is None else sigma
    check_real("sigma", sigma, "(0, inf)", expected="a positive number of pixels")
    blurred = _blur_rows(_blur_rows(images, sigma).transpose(-1, -2), sigma).transpose(-1, -2)
    return blurred.contiguous().unsqueeze(0)


def _blur_rows(images: Tensor, sigma: float) -> Tensor:
    """Blur along the last dimension; weights that fall outside go to the pixels inside."""
    radius = min(int(4 * sigma + 0.5), images.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2).view(1, 1, -1)
    rows = images.reshape(-1, 1, images.shape[-1])
    weight = F.conv1d(torch.ones_like(rows[:1]), kernel, padding=radius)
    return (F.conv1d(rows, kernel, padding=radius) / weight).reshape(images.shape)


def _mean(images: ImageRows) -> Tensor:
    if isinstance(images, Tensor):
        return images.mean(0, keepdim=True, dtype=torch.float64).to(images.dtype)
    total = torch.zeros((1, *images.shape[1:]), dtype=torch.float64)
    for part in image_batches(images, CHUNK, images.device, images.dtype):
        total += part.sum(0, dtype=torch.float64)
    return (total / len(images)).to(images.dtype)


def _own(references: Any, images: ImageRows) -> Tensor:
    tensor = torch.as_tensor(references)
    if tensor.ndim != images.ndim or tensor.shape[1:] != images.shape[1:] or not len(tensor):
        raise ValueError(
            f"The 'references' argument must be one of {sorted(STRATEGIES)} or references of shape "
            f"{('B', *images.shape[1:])}. Got shape {tuple(tensor.shape)} instead."
        )
    if tensor.dtype in (torch.uint8, torch.uint16):
        tensor = tensor / torch.iinfo(tensor.dtype).max
    return tensor.to(images.device, images.dtype)


def _balanced(labels: np.ndarray, n: int, n_references: int, seed: int) -> np.ndarray:
    """Return distinct rows drawn at random, the classes taking turns in random order."""
    if labels.shape != (n,):
        raise ValueError(
            f"The 'labels' argument must have shape ({n},), one per image. Got {labels.shape} instead."
        )
    check_integer("n_references", n_references, 1)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    _, classes = np.unique(labels[shuffled], return_inverse=True)
    order = class_balanced_order(classes, rng.permutation(classes.max() + 1)[classes])
    return shuffled[order[:n_references]]
