"""Change images and their masks together, as they come into a batch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvlm_va.common.validation import check_real

# (images (n, C, H, W), masks (n, H, W)) -> the same, changed
Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Augmentation:
    """Flip, shift, scale and brighten each image at random, and its mask with it.

    Parameters
    ----------
    flip : float, default=0.5
        Probability of a mirror image, left for right, in [0, 1]. 0 where sides matter, as of letters and organs.
    shift : float, default=0.05
        Largest shift along each axis, in sides of the image, in [0, 1). What comes in repeats the edge.
    scale : float, default=0.05
        Images become larger or smaller by up to this share, in [0, 1).
    brightness : float, default=0.1
        Largest value added to all pixels, in [0, 1]; they stay in [0, 1].

    Raises
    ------
    TypeError, ValueError
        If a value is no number in its range.

    Examples
    --------
    >>> import torch
    >>> images, masks = torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8)
    >>> changed, moved = Augmentation(flip=1.0, shift=0.0, scale=0.0, brightness=0.0)(images, masks)
    >>> bool((changed == images.flip(3)).all())
    True
    """

    flip: float = 0.5
    shift: float = 0.05
    scale: float = 0.05
    brightness: float = 0.1

    def __post_init__(self) -> None:
        check_real("flip", self.flip, "[0, 1]")
        check_real("shift", self.shift, "[0, 1)")
        check_real("scale", self.scale, "[0, 1)")
        check_real("brightness", self.brightness, "[0, 1]")

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return changed images (n, C, H, W) and masks (n, H, W); torch's global generator draws."""

        def drawn(most: float, *shape: int) -> Tensor:
            return (most * (2 * torch.rand(len(images), *shape) - 1)).to(images)

        flipped = (torch.rand(len(images)) < self.flip).to(images.device)
        images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        masks = torch.where(flipped[:, None, None], masks.flip(2), masks)
        if self.shift or self.scale:
            theta = torch.eye(2, 3).to(images).repeat(len(images), 1, 1) / (1 + drawn(self.scale, 1, 1))
            theta[:, :, 2] = 2 * drawn(self.shift, 2)
            grid = F.affine_grid(theta, list(images.shape), align_corners=False)
            images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
            masks = F.grid_sample(
                masks[:, None], grid, mode="nearest", padding_mode="border", align_corners=False
            )[:, 0]
        return (images + drawn(self.brightness, 1, 1, 1)).clamp(0, 1), masks


def resolve_augment(augment: Any) -> Augment | None:
    """Return a function of images and masks that does what a user's augmentation does.

    Parameters
    ----------
    augment : transform of torchvision.transforms.v2, kornia or albumentations, callable, or None
        Kornia's, an ``AugmentationSequential``, gets the batch with ``data_keys``; torchvision's and albumentations'
        get image by image, the mask beside it. Any other callable gets ``(images, masks)``.

    Raises
    ------
    TypeError
        If it is not callable, or of torchvision's first version, which knows no masks.
    """
    if augment is None or isinstance(augment, Augmentation):
        return augment
    if not callable(augment):
        raise TypeError(
            "The 'augment' argument must be an Augmentation, a transform of torchvision.transforms.v2, kornia or "
            f"albumentations, a callable (images, masks), or None. Got {type(augment).__name__} instead."
        )
    homes = [kind.__module__ for kind in type(augment).__mro__]
    if any(home.startswith("torchvision.transforms.v2") for home in homes):
        return _of_torchvision(augment)
    if any(home.startswith("torchvision.") for home in homes):
        raise TypeError(
            "The 'augment' argument must change masks with their images, which transforms of torchvision's first "
            f"version cannot. Got {type(augment).__name__}; take that of torchvision.transforms.v2."
        )
    if any(home.partition(".")[0] == "albumentations" for home in homes):
        return _of_albumentations(augment)
    if any(home.partition(".")[0] == "kornia" for home in homes):
        return _of_kornia(augment)
    user: Augment = augment
    return user


def augmented(augment: Augment, images: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Augment the rows of a batch, of which the last ones have masks.

    Parameters
    ----------
    augment : callable
        As `resolve_augment` returns it. NumPy's and Python's global generators, from which it may draw, are seeded from
        torch's and get their state back.
    images : Tensor of shape (n, C, H, W)
        All rows.
    masks : Tensor of shape (m, H, W) or None
        Masks of the last m rows.

    Returns
    -------
    images, masks
        Of the same shapes and types.

    Raises
    ------
    ValueError
        If what comes back is of another shape, or not finite.
    """
    all_masks = images.new_zeros(len(images), *images.shape[2:])
    n_masks = 0 if masks is None else len(masks)
    if masks is not None:
        all_masks[len(images) - n_masks :] = masks
    with _generators_seeded():
        changed, moved = augment(images, all_masks)
    for name, found, like in (("images", changed, images), ("masks", moved, all_masks)):
        if not isinstance(found, Tensor) or found.shape != like.shape or not bool(found.isfinite().all()):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"The 'augment' argument must return finite {name} of the shape that it got, {tuple(like.shape)}. "
                f"Got {got} instead."
            )
    binary = (moved.to(images)[len(images) - n_masks :] > 0.5).to(images)
    return changed.detach().to(images), binary if n_masks else None


@contextmanager
def _generators_seeded() -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    seed = int(torch.randint(2**31, ()))
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002


def _of_torchvision(transform: Any) -> Augment:
    def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        from torchvision import tv_tensors

        pairs = [
            transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
            for image, mask in zip(images, masks, strict=True)
        ]
        changed, moved = (
            torch.stack([torch.as_tensor(part) for part in parts]) for parts in zip(*pairs, strict=True)
        )
        return changed, moved

    return augment


def _of_albumentations(transform: Any) -> Augment:
    def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        found = [
            transform(image=np.ascontiguousarray(image), mask=mask)
            for image, mask in zip(
                images.movedim(1, 3).cpu().float().numpy(), masks.cpu().float().numpy(), strict=True
            )
        ]
        changed = torch.from_numpy(np.stack([part["image"] for part in found]))
        return changed.movedim(3, 1).to(images), torch.from_numpy(
            np.stack([part["mask"] for part in found])
        ).to(masks)

    return augment


def _of_kornia(transform: Any) -> Augment:
    def augment(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        changed, moved = transform(images, masks[:, None], data_keys=["input", "mask"])
        return changed, moved[:, 0]

    return augment
