"""Whatever `torch.ops` is handed, an op gives a result or an error: the process goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvlm_va.ops._attribution import _N_PARAMETERS, ACTIVATIONS
from tests.ops.fuzzing import LAYOUTS, Call, Drawn, outcome

LENGTHS = st.sampled_from([0, 1, 2, 3, 5, 17, 65])
REST = st.lists(LENGTHS, max_size=3).map(tuple)
FEW = st.integers(0, 3)
FLOATING = st.sampled_from([torch.float32, torch.float64])
NUMBERS = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 0.3, 1e-310, 1e308, float("inf"), float("-inf"), float("nan")]
)


@cache
def elsewhere() -> ProcessPoolExecutor:
    """Return a process in which ops may crash."""
    return ProcessPoolExecutor(1, get_context("spawn"))


def in_another_process(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return elsewhere().submit(function, *arguments).result()
    except BrokenProcessPool:
        elsewhere.cache_clear()  # the next call gets another one
        return "the process ended"


@st.composite
def drawn(draw: Any, shape: tuple[int, ...], dtype: torch.dtype) -> Drawn:
    layout, extreme = draw(st.sampled_from(LAYOUTS)), draw(st.booleans())
    return Drawn(shape, dtype, layout, extreme, draw(st.integers(0, 2**16)))


Shapes = list[tuple[tuple[int, ...], torch.dtype]]


@st.composite
def penalties(draw: Any, op: str = "masked_gradient_penalty") -> tuple[Shapes, list[Any]]:
    n, channels, rest, dtype = draw(FEW), draw(FEW), draw(REST), draw(FLOATING)
    return [((n, channels, *rest), dtype), ((n, *rest), dtype)], []


@st.composite
def penalty_backwards(draw: Any) -> tuple[Shapes, list[Any]]:
    tensors, more = draw(penalties())
    return [(tensors[0][0][:1], tensors[0][1]), *tensors], more


@st.composite
def pairs(draw: Any) -> Shapes:
    n_references, n, rest, dtype = draw(FEW), draw(FEW), draw(REST), draw(FLOATING)
    rows = (
        (draw(st.sampled_from([1, n_references])), n),
        (1, n),
        (n_references, draw(st.sampled_from([1, n]))),
    )
    return [((*row, *rest), dtype) for row in rows]


@st.composite
def reductions(draw: Any) -> tuple[Shapes, list[Any]]:
    return draw(pairs()), []


@st.composite
def rescalings(draw: Any) -> tuple[Shapes, list[Any]]:
    activation = draw(st.sampled_from(ACTIVATIONS))
    n_parameters = _N_PARAMETERS.get(activation, 0)
    return draw(pairs()), [activation, draw(st.lists(NUMBERS, min_size=n_parameters, max_size=n_parameters))]


@st.composite
def poolings(draw: Any) -> tuple[Shapes, list[Any]]:
    """Indices are 0 and 1 where they are plain: there are as many positions."""
    positions, windows = draw(st.integers(2, 65)), draw(LENGTHS)
    tensors = [((*shape, positions), dtype) for shape, dtype in draw(pairs())]
    indices = [((*shape[:-1], windows), torch.int64) for shape, _ in tensors[1:]]
    return [((*tensors[0][0][:-1], windows), tensors[0][1]), *tensors[1:], *indices], []


@st.composite
def fits(draw: Any) -> tuple[Shapes, list[Any]]:
    n, n_components, height, width = draw(FEW), draw(FEW), draw(LENGTHS), draw(LENGTHS)
    shapes = [(n, n_components, 2), (n, n_components, 2, 2), (n, n_components)]
    tensors = [((n, height, width), draw(FLOATING)), *((shape, torch.float64) for shape in shapes)]
    return tensors, [draw(NUMBERS), draw(NUMBERS), draw(st.integers(0, 5)), draw(NUMBERS)]


@st.composite
def maskings(draw: Any) -> tuple[Shapes, list[Any]]:
    """Labels are 0 and 1 where they are plain: there is a segment, at least."""
    n, dtype = draw(FEW), draw(st.sampled_from([torch.bool, torch.uint8, torch.float16, torch.float64]))
    return [((n, draw(LENGTHS), draw(LENGTHS)), torch.int64), ((n, draw(FEW) + 1), torch.bool)], [dtype]


CALLS: dict[str, Callable[[], st.SearchStrategy[tuple[Shapes, list[Any]]]]] = {
    "masked_gradient_penalty": penalties,
    "masked_gradient_penalty_backward": penalty_backwards,
    "rescale_multipliers": rescalings,
    "maxpool_rescale": poolings,
    "attribution_reduce": reductions,
    "ppeps_em": fits,
    "segment_masks": maskings,
}


@st.composite
def calls(draw: Any, op: str) -> Call:
    """A call that fits, or, every other time, one of whose tensors has another shape or type."""
    shapes, more = draw(CALLS[op]())
    tensors = [draw(drawn(*shape)) for shape in shapes]
    wild = any(one.extreme and one.dtype == torch.int64 for one in tensors)  # labels or indices
    if draw(st.booleans()):
        return Call(op, (*tensors, *more), not wild)
    which = draw(st.integers(0, len(tensors) - 1))
    shape = draw(st.one_of(st.just(tensors[which].shape), st.lists(LENGTHS, max_size=4).map(tuple)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.bool]))
    tensors[which] = replace(tensors[which], shape=shape, dtype=dtype)
    return Call(op, (*tensors, *more), fits=False)


@pytest.mark.parametrize("op", CALLS)
def test_no_call_ends_the_process(op: str) -> None:
    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(calls(op))
    def check(call: Call) -> None:
        assert in_another_process(outcome, call) == ""

    check()


def test_the_end_of_the_process_is_seen() -> None:
    assert in_another_process(os.abort) == "the process ended"
    assert in_another_process(os.getpid) != os.getpid()
