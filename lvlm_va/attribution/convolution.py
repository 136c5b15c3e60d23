"""Convolutions of an attribution: batch normalisation folded in, and multipliers carried to the input alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lvlm_va.attribution.calls import Call
from lvlm_va.attribution.composites import scale_and_shift
from lvlm_va.attribution.pairwise import AllPairs
from lvlm_va.attribution.phases import Phases

# Calls that are no use of a convolution's values: what they read is of its shape, or they are watched step by step.
_NO_USE = frozenset(
    (
        "batch_norm",
        "device",
        "dim",
        "dtype",
        "is_cuda",
        "ndim",
        "ndimension",
        "numel",
        "requires_grad",
        "shape",
        "size",
    )
)


@dataclass
class Convolutions:
    """The 2-d convolutions of a module, numbered in the order of their calls.

    A first pass, over one image, watches what becomes of their results: where nothing but a batch normalisation
    by running statistics reads one, its scale and shift move into the convolution's weight and bias for all later
    passes. The user's module is not touched.

    Attributes
    ----------
    dtype : torch.dtype
        In which multipliers are carried through; the module's, or bfloat16.
    folded : dict of int to (Tensor, Tensor)
        Weight and bias of the convolutions that do their batch normalisation's work too.
    absorbed : set of int
        Numbers of the batch normalisations that have nothing left to do.
    """

    dtype: torch.dtype
    folded: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    absorbed: set[int] = field(default_factory=set)
    watching: bool = True
    _results: dict[int, tuple[int, Tensor, Tensor, Tensor | None]] = field(default_factory=dict)
    _uses: Counter[int] = field(default_factory=Counter)
    _norms: dict[int, tuple[int, Tensor, Tensor]] = field(default_factory=dict)

    def watch(self, call: Call) -> None:
        """Count the uses of each convolution's result."""
        if not self.watching or call.attribute in _NO_USE:
            return
        for tensor in call.dependents:
            if id(tensor) in self._results:
                self._uses[self._results[id(tensor)][0]] += 1

    def convolve(self, call: Call, number: int) -> Tensor:
        """Run the convolution of this number."""
        x = call.args[0]
        weight, bias = call.argument(1, "weight", None), call.argument(2, "bias", None)
        if number in self.folded:
            weight, bias = self.folded[number]
        result: Tensor = _Convolution.apply(x, weight, bias, _geometry(call), self.dtype)
        if self.watching:
            self._results[id(result)] = (number, result, weight, bias)
        return result

    def absorbs(self, call: Call, number: int) -> bool:
        """Return whether the batch normalisation of this number has been folded away."""
        if self.watching and len(call.dependents) == 1 and id(call.args[0]) in self._results:
            affine = scale_and_shift(*call.args[1:], **call.kwargs)
            if affine is not None:
                self._norms[self._results[id(call.args[0])][0]] = (number, *affine)
        return number in self.absorbed

    def settle(self) -> bool:
        """Fold what can be folded, watch no more, and return whether there are convolutions at all."""
        found = bool(self._results)
        for number, _, weight, bias in self._results.values():
            if number in self._norms and self._uses[number] == 1:
                norm, scale, shift = self._norms[number]
                shift = shift if bias is None else torch.addcmul(shift, bias, scale)
                self.folded[number] = (weight * scale.view(-1, 1, 1, 1), shift)
                self.absorbed.add(norm)
        self.watching = False
        for notes in (self._results, self._uses, self._norms):
            notes.clear()
        return found


def is_convolution(call: Call) -> bool:
    """Return whether this is a 2-d convolution of a batch by a constant kernel, its padding in numbers."""
    return (
        call.name == "conv2d"
        and len(call.dependents) == 1
        and call.dependents[0] is call.args[0]
        and call.args[0].ndim == 4
        and not isinstance(call.argument(4, "padding", 0), str)
    )


def fastest_layout(device: torch.device, dtype: torch.dtype) -> torch.memory_format | None:
    """Return the layout in which multipliers pass convolutions fastest, None for the module's own.

    oneDNN reorders other layouts before and after each call: at 64 channels of 56x56 that costs more than half as
    much again as the convolution.
    """
    is_onednn = device.type == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available()
    return torch.channels_last if is_onednn and torch.backends.mkldnn.enabled else None


def _geometry(call: Call) -> tuple[Any, ...]:
    """Return stride, padding, dilation and groups."""
    pairs = (
        _pair(call.argument(i, name, d))
        for i, name, d in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    return (*pairs, call.argument(6, "groups", 1))


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


class _Convolution(torch.autograd.Function):
    """A convolution by constants: it keeps no activation, and its backward has one batch for all pairs."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: tuple[Any, ...],
        dtype: torch.dtype,
    ) -> Tensor:
        """Compute what the module computes."""
        layout = fastest_layout(x.device, x.dtype)
        phases = Phases.of(weight.to(dtype), *geometry) if layout is torch.channels_last else None
        kernel = weight.to(dtype, memory_format=layout or torch.preserve_format)
        ctx.extra = (phases or kernel, geometry, x.shape[1:], layout or torch.contiguous_format)
        return torch.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Carry multipliers from the output to the input."""
        return AllPairs.apply(_to_input, ctx.extra, grad), None, None, None, None


def _to_input(
    grad: Tensor,
    kernel: Tensor | Phases,
    geometry: tuple[Any, ...],
    shape: torch.Size,
    layout: torch.memory_format,
) -> Tensor:
    """Return the multipliers (B, n, C, H, W) of a convolution's input."""
    weight = kernel.kernel if isinstance(kernel, Phases) else kernel
    flat = grad.flatten(0, 1).to(weight.dtype, memory_format=layout)
    if isinstance(kernel, Phases):
        result = kernel.to_input(flat, *shape[1:])
    else:
        # Of the input itself the derivative needs the shape alone; laid out any other way it would be copied.
        like = torch.empty((len(flat), *shape), dtype=flat.dtype, device=flat.device, memory_format=layout)
        *sizes, groups = geometry
        result, _, _ = torch.ops.aten.convolution_backward.default(
            flat, like, weight, None, *sizes, False, [0, 0], groups, [True, False, False]
        )
    pairs: Tensor = result.to(grad.dtype).unflatten(0, grad.shape[:2])
    return pairs
