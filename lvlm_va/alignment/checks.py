"""What the training loop asks of its arguments."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor, nn

from lvlm_va.alignment.types import AlignmentSet
from lvlm_va.data.stored_images import ImageRows, StoredImages
from lvlm_va.modules.logits import evaluating, forward_logits, module_device_and_dtype


def check_integer(name: str, value: object, smallest: int) -> None:
    """Raise unless `value` is an integer >= `smallest`."""
    message = f"The {name!r} argument must be an integer >= {smallest}. Got {value!r} instead."
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(message)
    if int(value) < smallest:
        raise ValueError(message)


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
    """Return `labels`, an integer tensor of shape (n,) with no negative value."""
    expected = f"The {name!r} argument must be an int64 tensor of shape ({n},) of class numbers from 0."
    if not isinstance(labels, Tensor):
        raise TypeError(f"{expected} Got {type(labels).__name__} instead.")
    if labels.dtype != torch.int64:
        raise TypeError(f"{expected} Got {labels.dtype} instead.")
    if labels.shape != (n,):
        raise ValueError(f"{expected} Got shape {tuple(labels.shape)} instead.")
    if int(labels.min()) < 0:
        raise ValueError(f"{expected} Got {int(labels.min())} among them.")
    return labels


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


def check_alignment_set(alignment_set: AlignmentSet, image_shape: torch.Size) -> None:
    """Raise unless the parts of the alignment set fit each other and the training images."""
    images = check_images("alignment_set.images", alignment_set.images)
    if images.shape[1:] != image_shape:
        raise ValueError(
            "The 'alignment_set.images' argument must hold images of the training images' shape "
            f"{tuple(image_shape)}. Got {tuple(images.shape[1:])} instead."
        )
    check_labels("alignment_set.labels", alignment_set.labels, len(images))
    masks, shape = alignment_set.masks, (len(images), *image_shape[1:])
    expected = f"The 'alignment_set.masks' argument must be a floating or bool tensor of shape {shape}"
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


def check_module(module: nn.Module, images: ImageRows, labels: Tensor, *, penalised: bool) -> None:
    """Try `module` on one image, and say clearly what does not fit.

    Parameters
    ----------
    module : torch.nn.Module
        A copy of the user's.
    images : Tensor or StoredImages of shape (n, C, *spatial), n >= 1
        Only the first is used.
    labels : Tensor of shape (m,), int64
        Every label that will be trained on.
    penalised : bool
        Whether input gradients are needed.

    Raises
    ------
    ValueError
        If the module is in half precision, has nothing to train, too few logits, or passes no gradient to its
        parameters or, when `penalised`, to the image.
    """
    device, dtype = module_device_and_dtype(module)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"The 'module' argument must have float32 or float64 parameters. Got {dtype} instead, which loses the "
            "second derivatives of the penalty. Pass module.float()."
        )
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError(
            "The 'module' argument must have parameters that require gradients. Got none to train."
        )
    with evaluating(module), torch.enable_grad():
        image = images[:1].detach().to(device, dtype, copy=True).requires_grad_(penalised)
        logits = forward_logits(module, image)
        if int(labels.max()) >= logits.shape[1]:
            raise ValueError(
                f"The 'labels' argument must lie in 0 to {logits.shape[1] - 1}, the module's outputs. "
                f"Got {int(labels.max())} among them."
            )
        wanted = [*parameters, image] if penalised else parameters
        found: tuple[Tensor | None, ...] = (None,) * len(wanted)
        if logits.requires_grad:
            found = torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
    if all(gradient is None for gradient in found[: len(parameters)]):
        raise ValueError(
            "The 'module' argument must be differentiable from its logits to its parameters: no gradient arrives. "
            "Remove detach(), argmax, rounding, .data or no_grad() from its forward."
        )
    if penalised and found[-1] is None:
        raise ValueError(
            "The 'module' argument must be differentiable from its logits to the image: no gradient arrives. "
            "Remove detach(), argmax, rounding, .data or no_grad() from its forward."
        )
