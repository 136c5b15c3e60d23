"""Where the rows of the batch lie in what was recorded.

Inside a recorded tensor the rows of the batch may be one dimension, or part of one: attention folds heads
into the batch, window attention windows, and views of an image may come one after the other. A `Layout` is found
by looking for the values of a pass over one image in a pass over two, and brings tensors into the common shape
``(rows, fold, *rest)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Mean differences, relative to a tensor's values, up to which a row is the same, and up to which only rounding
# makes it another. What cancelled is only rounding: its values count as no less than this share of the largest before.
_SAME, _ROUNDING, _LEAST = 1e-2, 1e-5, 1e-4

_BY_ITSELF = "The 'module' argument must treat each image of a batch by itself."


@dataclass
class Record:
    """One call: the name of its op, and the tensors that its backward needs from both passes."""

    name: str
    tensors: list[Tensor]


@dataclass(frozen=True)
class Layout:
    """Where the batch lies in a tensor: dimension `dim` holds ``before * rows * after`` values, in this order.

    Attributes
    ----------
    shape : torch.Size
        Of the tensor in a pass over one image.
    dim, before, after : int
        The dimension, and what is folded into it.
    """

    shape: torch.Size
    dim: int
    before: int
    after: int

    def to_rows(self, tensor: Tensor, n_rows: int) -> Tensor:
        """Return `tensor` as ``(n_rows, fold, *rest)``."""
        rows: Tensor = tensor.movedim(self.dim, 0).unflatten(0, (self.before, n_rows, self.after))
        return rows.transpose(0, 1).flatten(1, 2)

    def from_rows(self, tensor: Tensor) -> Tensor:
        """Undo `to_rows`."""
        rows: Tensor = tensor.unflatten(1, (self.before, self.after)).transpose(0, 1)
        return rows.flatten(0, 2).movedim(0, self.dim)

    def require_rows(self, name: str, tensor: Tensor, n_rows: int) -> None:
        """Raise ValueError unless a tensor of the call `name` is one of so many rows."""
        expected = list(self.shape)
        if expected:
            expected[self.dim] *= n_rows
        if not expected or list(tensor.shape) != expected:
            hint = " A tensor that requires gradients must be a parameter of the module." * (
                tensor.shape == self.shape
            )
            raise ValueError(
                f"{_BY_ITSELF} In {name!r} one image gave shape {tuple(self.shape)} and {n_rows} gave "
                f"{tuple(tensor.shape)}.{hint}"
            )


def find_layouts(
    single: Sequence[Record], two: Sequence[Record], again: Callable[[], Sequence[Record]]
) -> list[list[Layout]]:
    """Return where the rows lie in each tensor of each call.

    Parameters
    ----------
    single : sequence of Record
        The calls of a pass over one image.
    two : sequence of Record
        Those of a pass over that image and another one.
    again : callable
        Makes the first pass once more, which tells a module that is never twice the same (a dropout that is always on)
        from one that mixes rows.

    Raises
    ------
    ValueError
        If the passes took different paths through the module, or mixed the rows of a batch.
    """
    require_same_calls(single, two)
    found: list[list[Layout]] = []
    orders: dict[int, int] = {}  # what was last before the rows, by all that is folded into their dimension
    largest, lost = 0.0, None
    for one, both in zip(single, two, strict=True):
        layouts = []
        for alone, pair in zip(one.tensors, both.tensors, strict=True):
            grown = [d for d, (a, b) in enumerate(zip(alone.shape, pair.shape, strict=False)) if a != b]
            dim = grown[0] if grown else 0
            Layout(alone.shape, dim, 1, 1).require_rows(one.name, pair, 2)
            fold = alone.shape[dim]
            likely = orders.get(fold, 1)
            candidates = [
                Layout(alone.shape, dim, before, fold // before)
                for before in (likely, *range(1, fold + 1))
                if fold % before == 0
            ] or [Layout(alone.shape, dim, 1, fold)]
            largest = max(largest, _size(alone))
            distances = [
                _distance(layout.to_rows(alone, 1), layout.to_rows(pair, 2)[:1], _LEAST * largest)
                for layout in candidates
            ]
            nearest = min(distances)
            if nearest > _SAME and lost is None:
                lost = one.name
            layouts.append(candidates[distances.index(nearest)])
            orders[fold] = layouts[-1].before
        found.append(layouts)
    if lost is not None and _repeats(single, again()):
        raise ValueError(f"{_BY_ITSELF} In {lost!r} the values of an image are others beside another one.")
    return found


def layouts_alone(single: Sequence[Record]) -> list[list[Layout]]:
    """Return layouts for passes that never hold more than one row."""
    return [
        [Layout(tensor.shape, 0, 1, tensor.shape[0] if tensor.ndim else 1) for tensor in record.tensors]
        for record in single
    ]


def require_same_calls(*passes: Sequence[Record]) -> None:
    """Raise ValueError unless all passes made the same calls."""
    first, *others = ([record.name for record in records] for records in passes)
    if any(names != first for names in others):
        raise ValueError(
            "The 'module' argument must make the same calls for every image. Got calls that depend "
            "on the values or on the size of the batch; DeepLIFT pairs image and reference call by call."
        )


def _repeats(records: Sequence[Record], again: Sequence[Record]) -> bool:
    """Return whether two passes over the same image gave the same values."""
    require_same_calls(records, again)
    return all(
        _distance(a, b, _LEAST * _size(a)) <= _SAME
        for one, other in zip(records, again, strict=True)
        for a, b in zip(one.tensors, other.tensors, strict=True)
    )


def _size(values: Tensor) -> float:
    """Return the mean magnitude of the finite values; 0 for indices."""
    if not values.numel() or not (values.is_floating_point() or values.is_complex()):
        return 0.0
    return float(values.abs().nan_to_num(0.0, 0.0, 0.0).mean())


def _distance(values: Tensor, others: Tensor, least: float) -> float:
    """Return the mean difference relative to the values, 0 where only rounding makes one; of indices, 0."""
    if not values.numel() or not (values.is_floating_point() or values.is_complex()):
        return 0.0
    same = (values == others) | (values.isnan() & others.isnan())
    change = torch.where(same, 0, values - others).abs().nan_to_num(torch.inf)
    distance = float(change.mean()) / max(_size(values), least, torch.finfo(values.dtype).tiny)
    return distance if distance > _ROUNDING else 0.0
