"""All that needs an NVIDIA GPU, in ten minutes: build, tests of the ops, a fit, timings beside captum, sanitizers.

``python -m tools.gpu_check``, with a Python that has a CUDA build of torch. Whatever a step does, the next one follows
while there is time, and what is known stands in one JSON file from the moment that it is: a kill costs the step under
way, and of the timings only the one under way. ``--rehearse`` does the same on a machine without a GPU, as far as that
goes: kernels emulated, the fit and a few timings on the CPU.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvlm_va.common.files import write_json

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600.0
PYTEST = (sys.executable, "-m", "pytest", "-q")

logger = logging.getLogger("gpu_check")


@dataclass(frozen=True)
class Step:
    """A command to run.

    Attributes
    ----------
    name : str
        What it is for.
    command : tuple of str
        The command; the first word names a program, which may be missing.
    seconds : float
        How long it may take.
    leaves : Path or None
        A JSON file of what it found, which is taken over however it ended.
    environ : dict
        Variables of its environment.
    """

    name: str
    command: tuple[str, ...]
    seconds: float
    leaves: Path | None = None
    environ: dict[str, str] = field(default_factory=dict)


def steps(folder: Path, *, rehearse: bool) -> list[Step]:
    """Return all steps, the most telling first; `folder` takes what they leave."""
    device = "cpu" if rehearse else "cuda"
    fit, timings = folder / "fit.json", folder / "timings.json"
    ops = ("-k", "emulated and oracle") if rehearse else ("-m", "cuda")
    timed = ("benchmarks/bench_ops.py", "-k", "segment_masks and cpu")
    if not rehearse:
        timed = ("benchmarks/bench_gpu.py", "benchmarks/bench_ops.py", "-m", "cuda")
    timed += ("--benchmark-only", "--benchmark-quiet", "--latest", str(timings))
    # Without torch's caching every allocation is its own, so that no write past an end stays unseen. The tests
    # against the oracles start every kernel; the rest would only repeat that, a hundred times slower.
    checked = (
        "--error-exitcode",
        "1",
        *PYTEST,
        "-m",
        "cuda",
        "tests/ops",
        "-k",
        "oracle or strided or absent",
    )
    alone = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    build = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
    return [
        Step("build", build, 240, environ={"LVLM_VA_CUDA": "0" if rehearse else "1"}),
        Step("tests of the ops", (*PYTEST, "tests/ops", *ops), 150),
        Step("fit", (sys.executable, "-m", "tools.gpu_check", "--fit", device, "--out", str(fit)), 90, fit),
        Step("timings", (*PYTEST, *timed), 150, timings),
        *(
            Step(tool, ("compute-sanitizer", "--tool", tool, *checked), 90, environ=alone)
            for tool in ("memcheck", "racecheck")
        ),
    ]


def run(todo: Sequence[Step], out: Path, seconds: float = SECONDS) -> bool:
    """Run steps one after the other, write what is known after each, and return whether all passed."""
    end = time.monotonic() + seconds
    found: dict[str, dict[str, Any]] = {step.name: {"status": "not begun"} for step in todo}
    for step in todo:
        if shutil.which(step.command[0]) is None:
            found[step.name] = {"status": f"no {step.command[0]} on this machine"}
            continue
        found[step.name] = {"status": "under way"}
        write_json(out, found)
        found[step.name] = _run(step, min(step.seconds, end - time.monotonic()))
        logger.info("%-20s %s", step.name, found[step.name]["status"])
        write_json(out, found)
    return all(one["status"] == "passed" for one in found.values())


def _run(step: Step, seconds: float) -> dict[str, Any]:
    start = time.monotonic()
    if seconds <= 0:
        return {"status": "no time was left"}
    # With all that it starts: what a test has forked would go on.
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        env=os.environ | step.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        status = "failed" if process.returncode else "passed"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        status = f"not done in {seconds:.0f} s"
    found: dict[str, Any] = {"status": status, "seconds": round(time.monotonic() - start, 1)}
    if step.leaves is not None and step.leaves.exists():
        found["found"] = json.loads(step.leaves.read_text())
    return found | {"output": output[-4000:]}


def fit(device: str) -> dict[str, Any]:
    """Align a net on decoyed digits, on a device and on the CPU; return stages' seconds and test accuracies."""
    from lvlm_va import LVLMVAClassifier, OracleCritic
    from lvlm_va.datasets import decoy_digits
    from lvlm_va.runs.environment import environment

    data, test = decoy_digits("train"), decoy_digits("test")
    facts: dict[str, Any] = {"environment": environment()}
    for where in dict.fromkeys([device, "cpu"]):
        clf = LVLMVAClassifier(
            "mlp",
            critic=OracleCritic(data.masks),
            n_align=100,
            epochs=10,
            align_epochs=10,
            device=where,
            random_state=0,
        ).fit(data.images, data.labels)
        facts[where] = {"seconds": clf.seconds_, "accuracy": clf.score(test.images, test.labels)}
    return facts


def main() -> int:
    """Run everything, or the fit alone."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu_check.json", help="the JSON file")
    parser.add_argument("--rehearse", action="store_true", help="on a machine without a GPU")
    parser.add_argument("--fit", metavar="DEVICE", help="only fit, on this device")
    options = parser.parse_args()
    if options.fit:
        write_json(options.out, fit(options.fit))
        return 0
    folder = options.out.parent / "gpu_check"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return int(not run(steps(folder, rehearse=options.rehearse), options.out))


if __name__ == "__main__":
    sys.exit(main())
