"""Build the kernels with AddressSanitizer and UndefinedBehaviorSanitizer, and run the tests of the ops on them.

The CPU kernels, and those for CUDA as the tests emulate them (tests/cuda_emulator). All happens in a copy of the
tree under build/sanitize; the normal build stays as it is. The first report ends the run, and the exit status is
not 0. Arguments go to pytest.

- Leaks are not looked for: Python and torch keep much until the end, and those reports would not be ours.
- Division of floats by zero is not a fault here: the kernels mean IEEE 754's infinities.
- With -O1, not -O3, the compiler has removed fewer faults before the sanitizers look.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "build" / "sanitize"
PARTS = ["csrc", "lvlm_va", "tests", "setup.py", "pyproject.toml", "README.md", "LICENSE"]
SANITIZE = "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all"
# Many a Python is compiled with -fwrapv and hands it on to its extensions: no sum would ever count as an overflow.
FLAGS = f"{SANITIZE} -fno-wrapv -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -O1 -g1"
# An abort lets pytest's fault handler say which test it was.
HALT = "halt_on_error=1:abort_on_error=1"
# Both must be there before Python is: Python itself is not instrumented.
RUNTIMES = ["libasan.so", "libstdc++.so"]
CHECK = "from lvlm_va.ops._native import build_info; assert '-fsanitize=address' in build_info()['flags']"

logger = logging.getLogger("sanitize")


def find_runtimes() -> str | None:
    """Return the paths of the compiler's runtimes for LD_PRELOAD, or None where one is missing."""
    host = os.environ.get("CXX", "c++")
    asks = ([host, f"-print-file-name={name}"] for name in RUNTIMES)
    found = [subprocess.run(ask, stdout=subprocess.PIPE, text=True, check=True).stdout for ask in asks]
    # A name that the compiler does not know comes back as it is.
    return ":".join(map(str.strip, found)) if all(Path(path).is_absolute() for path in found) else None


def copy_tree() -> None:
    """Copy what the build and the tests read; objects of an earlier build stay, and serve again where they can."""
    for part in PARTS:
        source, target = ROOT / part, COPY / part
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            COPY.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def main(arguments: list[str]) -> int:
    """Copy, build and test; return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    runtimes = find_runtimes()
    if runtimes is None:
        logger.error("The compiler has no %s: this needs g++ with its sanitizers.", " or ".join(RUNTIMES))
        return 1
    copy_tree()
    build = {"LVLM_VA_CXXFLAGS": FLAGS, "LVLM_VA_REQUIRE_NATIVE": "1", "LVLM_VA_CUDA": "0"}
    environ = os.environ | {"OMP_NUM_THREADS": "1"} | build
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=COPY, env=environ, check=True)
    environ |= {
        "LD_PRELOAD": runtimes,
        "ASAN_OPTIONS": f"{HALT}:detect_leaks=0:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": f"{HALT}:print_stacktrace=1",
    }
    subprocess.run([sys.executable, "-c", CHECK], cwd=COPY, env=environ, check=True)
    # Not captured: a report is written by a process that is about to end.
    test = [sys.executable, "-m", "pytest", "-q", "--capture=sys", "-m", "not cuda", "tests/ops", *arguments]
    return subprocess.run(test, cwd=COPY, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
