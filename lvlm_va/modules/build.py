"""From what the user passes as ``module`` to a checked torch module."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.randomness import isolated_generators, seed_generators
from lvlm_va.data.stored_images import ImageShape
from lvlm_va.modules.built_in import BUILT_IN, default_net
from lvlm_va.modules.logits import evaluating, forward_logits, module_device_and_dtype


def build_module(
    spec: nn.Module | Callable[[], nn.Module] | str | None,
    image_shape: ImageShape,
    n_classes: int,
    *,
    seed: int,
    default_dtype: torch.dtype,
) -> nn.Module:
    """Return a module of our own: a copy of the user's, the callable's, or a built-in net.

    Parameters
    ----------
    spec : torch.nn.Module, callable, str or None
        What the user passed as ``module``.
    image_shape : tuple of (C, H, W)
        Shape of one image.
    n_classes : int
        Number of classes.
    seed : int
        Seed of the initial weights of callables and built-in nets.
    default_dtype : torch.dtype
        Floating type of the net behind None.

    Returns
    -------
    torch.nn.Module
        Never a module that the user passed; one that a callable returned is its own.

    Raises
    ------
    ValueError
        If a name is unknown.
    TypeError
        If `spec`, or what a callable returns, is no module.
    """
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    # Layers draw their first weights from the global generator; the fork keeps the user's untouched.
    cpu = torch.device("cpu")
    with isolated_generators(cpu):
        seed_generators(cpu, seed)
        if spec is None:
            return default_net(image_shape, n_classes).to(default_dtype)
        if isinstance(spec, str):
            if spec not in BUILT_IN:
                raise unknown_name("module", spec, BUILT_IN)
            return BUILT_IN[spec](image_shape, n_classes)
        if callable(spec):
            module = spec()
            if isinstance(module, nn.Module):
                return module
            raise TypeError(
                f"The 'module' callable must return a torch.nn.Module. Got {type(module).__name__} instead."
            )
    raise TypeError(
        "The 'module' argument must be a torch.nn.Module, a callable without arguments that returns one, "
        f"one of {sorted(BUILT_IN)}, or None. Got {type(spec).__name__} instead."
    )


def check_module(
    module: nn.Module, sample: Tensor, n_classes: int, *, differentiable: bool, argument: str = "module"
) -> None:
    """Try the module on a few images and say clearly what does not fit.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    sample : Tensor of shape (n, C, H, W)
        A few images, n >= 1.
    n_classes : int
        Number of classes that the logits must have.
    differentiable : bool
        Whether logits must depend differentiably on the image.
    argument : str, default="module"
        Name of the argument that held the module, for the errors.

    Raises
    ------
    ValueError
        If the module is in half precision, its logits have another width, or no gradient reaches the image.
    """
    device, dtype = module_device_and_dtype(module)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"The {argument!r} argument must have float32 or float64 parameters. Got {dtype}: attributions and input "
            "gradients lose completeness in half precision. Pass module.float()."
        )
    with evaluating(module), torch.enable_grad():
        images = sample.to(device, dtype, copy=True).requires_grad_()
        try:
            logits = forward_logits(module, images)
        except RuntimeError as error:
            raise ValueError(
                f"The {argument!r} argument must accept images of shape {('n', *images.shape[1:])}. It raised: {error}."
                " A module that expects flat rows needs torch.nn.Flatten() in front; flat rows of X need 'image_shape'."
            ) from error
        if logits.shape[1] != n_classes:
            raise ValueError(
                f"The {argument!r} argument must return one logit per class: {n_classes} classes were found in y. "
                f"Got logits of shape {tuple(logits.shape)} instead."
            )
        if not differentiable:
            return
        reaches = logits.requires_grad and (
            torch.autograd.grad(logits.sum(), images, allow_unused=True)[0] is not None
        )
    if not reaches:
        raise ValueError(
            f"The {argument!r} argument must be differentiable from its logits back to the image: no gradient arrives. "
            "Remove detach(), argmax, rounding, .data or no_grad() from its forward."
        )
