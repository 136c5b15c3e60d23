"""Meet every torch call of a forward pass, and give the nonlinear ones their DeepLIFT rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from lvlm_va.attribution.calls import Call, unfolded
from lvlm_va.attribution.composites import COMPOSITES
from lvlm_va.attribution.convolution import Convolutions, is_convolution
from lvlm_va.attribution.elementwise import elementwise
from lvlm_va.attribution.linear_ops import CONSTANT, is_linear, is_quadratic
from lvlm_va.attribution.pairwise import LogSumExp, Power, Quadratic, Quotient, Tap
from lvlm_va.attribution.pooling import MAX_POOLINGS, maximum
from lvlm_va.attribution.tape import Tape


class DeepLiftMode(TorchFunctionMode):
    """Route the calls of a forward pass whose arguments depend on the input.

    A linear one runs as it is and keeps its gradient. One with a rule runs as an autograd function that
    carries multipliers back. A composite runs as the simpler calls that it is made of. Any other keeps its
    gradient between two taps, which note what that costs.

    Parameters
    ----------
    tape : Tape
        Where the pass is recorded.
    convolutions : Convolutions
        What is known of the module's convolutions.
    """

    def __init__(self, tape: Tape, convolutions: Convolutions) -> None:
        super().__init__()
        self.tape = tape
        self.convolutions = convolutions
        self._numbers = {name: itertools.count() for name in ("conv2d", "batch_norm")}
        self._unfolding: set[Callable[..., Any]] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call; see the class."""
        call = Call(func, args, kwargs or {})
        if call.in_place:
            self.tape.protect(call.args[0])
        if not _is_python(call) or call.func in self._unfolding:
            self.convolutions.watch(call)
        if not call.dependents:
            return func(*call.args, **call.kwargs)
        if not torch.is_grad_enabled():
            return self._note_cut(call, func(*call.args, **call.kwargs))
        if call.name == "get":
            return self._note_cut(call, func(*call.args))
        if is_convolution(call):
            result = self.convolutions.convolve(call, next(self._numbers["conv2d"]))
            self.tape.count([result])
            return result
        if is_linear(call):
            result = func(*call.args, **call.kwargs)
            self.tape.count(pytree.tree_leaves(result))
            return self._note_cut(call, result)
        result = self._nonlinear(call)
        if call.in_place:
            self.tape.protect(call.args[0])
            result = call.args[0].copy_(result)
        return result

    def _nonlinear(self, call: Call) -> Any:
        if _is_python(call):
            return self._unfold(call)
        if call.name == "batch_norm" and self.convolutions.absorbs(call, next(self._numbers["batch_norm"])):
            return call.args[0]
        # The rules but the last compare and divide, which complex numbers (of a Fourier transform) do not allow.
        is_complex = any(tensor.is_complex() for tensor in call.dependents)
        for rule in (
            (_quadratic,) if is_complex else (elementwise, maximum, _logsumexp, _quotient, _power, _quadratic)
        ):
            result = rule(self.tape, call)
            if result is not NotImplemented:
                self.tape.count(pytree.tree_leaves(result))
                return result
        if call.name in COMPOSITES:
            with self:
                result = COMPOSITES[call.name](*call.args, **call.kwargs)
            if result is not NotImplemented:
                return result
        return self._without_rule(call)

    def _unfold(self, call: Call) -> Any:
        """Run a function of torch that is written in Python as the calls it makes."""
        if call.func in self._unfolding:
            return self._without_rule(call)
        self._unfolding.add(call.func)
        try:
            with self:
                return unfolded(call.func)(*call.args, **call.kwargs)
        finally:
            self._unfolding.discard(call.func)

    def _without_rule(self, call: Call) -> Any:
        """Run a call with its gradient for a multiplier, between taps."""
        n_records = len(self.tape.records)
        result = call.function(*(Tap.apply(tensor, self.tape, call.name, -1) for tensor in call.dependents))
        leaves, spec = pytree.tree_flatten(result)
        if not any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves):
            del self.tape.records[n_records:]
            return self._note_cut(call, result)
        self.tape.without_rule.add(call.name)
        tapped = [
            Tap.apply(leaf, self.tape, call.name, 1)
            if isinstance(leaf, Tensor) and leaf.requires_grad
            else leaf
            for leaf in leaves
        ]
        self.tape.count(tapped)
        return pytree.tree_unflatten(tapped, spec)

    def _note_cut(self, call: Call, result: Any) -> Any:
        """Remember a call whose result depends on the input but carries no gradient."""
        if call.name not in CONSTANT and any(
            isinstance(leaf, Tensor) and not leaf.requires_grad for leaf in pytree.tree_leaves(result)
        ):
            self.tape.cuts.add(call.attribute)
        return result


def _is_python(call: Call) -> bool:
    """Return whether this is a function of torch that is written in Python."""
    return isinstance(call.func, FunctionType) and call.name not in MAX_POOLINGS


def _logsumexp(tape: Tape, call: Call) -> Any:
    if call.name != "logsumexp" or len(call.dependents) != 1:
        return NotImplemented
    dim, keepdim = call.argument(1, "dim", None), call.argument(2, "keepdim", False)
    if not isinstance(dim, int):
        if len(dim) != 1:
            return NotImplemented
        (dim,) = dim
    total = LogSumExp.apply(call.args[0].movedim(dim, -1), tape).movedim(-1, dim)
    return total if keepdim else total.squeeze(dim)


def _quotient(tape: Tape, call: Call) -> Any:
    if call.name != "div" or len(call.dependents) != 2 or call.argument(2, "rounding_mode", None) is not None:
        return NotImplemented
    return Quotient.apply(tape, call.function, *call.dependents)


def _power(tape: Tape, call: Call) -> Any:
    exponent = call.argument(1, "exponent", None)
    if (
        call.name != "pow"
        or not isinstance(exponent, float)
        or not 0 < exponent != 0.5
        or exponent.is_integer()
    ):
        return NotImplemented
    return Power.apply(call.args[0], tape, call.function, exponent)


def _quadratic(tape: Tape, call: Call) -> Any:
    return (
        Quadratic.apply(tape, call.name, call.function, *call.dependents)
        if is_quadratic(call)
        else NotImplemented
    )
