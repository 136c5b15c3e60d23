"""Max-poolings and maxima over dimensions: one value is selected from each window."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lvlm_va.attribution.calls import Call
from lvlm_va.attribution.pairwise import Select
from lvlm_va.attribution.tape import Tape

MAX_POOLINGS = frozenset(
    f"{kind}max_pool{n}d{suffix}"
    for kind in ("", "adaptive_")
    for n in (1, 2, 3)
    for suffix in ("", "_with_indices")
)


def maximum(tape: Tape, call: Call) -> Any:
    """Run a max-pooling or a maximum over dimensions under its rule; NotImplemented for any other call."""
    if len(call.dependents) != 1:
        return NotImplemented
    if call.name in MAX_POOLINGS:
        return _max_pool(tape, call)
    if call.name == "amax":
        dim = call.argument(1, "dim", ())
        return _amax(tape, call.args[0], dim, call.argument(2, "keepdim", False))[0]
    if call.name == "max":
        if len(call.args) == 1 and not call.kwargs:
            return _amax(tape, call.args[0], (), False)[0]
        keepdim = call.argument(2, "keepdim", False)
        values, indices = _amax(tape, call.args[0], call.argument(1, "dim", ()), keepdim)
        return torch.return_types.max((values, indices))
    return NotImplemented


def _max_pool(tape: Tape, call: Call) -> Any:
    x = call.args[0]
    name = call.name.removesuffix("_with_indices")
    n_spatial = int(name[-2])
    adaptive = name.startswith("adaptive")
    # Of the functions with a flag for it, the indices are asked for by name instead.
    position = 2 if adaptive else 6
    with_indices = (
        call.argument(position, "return_indices", False) or call.name != name or name == "adaptive_max_pool1d"
    )
    kwargs = {key: value for key, value in call.kwargs.items() if key != "return_indices"}
    pool = getattr(F, f"{name}_with_indices")
    _, indices = pool(x.detach(), *call.args[1:position], **kwargs)
    flat = Select.apply(x.flatten(-n_spatial), indices.flatten(-n_spatial), tape)
    pooled = flat.unflatten(-1, indices.shape[-n_spatial:])
    return (pooled, indices) if with_indices else pooled


def _amax(tape: Tape, x: Tensor, dim: Any, keepdim: bool) -> tuple[Tensor, Tensor]:
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    dims = tuple(d % x.ndim for d in dims) or tuple(range(x.ndim))
    kept = [d for d in range(x.ndim) if d not in dims]
    flat = x.permute(*kept, *dims).reshape(*(x.shape[d] for d in kept), math.prod(x.shape[d] for d in dims))
    indices = flat.detach().argmax(-1, keepdim=True)
    values = Select.apply(flat, indices, tape)
    shape = (
        [1 if d in dims else size for d, size in enumerate(x.shape)]
        if keepdim
        else [x.shape[d] for d in kept]
    )
    return values.reshape(shape), indices.reshape(shape)
