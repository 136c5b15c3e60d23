"""What the training loop asks of its arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from lvlm_va.alignment.types import AlignmentSet
from lvlm_va.data.stored_images import ImageRows, StoredImages


def check_images(name: str, images: object) -> ImageRows:
    """Return `images`, a floating tensor of shape (n, C, *spatial) with n >= 1, or what stands for one."""
    expected = f"The {name!r} argument must be a floating tensor of shape (n, C, *spatial)."
    if not isinstance(images, Tensor | StoredImages):
        raise TypeError(f"{expected} Got {type(images).__name__} instead.")
    if not images.dtype.is_floating_point:
        raise TypeError(f"{expected} Got {images.dtype} instead; scale the images to [0, 1].")
    if images.ndim < 3 or not len(images):
        raise ValueError(f"{expected} Got shape {tuple(images.shape)} instead.")
    return images


def check_labels(name: str, labels: object, n: int) -> Tensor:
    """Return `labels`: class numbers (n,) from 0, or whether each of K findings is present (n, K), int64."""
    expected = (
        f"The {name!r} argument must be an int64 tensor of shape ({n},) of class numbers from 0, or ({n}, n_findings) "
        "of 0 and 1."
    )
    if not isinstance(labels, Tensor):
        raise TypeError(f"{expected} Got {type(labels).__name__} instead.")
    if labels.dtype != torch.int64:
        raise TypeError(f"{expected} Got {labels.dtype} instead.")
    if labels.ndim not in (1, 2) or len(labels) != n or not labels.numel():
        raise ValueError(f"{expected} Got shape {tuple(labels.shape)} instead.")
    if int(labels.min()) < 0:
        raise ValueError(f"{expected} Got {int(labels.min())} among them.")
    if labels.ndim == 2 and int(labels.max()) > 1:
        raise ValueError(f"{expected} Got {int(labels.max())} among them.")
    return labels


def check_label_width(name: str, labels: Tensor, n_logits: int) -> None:
    """Raise unless labels that `check_labels` let through can be those of a net with so many logits."""
    if labels.ndim == 2 and labels.shape[1] != n_logits:
        raise ValueError(
            f"The {name!r} argument must hold a column for each of the module's {n_logits} logits. "
            f"Got {labels.shape[1]} instead."
        )
    highest = max(n_logits, 2) - 1  # one logit tells two classes apart
    if labels.ndim == 1 and int(labels.max()) > highest:
        raise ValueError(
            f"The {name!r} argument must lie in 0 to {highest}, the module's outputs. "
            f"Got {int(labels.max())} among them."
        )


def check_findings(name: str, findings: object, n: int, n_findings: int) -> Tensor:
    """Return `findings`, an integer tensor of shape (n,) of numbers from 0 to `n_findings` - 1."""
    expected = (
        f"The {name!r} argument must be an int64 tensor of shape ({n},) that says which finding, from 0 to "
        f"{n_findings - 1}, each mask is about."
    )
    if not isinstance(findings, Tensor):
        raise TypeError(f"{expected} Got {type(findings).__name__} instead.")
    if findings.dtype != torch.int64:
        raise TypeError(f"{expected} Got {findings.dtype} instead.")
    if findings.shape != (n,):
        raise ValueError(f"{expected} Got shape {tuple(findings.shape)} instead.")
    if n and (int(findings.min()) < 0 or int(findings.max()) >= n_findings):
        raise ValueError(f"{expected} Got {int(findings.min())} to {int(findings.max())} instead.")
    return findings


def check_repeats(repeats: object, n: int) -> Tensor:
    """Return `repeats`, an integer tensor of shape (n,) with no negative value and not all 0."""
    expected = f"The 'repeats' argument must be an int64 tensor of shape ({n},) of numbers >= 0, not all 0."
    if not isinstance(repeats, Tensor):
        raise TypeError(f"{expected} Got {type(repeats).__name__} instead.")
    if repeats.dtype != torch.int64:
        raise TypeError(f"{expected} Got {repeats.dtype} instead.")
    if repeats.shape != (n,):
        raise ValueError(f"{expected} Got shape {tuple(repeats.shape)} instead.")
    if int(repeats.min()) < 0 or not repeats.any():
        raise ValueError(f"{expected} Got numbers from {int(repeats.min())} to {int(repeats.max())} instead.")
    return repeats


def check_weights(name: str, weights: object, n: int) -> Tensor:
    """Return `weights`, a floating tensor of shape (n,) of finite numbers >= 0, not all 0."""
    expected = f"The {name!r} argument must be a floating tensor of shape ({n},) of numbers >= 0, not all 0."
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        got = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"{expected} Got {got} instead.")
    if weights.shape != (n,) or not bool(weights.isfinite().all() & (weights >= 0).all() & weights.any()):
        raise ValueError(f"{expected} Got shape {tuple(weights.shape)}, or other numbers, instead.")
    return weights


def check_alignment_set(alignment_set: AlignmentSet, image_shape: torch.Size, labels: Tensor) -> None:
    """Raise unless the parts of the alignment set fit each other and the training images with these labels."""
    images = check_images("alignment_set.images", alignment_set.images)
    if images.shape[1:] != image_shape:
        raise ValueError(
            "The 'alignment_set.images' argument must hold images of the training images' shape "
            f"{tuple(image_shape)}. Got {tuple(images.shape[1:])} instead."
        )
    own = check_labels("alignment_set.labels", alignment_set.labels, len(images))
    if own.shape[1:] != labels.shape[1:]:
        raise ValueError(
            "The 'alignment_set.labels' argument must be of as many findings as the training labels, "
            f"{tuple(labels.shape[1:])}. Got {tuple(own.shape[1:])} instead."
        )
    if own.ndim == 2:
        check_findings("alignment_set.findings", alignment_set.findings, len(images), own.shape[1])
    elif alignment_set.findings is not None:
        raise ValueError(
            "The 'alignment_set.findings' argument must be None for labels of shape (n,), which are classes. "
            "Got findings."
        )
    if alignment_set.weights is not None:
        check_weights("alignment_set.weights", alignment_set.weights, len(images))
    check_masks("alignment_set.masks", alignment_set.masks, images.shape)


def check_masks(name: str, masks: object, image_shape: torch.Size) -> Tensor:
    """Return `masks`, a floating or bool tensor with a mask in [0, 1] for each image of shape (n, C, *spatial)."""
    shape = (image_shape[0], *image_shape[2:])
    expected = f"The {name!r} argument must be a floating or bool tensor of shape {shape}"
    if not isinstance(masks, Tensor):
        raise TypeError(f"{expected}. Got {type(masks).__name__} instead.")
    if not (masks.is_floating_point() or masks.dtype == torch.bool):
        raise TypeError(f"{expected}. Got {masks.dtype} instead.")
    if masks.shape != shape:
        raise ValueError(
            f"{expected}: a mask per image, shared by its channels. Got {tuple(masks.shape)} instead."
        )
    if masks.is_floating_point() and not bool(((masks >= 0) & (masks <= 1)).all()):
        raise ValueError(f"{expected} with values in [0, 1]. Got values outside, or NaN.")
    return masks
