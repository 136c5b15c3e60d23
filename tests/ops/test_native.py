"""Where the ops run: on compiled kernels, or on the references, and what is said about it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
import torch

from lvlm_va.ops import (
    _native,
    attribution_reduce,
    has_cuda,
    has_native,
    maxpool_rescale,
    rescale_multipliers,
    segment_masks,
)
from lvlm_va.runs.environment import environment, show_versions
from tests.ops.samples import pair_inputs, pool_inputs
from tests.tolerances import OP

USE_THE_OPS = """
import sys, warnings
import torch
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from lvlm_va.ops import has_cuda, has_native, masked_gradient_penalty
    from lvlm_va.runs.environment import show_versions
    counts = [len(caught)]
    for _ in range(2):
        gradient = torch.ones((1, 1, 2), requires_grad=True)
        penalty = masked_gradient_penalty(gradient, torch.ones((1, 2)))
        (slope,) = torch.autograd.grad(penalty.sum(), gradient)
        counts.append(len(caught))
messages = [str(warning.message) for warning in caught]
sys.stdout.write(repr((has_native(), has_cuda(), float(penalty), slope.tolist(), counts, messages)))
sys.stdout.write(chr(10) + show_versions())
"""

OPS = (
    "attribution_reduce",
    "masked_gradient_penalty",
    "masked_gradient_penalty_backward",
    "maxpool_rescale",
    "ppeps_em",
    "rescale_multipliers",
    "segment_masks",
)

USE_THE_ATTRIBUTION_OPS = """
import sys
from tests.ops.test_native import attribute
sys.stdout.write(repr(attribute()))
"""


def attribute() -> list[object]:
    """Use the attribution ops and the masks; return what they gave, and what they said about a wrong index."""
    gradient, u, r = pair_inputs((2, 3, (4, 5)), torch.float64)
    last = [t.mT.contiguous().mT.requires_grad_() for t in (gradient, u, r)]
    *values, indices, reference_indices = pool_inputs(torch.float64)
    labels, spurious = torch.tensor([[[0, 1, 2]]]), torch.tensor([[True, False]])
    found: list[object] = [
        result.flatten().tolist()
        for result in (
            rescale_multipliers(*last, "silu"),
            attribution_reduce(*last),
            maxpool_rescale(*values, indices, reference_indices),
            segment_masks(labels, spurious),
        )
    ]
    found.append(rescale_multipliers(*last, "relu").requires_grad)
    for wrong in (
        lambda: maxpool_rescale(*values, indices + 900, reference_indices),
        lambda: segment_masks(labels + 1, spurious),
    ):
        with pytest.raises(ValueError, match="argument must lie in") as caught:
            wrong()
        found.append(str(caught.value))
    return found


def test_the_references_stand_in_for_the_attribution_kernels() -> None:
    result = subprocess.run(
        [sys.executable, "-c", USE_THE_ATTRIBUTION_OPS],
        env=os.environ | {"LVLM_VA_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    *numbers, requires_grad, wrong_index, wrong_label = ast.literal_eval(result.stdout)
    *expected, expected_requires_grad, expected_index, expected_label = attribute()
    rtol, atol = OP[torch.float64]
    for got, value in zip(numbers, expected, strict=True):
        torch.testing.assert_close(torch.tensor(got), torch.tensor(value), rtol=rtol, atol=atol)
    assert requires_grad is expected_requires_grad is False
    assert (wrong_index, wrong_label) == (expected_index, expected_label)


def run_fresh(before: str, **environ: str) -> tuple[tuple[object, ...], str]:
    """Use the ops in a fresh interpreter; return what it saw, and its versions."""
    result = subprocess.run(
        [sys.executable, "-c", USE_THE_OPS.format(before=before)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    seen, _, versions = result.stdout.partition("\n")
    return ast.literal_eval(seen), versions


def test_switched_off_runs_on_the_references_in_silence() -> None:
    seen, versions = run_fresh("", LVLM_VA_NATIVE="0")
    assert seen == (False, False, 2.0, [[[2.0, 2.0]]], [0, 0, 0], [])
    assert "switched off by LVLM_VA_NATIVE=0" in versions


def test_missing_kernels_are_named_once_and_at_first_use() -> None:
    seen, versions = run_fresh("sys.modules['lvlm_va._C'] = None", LVLM_VA_NATIVE="1")
    *values, counts, messages = seen
    assert values == [False, False, 2.0, [[[2.0, 2.0]]]]
    assert counts == [0, 1, 1]
    assert "runs without its compiled kernels" in messages[0]  # type: ignore[index]
    assert "LVLM_VA_NATIVE=0" in messages[0]  # type: ignore[index]
    assert "none: ModuleNotFoundError" in versions


def test_kernels_for_another_device_are_missed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_warned", False)
    monkeypatch.setattr(_native, "_module", object())
    monkeypatch.delenv(_native.SWITCH, raising=False)
    with pytest.warns(UserWarning, match="hold no kernels for cuda"):
        _native.warn_without_native("cuda")


@pytest.mark.skipif(not has_native(), reason="needs the compiled kernels")
def test_build_facts() -> None:
    facts = _native.build_info()
    assert {"torch", "python", "compiler", "flags", "cuda"} == set(facts)
    assert "TORCH_TARGET_VERSION" in facts["flags"]
    assert has_cuda() == bool(facts["cuda"])
    for op in OPS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lvlm_va::{op}", "CPU")
    assert _native.load_error() is None


def test_show_versions_lists_the_environment() -> None:
    facts = environment()
    assert facts["torch"] == torch.__version__
    assert facts["kernels"].startswith(("CPU", "none"))
    lines = show_versions().splitlines()
    assert len(lines) == len(facts)
    assert all(
        line.startswith(name) and line.endswith(facts[name]) for line, name in zip(lines, facts, strict=True)
    )
