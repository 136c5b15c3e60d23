"""What a module must be to be trained and explained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lvlm_va.common.warnings import warn
from lvlm_va.modules.logits import evaluating, forward_logits, module_device_and_dtype


def check_is_module(module: object) -> None:
    """Raise TypeError unless the 'module' argument is a torch module."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"The 'module' argument must be a torch.nn.Module. Got {type(module).__name__} instead."
        )


def check_is_eager(module: nn.Module) -> None:
    """Raise ValueError where the 'module' argument cannot be explained, as a part of it is TorchScript."""
    if any(isinstance(child, torch.jit.ScriptModule) for child in module.modules()):
        raise ValueError(
            "The 'module' argument must be an eager module: the nonlinear calls inside TorchScript "
            "cannot be met. Got a torch.jit.ScriptModule instead; pass the module that it was made from."
        )


def check_module(
    module: nn.Module,
    sample: Tensor,
    n_logits: tuple[int, ...] | None,
    *,
    differentiable: bool,
    trainable: bool = False,
    softmax: bool = True,
    argument: str = "module",
) -> int:
    """Try the module on a few images and say clearly what does not fit.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    sample : Tensor of shape (n, C, H, W)
        A few images, n >= 1.
    n_logits : tuple of int, or None
        How many logits there may be, the usual number first; None for any.
    differentiable : bool
        Whether logits must depend differentiably on the image.
    trainable : bool, default=False
        Whether logits must depend differentiably on a parameter that requires gradients.
    softmax : bool, default=True
        Whether several logits are of classes that exclude each other.
    argument : str, default="module"
        Name of the argument that held the module, for the errors.

    Returns
    -------
    int
        Number of logits.

    Raises
    ------
    ValueError
        If the module is wrapped for several GPUs or in half precision, has nothing to train, its logits have another
        width, or no gradient reaches what it must reach.

    Warns
    -----
    UserWarning
        If the module seems to end in a softmax, and `n_logits` is given.
    """
    says = f"The {argument!r} argument must"
    for name, part in module.named_modules():
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise ValueError(
                f"{says} hold no {type(part).__name__}, which cannot be explained. Got one{name and f' in {name!r}'}; "
                "pass the module inside it, its attribute 'module'. For several GPUs start several processes."
            )
    device, dtype = module_device_and_dtype(module)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{says} have float32 or float64 parameters. Got {dtype} instead: attributions lose completeness in half "
            "precision, and the penalty its second derivatives. Pass module.float()."
        )
    parameters = [p for p in module.parameters() if p.requires_grad] if trainable else []
    if trainable and not parameters:
        raise ValueError(f"{says} have parameters that require gradients. Got none to train.")
    with evaluating(module), torch.enable_grad():
        images = sample.detach().to(device, dtype, copy=True).requires_grad_(differentiable)
        try:
            logits = forward_logits(module, images)
        except RuntimeError as error:
            raise ValueError(
                f"{says} accept images of shape {('n', *images.shape[1:])}. It raised: {error}."
                " A module that expects flat rows needs torch.nn.Flatten() in front; flat rows of X need 'image_shape'."
            ) from error
        if n_logits is not None and logits.shape[1] not in n_logits:
            what, number = ("class", "classes") if softmax else ("finding", "findings")
            one = ", for which one logit will do, too" if 1 in n_logits[1:] else ""
            expected = f"return one logit per {what}: {n_logits[0]} {number} were found in y{one}."
            if n_logits == (1,):
                expected = "return one logit for task='binary'."
            raise ValueError(f"{says} {expected} Got logits of shape {tuple(logits.shape)} instead.")
        if n_logits is not None and softmax and _are_probabilities(logits):
            warn(
                f"{says} return logits, and its outputs look like probabilities: each image's add up to 1. The loss "
                "and the predictions take a softmax of them once more, which flattens both. Leave out its last softmax."
            )
        wanted = [*parameters, *[images] * differentiable]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if wanted and logits.requires_grad:
            found = torch.autograd.grad(logits.sum(), wanted, allow_unused=True)
    reached = [gradient is not None for gradient in found]
    for place, missing in (
        ("its parameters", trainable and not any(reached[: len(parameters)])),
        ("the image", differentiable and not reached[-1]),
    ):
        if missing:
            raise ValueError(
                f"{says} be differentiable from its logits to {place}: no gradient arrives. "
                "Remove detach(), argmax, rounding, .data or no_grad() from its forward."
            )
    return logits.shape[1]


def _are_probabilities(logits: Tensor) -> bool:
    logits = logits.detach()
    return logits.shape[1] > 1 and bool((logits >= 0).all() & ((logits.sum(1) - 1).abs() < 1e-5).all())
