"""Compile every CUDA file, without a GPU and without a CUDA build of torch; the output is thrown away.

The kernels go through nvcc; their torch-facing wrappers only need the stable headers, so the host compiler
reads them. Exits with 1 where something does not compile, and with 0 where there is no nvcc.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from torch.utils.cpp_extension import include_paths

CSRC = Path(__file__).resolve().parent.parent / "csrc"
# The oldest standard that a supported torch builds extensions with.
STANDARD = "-std=c++17"
ARCHITECTURES = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (80, 90)]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]

logger = logging.getLogger("check_cuda")


def find_nvcc() -> str | None:
    """Return the path of nvcc, from CUDA_HOME or PATH."""
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=f"{home}/bin" if home else None) or shutil.which("nvcc")


def commands(nvcc: str, folder: str) -> list[list[str]]:
    """Return one compiler call per CUDA file."""
    host = os.environ.get("CXX", "c++")
    kernel = [nvcc, "-c", *ARCHITECTURES, STANDARD, "-O3", "-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra"]
    wrapper = [host, "-fsyntax-only", STANDARD, "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    wrapper += [*WARNINGS, *(f"-isystem{path}" for path in include_paths())]
    return [
        *([*kernel, str(source), "-o", f"{folder}/out.o"] for source in sorted(CSRC.glob("cuda/*.cu"))),
        *([*wrapper, str(source)] for source in sorted(CSRC.glob("ops/*_cuda.cpp"))),
    ]


def main() -> int:
    """Check every file and return the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    nvcc = find_nvcc()
    if nvcc is None:
        logger.info("No nvcc on this machine: the CUDA files were not checked.")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(nvcc, folder):
            source = next(part for part in command if part.endswith((".cu", ".cpp")))
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            logger.info("%s %s", "FAILED" if result.returncode else "ok    ", Path(source).relative_to(CSRC))
            if result.returncode:
                failed += 1
                logger.info("%s%s", result.stdout, result.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
