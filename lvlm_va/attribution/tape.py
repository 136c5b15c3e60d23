"""What a forward pass leaves behind: the inputs of every nonlinear call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lvlm_va.attribution.pairing import Pairing


@dataclass
class Record:
    """One call: the name of its op, and the tensors that its backward needs from both passes."""

    name: str
    tensors: list[Tensor]


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
