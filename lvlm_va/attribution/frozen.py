"""Run a user's module without leaving a trace on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lvlm_va.modules.checks import check_is_eager, check_is_module
from lvlm_va.modules.logits import evaluating, forward_logits, is_compiled, module_device_and_dtype

_HALF = (torch.float16, torch.bfloat16)

# A module on loan holds other tensors than its own: it is lent to one thread at a time.
_LENT = threading.RLock()


class FrozenModule:
    """A module as a function of its input alone.

    It runs on detached parameters and copies of its buffers, in evaluation mode and eagerly, with gradients
    on, autocast off and float32 products in full precision, whatever the caller's context says. Hooks,
    training flags, ``requires_grad``, parameters, buffers and whatever else of tensors its parts hold are what
    they were afterwards, the very same objects, also when the forward pass raises.

    Parameters
    ----------
    module : torch.nn.Module
        The user's module.
    dtype : torch.dtype, optional
        What it shall compute in; None leaves it at its own.

    Raises
    ------
    TypeError
        If it is no module.
    ValueError
        If it is in half precision, or scripted.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype | None = None) -> None:
        check_is_module(module)
        check_is_eager(module)
        half = [name for name, p in module.named_parameters() if p.dtype in _HALF]
        if half:
            raise ValueError(
                "The 'module' argument must be in float32 or float64: differences between activations lose "
                f"their digits in half precision. Got {module.get_parameter(half[0]).dtype} in {half[0]!r} "
                "instead; pass module.float()."
            )
        self.module = module
        self.device, own = module_device_and_dtype(module)
        self.dtype = own if dtype is None else dtype
        self._cast = None if self.dtype == own else self.dtype
        self._parameters = {id(p): _detached(p, self._cast) for p in module.parameters()}

    @contextmanager
    def running(self, *, tf32: bool = False) -> Iterator[None]:
        """Set up the context in which the module is called and differentiated.

        Parameters
        ----------
        tf32 : bool
            Let a GPU multiply float32 in TF32.
        """
        with ExitStack() as stack:
            stack.enter_context(_LENT)
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            stack.enter_context(_precision(self.device, tf32=tf32))
            stack.enter_context(evaluating(self.module))
            if is_compiled(self.module):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (n, K) of the module for `images`, differentiable in `images` alone."""
        with _on_loan(self.module, self._parameters, self._cast):
            logits = forward_logits(self.module, images)
        if not logits.is_floating_point():
            raise ValueError(
                "The 'module' argument must return floating-point logits that can be differentiated. "
                f"Got {logits.dtype} instead; return the scores before argmax or rounding."
            )
        return logits


def not_differentiable() -> ValueError:
    """Return the error for logits that do not depend on the input through differentiable calls."""
    return ValueError(
        "The 'module' argument must be differentiable from its logits to its input. Got logits without a "
        "gradient instead; look for detach(), .data, no_grad(), numpy or argmax in its forward pass."
    )


def _detached(parameter: Tensor, dtype: torch.dtype | None) -> Tensor:
    with torch.inference_mode(False):
        detached = parameter.detach()
        return _cast(detached.clone() if detached.is_inference() else detached, dtype)


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


@contextmanager
def _on_loan(module: nn.Module, parameters: dict[int, Tensor], dtype: torch.dtype | None) -> Iterator[None]:
    """Put other tensors into a module for one forward pass, and then give every part back what it held.

    Whatever holds a tensor counts, under however many names: parameters, buffers, attributes, lists and dicts.

    Parameters
    ----------
    module : torch.nn.Module
        The user's module.
    parameters : dict of int to Tensor
        What stands for each parameter, by its id. Any other tensor is copied.
    dtype : torch.dtype or None
        Of what is lent, where it is floating; None for its own.
    """
    copies = dict(parameters)

    def lent(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in copies:
            is_parameter = isinstance(value, nn.Parameter)
            copies[id(value)] = (
                _detached(value, dtype) if is_parameter else _cast(value.detach().clone(), dtype)
            )
        return copies[id(value)]

    parts = [vars(part) for part in _parts(module)]
    held = [dict(attributes) for attributes in parts]
    collections = [v for attributes in parts for v in attributes.values() if isinstance(v, dict | list)]
    contents = [list(c) if isinstance(c, list) else dict(c) for c in collections]
    try:
        for collection, content in zip(collections, contents, strict=True):
            _fill(
                collection,
                [lent(v) for v in content]
                if isinstance(content, list)
                else {k: lent(v) for k, v in content.items()},
            )
        for attributes in parts:
            attributes.update({k: lent(v) for k, v in attributes.items() if isinstance(v, Tensor)})
        yield
    finally:
        for attributes, before in zip(parts, held, strict=True):
            for key in [k for k in {**attributes, **before} if attributes.get(k) is not before.get(k)]:
                if _has_tensors(before.get(key)) or _has_tensors(attributes.get(key)):
                    attributes.pop(key, None)
                    attributes.update({key: before[key]} if key in before else {})
        for collection, content in zip(collections, contents, strict=True):
            _fill(collection, content)


def _parts(module: nn.Module) -> list[nn.Module]:
    """Return a module and all modules that it is made of, those kept in a list or dict unregistered included."""
    found = {id(module): module}
    waiting = [module]
    while waiting:
        for value in vars(waiting.pop()).values():
            several = value.values() if isinstance(value, dict) else value
            for part in several if isinstance(value, dict | list | tuple) else (value,):
                if isinstance(part, nn.Module) and id(part) not in found:
                    found[id(part)] = part
                    waiting.append(part)
    return list(found.values())


def _has_tensors(value: Any) -> bool:
    return any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(value))


def _fill(collection: Any, content: Any) -> None:
    """Make a list or dict hold this content; one that does is not touched."""
    if isinstance(collection, list):
        if len(collection) != len(content) or any(
            a is not b for a, b in zip(collection, content, strict=True)
        ):
            collection[:] = content
    elif collection.keys() != content.keys() or any(collection[key] is not content[key] for key in content):
        collection.clear()
        collection.update(content)


@contextmanager
def _precision(device: torch.device, *, tf32: bool) -> Iterator[None]:
    """Multiply float32 as float32: in TF32, cuDNN's default, a convolution is linear to three digits only."""
    backends: Any = torch.backends
    if device.type == "cuda":
        settings = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
    else:
        settings = (backends.mkldnn.conv, backends.mkldnn.rnn, backends.mkldnn.matmul)
    wanted = "tf32" if tf32 and device.type == "cuda" else "ieee"
    fine = (wanted,) if wanted == "tf32" else (wanted, "none")
    before = [(setting, setting.fp32_precision) for setting in settings]
    changed = [(setting, precision) for setting, precision in before if precision not in fine]
    try:
        for setting, _ in changed:
            setting.fp32_precision = wanted
        yield
    finally:
        for setting, precision in changed:
            setting.fp32_precision = precision
