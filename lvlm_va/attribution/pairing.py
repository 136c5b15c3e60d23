"""Which rows of an image's pass and of a reference's belong together.

Inside a recorded tensor the rows of the batch may be one dimension, or part of one: attention folds heads
into the batch, window attention windows, and views of an image may come one after the other. A `Layout` is found
by looking for the values of a pass over one image in a pass over two, and brings tensors into the common shape
``(rows, fold, *rest)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvlm_va.attribution.tape import Tape

# The rows of one call: for each recorded tensor, shape (B, 1 or n, fold, *rest).
Rows = tuple[Tensor, ...]

# Mean differences, relative to a tensor's values, up to which a row is the same, and up to which only rounding
# makes it another. What cancelled is only rounding: its values count as no less than this share of the largest before.
_SAME, _ROUNDING, _LEAST = 1e-2, 1e-5, 1e-4

_BY_ITSELF = "The 'module' argument must treat each image of a batch by itself."


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


def find_layouts(single: Tape, two: Tape, again: Callable[[], Tape]) -> list[list[Layout]]:
    """Return where the rows lie in each tensor of each call.

    Parameters
    ----------
    single : Tape
        A pass over one image.
    two : Tape
        A pass over that image and another one.
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
    for one, both in zip(single.records, two.records, strict=True):
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


def layouts_alone(single: Tape) -> list[list[Layout]]:
    """Return layouts for passes that never hold more than one row."""
    return [
        [Layout(tensor.shape, 0, 1, tensor.shape[0] if tensor.ndim else 1) for tensor in record.tensors]
        for record in single.records
    ]


def require_same_calls(*tapes: Tape) -> None:
    """Raise ValueError unless all passes made the same calls."""
    first, *others = ([record.name for record in tape.records] for tape in tapes)
    if any(names != first for names in others):
        raise ValueError(
            "The 'module' argument must make the same calls for every image. Got calls that depend "
            "on the values or on the size of the batch; DeepLIFT pairs image and reference call by call."
        )


def _repeats(tape: Tape, again: Tape) -> bool:
    """Return whether two passes over the same image gave the same values."""
    require_same_calls(tape, again)
    return all(
        _distance(a, b, _LEAST * _size(a)) <= _SAME
        for one, other in zip(tape.records, again.records, strict=True)
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


class Pairing:
    """The references' rows of every call, and those of the references whose turn it is.

    While a backward pass runs, `current` holds the rows of one reference (batched by vmap) and `blame` what
    each op without a rule adds to the completeness error, per image.

    Parameters
    ----------
    images, references : Tape
        Passes over n images and over the references.
    layouts : list of list of Layout
        Where the batch lies in each tensor of each call.
    n_images : int
        Number of images n.
    n_references : int
        Number of references B (B references for each image if `per_image`, in the order (B, n)).
    per_image : bool
        Whether each image has references of its own.

    Raises
    ------
    ValueError
        If the passes took different paths through the module, or mixed the rows of a batch.
    """

    def __init__(
        self,
        images: Tape,
        references: Tape,
        layouts: list[list[Layout]],
        n_images: int,
        n_references: int,
        per_image: bool,
    ) -> None:
        require_same_calls(images, references)
        self.n_images = n_images
        n_rows = n_references * n_images if per_image else n_references
        columns = n_images if per_image else 1
        self.layouts = layouts
        self.reference_rows: list[Rows] = []
        self.current: list[Rows] = []
        self.blame: dict[str, Tensor] = {}
        for places, image, reference in zip(layouts, images.records, references.records, strict=True):
            rows = []
            for layout, of_images, of_references in zip(places, image.tensors, reference.tensors, strict=True):
                layout.require_rows(image.name, of_images, n_images)
                layout.require_rows(image.name, of_references, n_rows)
                rows.append(layout.to_rows(of_references, n_rows).unflatten(0, (n_references, columns)))
            self.reference_rows.append(tuple(rows))

    def slice(self, references: slice) -> list[Rows]:
        """Return the rows of some of the references."""
        return [tuple(tensor[references] for tensor in rows) for rows in self.reference_rows]

    def to_rows(self, tensor: Tensor, call: int, i: int = 0) -> Tensor:
        """Return a tensor laid out as the images' `i`-th one of a call as (n, fold, *rest)."""
        return self.layouts[call][i].to_rows(tensor, self.n_images)

    def from_rows(self, tensor: Tensor, call: int, i: int = 0) -> Tensor:
        """Undo `to_rows`."""
        return self.layouts[call][i].from_rows(tensor)

