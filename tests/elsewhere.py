"""A device that is elsewhere: tensors that say they are not on the CPU, and a count of what moves to and from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

AWAY = torch.device("meta")  # a name that torch knows on every machine; its own tensors hold nothing


class Away(Tensor):
    """Holds a tensor of the CPU, and claims to be on the other device."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Away:
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=AWAY,
        )  # fmt: skip

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called outside of the device's mode")


class Elsewhere(TorchDispatchMode):
    """Runs what is asked of the other device, and counts the values of tensors that come and go.

    Attributes
    ----------
    sent, fetched : int
        How many values went there, and came back.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent = self.fetched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [
            part for part in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(part, Tensor)
        ]
        away = any(isinstance(tensor, Away) for tensor in tensors)
        wanted = kwargs.get("device")
        if wanted is not None:
            wanted, kwargs["device"] = torch.device(wanted), torch.device("cpu")
            if func._overloadpacket is torch.ops.aten._to_copy:
                self.fetched += args[0].numel() if away and wanted.type == "cpu" else 0
                self.sent += args[0].numel() if not away and wanted.type == AWAY.type else 0
        elif away and func not in (torch.ops.aten.copy_.default,):
            here = [tensor for tensor in tensors if not isinstance(tensor, Away) and tensor.ndim]
            assert not here or func is torch.ops.aten.index.Tensor, f"{func} mixes devices"
        found = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if not (wanted.type == AWAY.type if wanted is not None else away):
            return found
        known = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, Away)}
        return tree_map(lambda part: _placed(part, known), found)


class NewTensors(TorchFunctionMode):
    """Has `new_tensor` of such tensors make one of them: no dispatch mode sees it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.new_tensor and isinstance(args[0], Away):
            return torch.tensor(args[1], dtype=args[0].dtype).to(AWAY)
        return func(*args, **(kwargs or {}))


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """Give the device, and the count of what moves."""
    with Elsewhere() as moved, NewTensors():
        yield moved


def _inner(part: Any) -> Any:
    return part.inner if isinstance(part, Away) else part


def _placed(part: Any, known: dict[int, Tensor]) -> Any:
    if not isinstance(part, Tensor):
        return part
    found = known.get(id(part))
    return Away(part) if found is None else found
