"""The emulator finds what it is there for, and the kernels need every barrier that they have."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch

from lvlm_va.ops import masked_gradient_penalty, maxpool_rescale, ppeps_em
from lvlm_va.ops.reference import attribution as attribution_oracle
from lvlm_va.ops.reference import masked_gradient_penalty as penalty_oracle
from lvlm_va.ops.reference.ppeps_em import ppeps_em as em_oracle
from tests.cuda_emulator.build import COMPILER, CSRC, HERE, WATCH, build, is_watched, rewrite
from tests.cuda_emulator.emulated import Barrier, barriers, emulator
from tests.ops.samples import em_inputs, penalty_inputs, pool_inputs
from tests.tolerances import OP

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]


def build_faults(flags: list[str]) -> Path:
    sources = {name: CSRC / name for name in ("cuda/launch.cuh", "cuda/pairs.cuh")}
    sources |= {f"shared/{name}": CSRC / "shared" / name for name in ("host_device.h", "pairs.h")}
    sources["cuda/faults.cu"] = HERE / "faults.cu"
    sources = {name: rewrite(path.read_text(), "") for name, path in sources.items()}
    return build("faults", sources, flags, [])


def run(program: Path, fault: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, fault], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("kernel", "values"),
    [
        ("reverses", ["252 to 0"] * 3),
        ("swaps_in_warps", ["3 to 123"] * 3),
        ("visits_each_value_once", ["1 to 1", "2 to 2", "3 to 3"]),
    ],
)
def test_right_kernels_run_in_every_order(kernel: str, values: list[str]) -> None:
    for flags in (WATCH, SANITIZE):
        result = run(build_faults(flags), kernel)
        assert result.stdout.splitlines() == values, result.stderr


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("has_no_barrier", "reads unset shared memory"),
        ("writes_what_is_being_read", "read and write the same shared memory, and no barrier orders them"),
        ("takes_a_vote_for_a_barrier", "the same shared memory"),
        ("takes_a_warp_for_a_block", "the same shared memory"),
        ("adds_in_global_memory", "the same global memory"),
        ("blocks_write_the_same", "of block 0 and thread .* of block 1 write the same global memory"),
        ("reads_what_nobody_wrote", "thread 0 reads unset shared memory"),
        ("some_wait", "thread 0 waits in __syncthreads at faults.cu:.*, but thread 40 has left"),
        ("some_have_left", "thread 0 waits in __syncthreads at faults.cu:.*, but thread 32 has left"),
        ("waits_at_two_barriers", "thread 0 waits in .*, but thread 32 waits in __syncthreads at faults.cu"),
        ("lanes_vote_apart", "thread 0 waits in __ballot_sync at .*, but thread 1 waits in __ballot_sync at"),
        ("half_a_warp_votes", "__any_sync at faults.cu:.* is not for a whole warp"),
        ("too_many_threads", "invalid configuration"),
        ("too_much_shared_memory", "invalid configuration"),
    ],
)
def test_faults_are_found_in_every_order(fault: str, words: str) -> None:
    lines = run(build_faults(WATCH), fault).stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert re.search(words, line), line


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("writes_past_the_end", "heap-buffer-overflow"),
        ("writes_past_shared_memory", "heap-buffer-overflow"),
        ("adds_beyond_an_int", "signed integer overflow"),
    ],
)
def test_what_sanitizers_find_is_found(fault: str, words: str) -> None:
    """They read the kernels as they stand: `make sanitize` has all tests of the ops on such a build."""
    result = run(build_faults(SANITIZE), fault)
    assert result.returncode != 0
    assert words in result.stderr


@pytest.mark.parametrize(
    "source", ["extern __shared__ float2 a[4];", "__shared__ T<int> a;", "f<g><<<1, 2>>>(x);"]
)
def test_what_the_emulator_does_not_know_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="does not know what to make of"):
        rewrite(source, "")


def check_kernels_with_barriers() -> None:
    """Hold the kernels that have barriers against their oracles, on maps longer than a block has threads."""
    inputs = penalty_inputs((2, 1, 600), torch.float64)
    penalties = masked_gradient_penalty(*inputs), penalty_oracle.masked_gradient_penalty(*inputs)
    inputs = pool_inputs(torch.float64, planes=1, ties=True)
    pooled = maxpool_rescale(*inputs), attribution_oracle.maxpool_rescale(*inputs)
    inputs = em_inputs(1, 15, 20, 2)
    fits = ppeps_em(*inputs, covariance_floor=(0.0, 0.0), max_iter=2), em_oracle(*inputs, 0.0, 0.0, 2, 1e-4)
    rtol, atol = OP[torch.float64]
    for got, expected in (penalties, pooled, *zip(*fits, strict=True)):
        torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


@pytest.mark.skipif(not is_watched(), reason="another sanitizer is in the place of the watch over races")
@pytest.mark.parametrize("barrier", barriers(), ids=lambda barrier: f"{barrier.file}:{barrier.line}")
def test_no_barrier_of_the_kernels_can_go(barrier: Barrier) -> None:
    kernels = emulator()
    with kernels.on_cpu():
        with kernels.without(barrier), pytest.raises(RuntimeError, match="no barrier orders|unset|waits"):
            check_kernels_with_barriers()
        check_kernels_with_barriers()
