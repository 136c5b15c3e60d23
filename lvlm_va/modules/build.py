"""From what the user passes as ``module`` to a torch module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lvlm_va.common.errors import unknown_name
from lvlm_va.common.randomness import isolated_generators, seed_generators
from lvlm_va.data.stored_images import ImageShape
from lvlm_va.modules.built_in import BUILT_IN, default_net
from lvlm_va.modules.logits import copy_module
from lvlm_va.modules.named import FORMS, is_named, named_net


def build_module(
    spec: nn.Module | Callable[[], nn.Module] | str | None,
    image_shape: ImageShape,
    n_classes: int,
    *,
    seed: int,
    default_dtype: torch.dtype,
) -> nn.Module:
    """Return a module of our own: a copy of the user's, the callable's, a built-in net, or one by name.

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
    ImportError
        If a package that a name stands for is missing.
    ValueError
        If a name is unknown, or a folder holds no net.
    TypeError
        If `spec`, or what a callable returns, is no module.
    """
    if isinstance(spec, nn.Module):
        return copy_module(spec)
    # Layers draw their first weights from the global generator; the fork keeps the user's untouched.
    cpu = torch.device("cpu")
    with isolated_generators(cpu):
        seed_generators(cpu, seed)
        if spec is None:
            return default_net(image_shape, n_classes).to(default_dtype)
        if isinstance(spec, str):
            if is_named(spec):
                return named_net(spec, image_shape, n_classes)
            if spec not in BUILT_IN:
                raise unknown_name("module", spec, [*BUILT_IN, *FORMS])
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
        f"one of {sorted(BUILT_IN)}, {', '.join(FORMS)}, or None. Got {type(spec).__name__} instead."
    )
