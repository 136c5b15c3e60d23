"""A net's last linear map: find it, see what goes into it, and put another in its place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lvlm_va.modules.logits import evaluating, forward_logits, module_device_and_dtype


def find_last_layer(module: nn.Module, image: Tensor) -> nn.Linear:
    """Return the `nn.Linear` whose output is the module's logits.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    image : Tensor of shape (n, C, H, W)
        Images to try it on.

    Raises
    ------
    ValueError
        If the logits come from something else, or its weight is computed from other parameters.
    """
    outputs: list[tuple[nn.Linear, Tensor]] = []
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]

    def record(layer: nn.Linear, _: Any, output: Tensor) -> None:
        outputs.append((layer, output))

    hooks = [layer.register_forward_hook(record) for layer in layers]
    try:
        with evaluating(module), torch.no_grad():
            device, dtype = module_device_and_dtype(module)
            logits = forward_logits(module, image.to(device, dtype))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, output in reversed(outputs):
        if output.shape == logits.shape and torch.equal(output, logits):
            if "weight" not in dict(layer.named_parameters(recurse=False)):
                raise ValueError(
                    "The 'module' argument must end in a torch.nn.Linear whose weight is a parameter of its own, to be "
                    "fitted anew. Got one that is computed from others, as by weight_norm or spectral_norm; take it "
                    "off with torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')."
                )
            return layer
    raise ValueError(
        "The 'module' argument must end in a torch.nn.Linear, whose weights are fitted anew. Got a "
        f"{type(module).__name__} whose logits are not the output of any of its {len(layers)} linear layers."
    )


def embed(module: nn.Module, layer: nn.Linear, images: Tensor, *, batch_size: int) -> Tensor:
    """Return what goes into `layer`, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    layer : nn.Linear
        Its last layer.
    images : Tensor of shape (n, C, H, W)
        Images on any device.
    batch_size : int
        Images per batch.

    Returns
    -------
    Tensor of shape (n, d), float64, on the CPU
        Embeddings.
    """
    device, dtype = module_device_and_dtype(module)
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(
        lambda _, args: inputs.append(args[0].detach().to("cpu", torch.float64))
    )
    try:
        with evaluating(module), torch.no_grad():
            for part in images.split(batch_size):
                module(part.to(device, dtype))
    finally:
        hook.remove()
    return torch.cat(inputs)


def set_last_layer(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Give the layer these weights, of shape (K, d) and (K,); it gets a bias where it had none."""
    like = layer.weight
    with torch.no_grad():
        like.copy_(weight)
    layer.bias = nn.Parameter(bias.to(like), requires_grad=like.requires_grad)
