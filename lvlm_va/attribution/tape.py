"""What the forward passes leave behind: the inputs of every nonlinear call, and which belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvlm_va.attribution.layouts import Layout, Record, require_same_calls

# The rows of one call: for each recorded tensor, shape (B, 1 or n, fold, *rest).
Rows = tuple[Tensor, ...]


@dataclass
class Tape:
    """The records of one forward pass, and what its memory will cost.

    Attributes
    ----------
    layout : torch.memory_format or None
        In which 4-d tensors are recorded, for the backward pass; None leaves them as they are.
    records : list of Record
        In call order.
    without_rule : set of str
        Ops that kept their gradient for want of a rule.
    cuts : set of str
        Ops that took a value depending on the input and returned one without a gradient.
    n_bytes : int
        Bytes of all results that depend on the input.
    largest : int
        Bytes of the largest of them.
    pairing : Pairing or None
        Partners of the records, while a backward pass runs.
    """

    layout: torch.memory_format | None = None
    records: list[Record] = field(default_factory=list)
    without_rule: set[str] = field(default_factory=set)
    cuts: set[str] = field(default_factory=set)
    n_bytes: int = 0
    largest: int = 0
    pairing: Pairing | None = None
    _by_storage: dict[int, list[tuple[Record, int]]] = field(default_factory=lambda: defaultdict(list))

    def record(self, name: str, *tensors: Tensor) -> int:
        """Add a call and return its number."""
        record = Record(name, [self._laid_out(tensor.detach()) for tensor in tensors])
        for i, tensor in enumerate(record.tensors):
            self._by_storage[tensor.untyped_storage().data_ptr()].append((record, i))
        self.records.append(record)
        return len(self.records) - 1

    def _laid_out(self, tensor: Tensor) -> Tensor:
        if self.layout is None or tensor.ndim != 4:
            return tensor
        return tensor.contiguous(memory_format=self.layout)

    def protect(self, tensor: Tensor) -> None:
        """Give records their own copy of values that are about to be changed in place."""
        for record, i in self._by_storage.pop(tensor.untyped_storage().data_ptr(), ()):
            record.tensors[i] = record.tensors[i].clone()

    def count(self, results: Iterable[object]) -> None:
        """Add the results of one call to the memory count."""
        for result in results:
            if isinstance(result, Tensor) and result.requires_grad:
                n_bytes = result.numel() * result.element_size()
                self.n_bytes += n_bytes
                self.largest = max(self.largest, n_bytes)

    def paired(self) -> Pairing:
        """Return the pairing; there is one whenever a backward pass runs."""
        if self.pairing is None:
            raise RuntimeError(
                "The tape has no pairing: the backward pass ran outside DeepLiftShap.attribute."
            )
        return self.pairing


def drop_saved_tensors() -> torch.autograd.graph.saved_tensors_hooks:
    """Return a context in which autograd keeps track of what depends on what, but of no values."""

    def unpack(_: None) -> Tensor:
        raise RuntimeError("This pass was made without a backward pass in mind.")

    return torch.autograd.graph.saved_tensors_hooks(lambda _: None, unpack)


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
        require_same_calls(images.records, references.records)
        self.n_images = n_images
        n_rows = n_references * n_images if per_image else n_references
        columns = n_images if per_image else 1
        self.layouts = layouts
        self.reference_rows: list[Rows] = []
        self.current: list[Rows] = []
        self.blame: dict[str, Tensor] = {}
        for places, image, reference in zip(layouts, images.records, references.records, strict=True):
            rows = []
            for layout, of_images, of_references in zip(
                places, image.tensors, reference.tensors, strict=True
            ):
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
