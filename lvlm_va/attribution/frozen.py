"""Run a user's module without leaving a trace on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lvlm_va.modules.checks import check_is_module
from lvlm_va.modules.logits import evaluating, forward_logits, is_compiled, module_device_and_dtype

_HALF = (torch.float16, torch.bfloat16)


class FrozenModule:
    """A module as a function of its input alone.

    It runs on detached parameters and copies of its buffers, in evaluation mode and eagerly, with gradients
    on, autocast off and float32 products in full precision, whatever the caller's context says. Hooks,
    training flags, ``requires_grad``, parameters and buffers are what they were afterwards, also when the
    forward pass raises.

    Parameters
    ----------
    module : torch.nn.Module
        The user's module.

    Raises
    ------
    TypeError
        If it is no module.
    ValueError
        If it is in half precision, or scripted.
    """

    def __init__(self, module: nn.Module) -> None:
        check_is_module(module)
        if any(isinstance(child, torch.jit.ScriptModule) for child in module.modules()):
            raise ValueError(
                "The 'module' argument must be an eager module: the nonlinear calls inside TorchScript "
                "cannot be met. Got a torch.jit.ScriptModule instead; pass the module that it was made from."
            )
        half = [name for name, p in module.named_parameters() if p.dtype in _HALF]
        if half:
            raise ValueError(
                "The 'module' argument must be in float32 or float64: differences between activations lose "
                f"their digits in half precision. Got {module.get_parameter(half[0]).dtype} in {half[0]!r} "
                "instead; pass module.float()."
            )
        self.module = module
        self.device, self.dtype = module_device_and_dtype(module)
        self._parameters = {name: _own(parameter) for name, parameter in module.named_parameters()}

    @contextmanager
    def running(self, *, tf32: bool = False) -> Iterator[None]:
        """Set up the context in which the module is called and differentiated.

        Parameters
        ----------
        tf32 : bool
            Let a GPU multiply float32 in TF32.
        """
        with ExitStack() as stack:
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
        buffers = {name: buffer.detach().clone() for name, buffer in self.module.named_buffers()}
        state = {**self._parameters, **buffers}
        logits = forward_logits(lambda x: functional_call(self.module, state, (x,)), images)
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


def _own(parameter: Tensor) -> Tensor:
    with torch.inference_mode(False):
        detached = parameter.detach()
        return detached.clone() if detached.is_inference() else detached


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
