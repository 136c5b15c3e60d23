"""The net's own view of an image: the last map of activations that still has a place for every part of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.modules.logits import evaluating, forward_logits


def find_feature_layer(module: nn.Module, images: Tensor) -> str | None:
    """Return the name of the last layer to run whose output is a map, or None where there is none (a dense net).

    Parameters
    ----------
    module : torch.nn.Module
        Any classifier of images; it stays as it is.
    images : Tensor of shape (n, C, H, W)
        One or two images, on the module's device.

    Returns
    -------
    str or None
        A name among ``module.named_modules()``. The layer's output has the shape (n, D, h, w) with h * w > 1.
    """
    last: list[str] = []
    handles = []
    for name, layer in module.named_modules():
        if not any(layer.children()):

            def note(layer: nn.Module, args: Any, output: Any, name: str = name) -> None:
                if _is_map(output, len(images)):
                    last.append(name)

            handles.append(layer.register_forward_hook(note))
    try:
        with torch.no_grad(), evaluating(module):
            forward_logits(module, images)
    finally:
        for handle in handles:
            handle.remove()
    return last[-1] if last else None


def feature_maps(module: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Return the layer's output for images on the module's device: shape (n, D, h, w), without a graph.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    layer : str
        Name of the layer.
    images : Tensor of shape (n, C, H, W)
        On the module's device.

    Returns
    -------
    Tensor of shape (n, D, h, w)
        The maps.
    """
    kept: list[Tensor] = []
    with _hooked(module.get_submodule(layer), len(images), kept), torch.no_grad(), evaluating(module):
        forward_logits(module, images)
    # A layer that is used several times: its last map, as in `find_feature_layer`.
    return kept[-1]


@contextmanager
def _hooked(layer: nn.Module, n: int, kept: list[Tensor]) -> Iterator[None]:
    def keep(layer: nn.Module, args: Any, output: Any) -> None:
        if _is_map(output, n):
            kept.append(output.detach())

    handle = layer.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _is_map(output: Any, n: int) -> bool:
    return (
        isinstance(output, Tensor)
        and output.ndim == 4
        and output.shape[0] == n
        and output.shape[2] * output.shape[3] > 1
    )
