"""Call a user's module: logits out of whatever it returns, and evaluation mode without a trace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from lvlm_va.common.errors import NotFiniteError
from lvlm_va.data.stored_images import ImageRows, image_batches


def forward_logits(module: Callable[[Tensor], object], images: Tensor) -> Tensor:
    """Return the logits of `module` for a batch of images.

    Parameters
    ----------
    module : torch.nn.Module, or any callable that stands for one
        Its output is a tensor of shape (n, K), or (n,) for one logit per image, or an object with such a tensor
        as ``.logits`` (transformers' models).
    images : Tensor of shape (n, C, H, W)
        Images, on the module's device and in its dtype.

    Returns
    -------
    Tensor of shape (n, K)
        Logits.

    Raises
    ------
    TypeError
        If the output is neither a tensor nor an object with ``.logits``.
    ValueError
        If the logits have another shape than (n, K).
    """
    output = module(images)
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise TypeError(
            "The module must return a logits tensor or an object with a 'logits' tensor. "
            f"Got {type(output).__name__} instead. Where the logits are a part of it, name that part with 'output', "
            "such as output=0 of a tuple or output='logits' of a dict."
        )
    n = len(images)
    if logits.ndim < 2 and logits.numel() == n:
        logits = logits.reshape(n, 1)  # one number per image
    if logits.ndim != 2 or len(logits) != n:
        hint = "A module that expects flat rows needs torch.nn.Flatten() in front."
        raise ValueError(
            f"The module must return logits of shape ({n}, n_classes) for images of shape "
            f"{tuple(images.shape)}. Got shape {tuple(logits.shape)} instead. {hint}"
        )
    return logits


def is_compiled(module: nn.Module) -> bool:
    """Return whether `module`, or a part of it, went through `torch.compile`."""
    return any(
        hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )


def is_batch_norm(layer: nn.Module) -> bool:
    """Return whether a layer is a batch normalisation, or what torch.jit.script made of one."""
    return isinstance(layer, _BatchNorm) or "BatchNorm" in str(getattr(layer, "original_name", ""))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Put every submodule into evaluation mode, and give each its own mode and plain attributes back afterwards.

    Counters, activations and maps that a forward pass leaves in ``self`` are no part of the classifier: they would make
    another one of it in a run directory, and keep graphs in memory. A module of torch.export has no modes to choose
    between: it stays in that in which it was exported.
    """
    # What torch.compile makes of a module has the mode of the module inside, and none in its own attributes.
    before = {child: (type(child), child.training, dict(vars(child))) for child in module.modules()}
    try:
        with suppress(NotImplementedError):
            module.eval()
        yield module
    finally:
        for child, (kind, training, attributes) in before.items():
            if type(child) is kind:  # a lazy layer has become what it is
                _give_back(vars(child), attributes)
            child.training = training


def module_device_and_dtype(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where the module's floating parameters (or else buffers) live; CPU and float32 without any."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def predict_logits(module: nn.Module, images: ImageRows, *, batch_size: int) -> Tensor:
    """Return the logits of any number of images, in evaluation mode and without gradients.

    A logit of minus infinity, of a class that is ruled out, is let through unless all of them are.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier; left as it was.
    images : Tensor or StoredImages of shape (n, C, H, W)
        Images on any device; each batch is moved to the module's device and dtype.
    batch_size : int
        Images per batch.

    Returns
    -------
    Tensor of shape (n, K), float64, on the CPU
        Logits.

    Raises
    ------
    NotFiniteError
        If logits give no probabilities, NaN or infinity among them; it names the images, and the part of the module
        where that begins.
    """
    device, dtype = module_device_and_dtype(module)
    with evaluating(module), torch.no_grad():
        parts = [forward_logits(module, part) for part in image_batches(images, batch_size, device, dtype)]
        logits = torch.cat(parts).to("cpu", torch.float64)
        bad = logits.softmax(1).isnan().any(1).nonzero().flatten()
        if len(bad):
            image = images[bad[:1]].to(device, dtype)
            raise not_finite(module, bad.tolist(), lambda: module(image))
    return logits


def copy_module(module: nn.Module) -> nn.Module:
    """Return a deep copy; of a tensor that a forward pass left in the module, without its graph."""
    with _DetachedCopies(), torch.no_grad():  # TorchScript's copies would hang on the graph of the original
        copied = copy.deepcopy(module)
    for parameter, own in zip(copied.parameters(), module.parameters(), strict=True):
        parameter.requires_grad_(own.requires_grad)
    return copied


def not_finite(module: nn.Module, images: Sequence[int], forward: Callable[[], object]) -> NotFiniteError:
    """Return the error for logits of these images that are NaN or infinite.

    Parameters
    ----------
    module : torch.nn.Module
        The classifier.
    images : sequence of int
        Which images they are.
    forward : callable
        Runs the module on one of them, to find in which of its parts it begins.
    """
    names = {id(part): name for name, part in module.named_modules()}
    broken: list[str] = []

    def look(part: nn.Module, args: object, output: object) -> None:
        leaves = pytree.tree_leaves(output)
        if any(isinstance(leaf, Tensor) and not bool(leaf.isfinite().all()) for leaf in leaves):
            broken.append(f"{names.get(id(part), '')!r} ({type(part).__name__})")

    # One for all modules: the user's own hooks are not touched.
    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        forward()
    finally:
        handle.remove()
    hint = f"They begin in its part {broken[0]}." if broken else ""
    return NotFiniteError("The 'module' argument must return finite logits.", images, hint)


def on_cpu(module: nn.Module) -> nn.Module:
    """Return the module, or a copy on the CPU where it is elsewhere."""
    return module if module_device_and_dtype(module)[0].type == "cpu" else copy_module(module).cpu()


class _DetachedCopies(TorchFunctionMode):
    """Lets `copy.deepcopy` copy tensors that have a graph, which torch refuses."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return func(*args, **(kwargs or {}))


def _give_back(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if not name.startswith("_") and name not in before]:
        del now[name]
    for name, value in before.items():
        if not name.startswith("_") and now.get(name) is not value:
            now[name] = value
