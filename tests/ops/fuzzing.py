"""Calls of the ops as nobody writes them, and what they do in a process of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lvlm_va.ops  # noqa: F401  (registers the ops)

REAL = [0.0, -0.0, 1.0, -1.0, 1e-3, -1e30, float("inf"), float("-inf"), float("nan")]
WHOLE = [0, 1, 2, 3, 7, -1, 2**31, 2**62, -(2**63), 2**63 - 1]
# Ops of references and images: the images are along the second axis.
PAIRS = ["rescale_multipliers", "maxpool_rescale", "attribution_reduce"]
LAYOUTS = ["whole", "reversed", "every second", "one for all", "odd address"]


@dataclass(frozen=True)
class Drawn:
    """A tensor, as it is drawn.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : torch.dtype
        Its type.
    layout : str
        How it lies in memory, one of `LAYOUTS`.
    extreme : bool
        Whether it holds infinities, NaN, denormals and the like, not plain numbers.
    seed : int
        Of its values.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    layout: str
    extreme: bool
    seed: int

    def tensor(self) -> Tensor:
        """Return the tensor."""
        return laid_out(self._values(), self.layout)

    def _values(self) -> Tensor:
        draw = torch.Generator().manual_seed(self.seed)
        if self.extreme:
            values = torch.tensor(self._extremes(), dtype=self.dtype)
            return values[torch.randint(len(values), self.shape, generator=draw)]
        if self.dtype.is_floating_point:
            return torch.randn(self.shape, generator=draw, dtype=torch.float64).to(self.dtype)
        return torch.randint(2, self.shape, generator=draw).to(self.dtype)

    def _extremes(self) -> list[Any]:
        if self.dtype.is_floating_point:
            facts = torch.finfo(self.dtype)
            return [*REAL, facts.max, facts.min, facts.tiny, facts.smallest_normal / 4, facts.eps]
        return WHOLE if self.dtype == torch.int64 else [0, 1]


def laid_out(values: Tensor, layout: str) -> Tensor:
    """Return the same values with other strides; of "one for all", those of the first row everywhere."""
    if layout == "reversed":
        around = tuple(reversed(range(values.ndim)))
        return values.permute(around).contiguous().permute(around)
    if layout == "every second" and values.ndim:
        return torch.stack([values, torch.ones_like(values)], -1).flatten(-2)[..., ::2]
    if layout == "one for all" and values.ndim and len(values):
        return values[:1].expand(values.shape)
    if layout == "odd address":
        return torch.cat([values.new_ones(1), values.flatten()])[1:].view(values.shape)
    return values


@dataclass(frozen=True)
class Call:
    """A call of an op.

    Attributes
    ----------
    op : str
        Its name.
    arguments : tuple
        Tensors as `Drawn`, and all else as it is.
    fits : bool
        Whether the op must take it.
    """

    op: str
    arguments: tuple[Any, ...]
    fits: bool = True


def outcome(call: Call) -> str:
    """Return "" for a call that did as it should, and otherwise what it did.

    It raises only what does not fit, and leaves its arguments as they are. However these lie in memory, every image's
    result is, bit for bit, the one that it has alone.
    """
    arguments = [part.tensor() if isinstance(part, Drawn) else part for part in call.arguments]
    before = [part.clone() if isinstance(part, Tensor) else part for part in arguments]
    try:
        found = _run(call.op, arguments)
    except (IndexError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}" if call.fits else ""
    if not _same(arguments, before):
        return "an argument was changed"
    if call.fits:
        of_pairs = call.op in PAIRS
        for i in range(before[of_pairs].shape[of_pairs]):
            alone = _run(call.op, [_of_image(part, i, int(of_pairs)) for part in before])
            axis = int(of_pairs and call.op != "attribution_reduce")
            if not _same([_of_image(part, i, axis) for part in found], alone):
                return f"image {i} has another result alone"
    return ""


def _run(op: str, arguments: list[Any]) -> list[Tensor]:
    found = getattr(torch.ops.lvlm_va, op)(*arguments)
    return [found] if isinstance(found, Tensor) else list(found)


def _of_image(part: Any, image: int, axis: int) -> Any:
    if not isinstance(part, Tensor) or part.shape[axis] == 1:
        return part
    return part.narrow(axis, image, 1).contiguous()


def _same(found: list[Any], expected: list[Any]) -> bool:
    pairs = [pair for pair in zip(found, expected, strict=True) if isinstance(pair[0], Tensor)]
    return all(a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in pairs)
