"""Small programs that check the kernels' innermost functions in extended precision."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
COMPILER = shutil.which("c++")


def run_check(name: str, folder: Path) -> list[str]:
    """Compile a source of this folder, with those LVLM_VA_CXXFLAGS that the kernels get; return its lines."""
    program = folder / "check"
    include = HERE.parent.parent / "csrc" / "cpu"
    added = shlex.split(os.environ.get("LVLM_VA_CXXFLAGS", ""))
    flags = ["-std=c++17", "-O2", *added, f"-I{include}"]
    subprocess.run([str(COMPILER), *flags, str(HERE / name), "-o", str(program)], check=True)
    return subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
