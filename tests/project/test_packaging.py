"""What an installation needs: the sources travel, and a build that cannot work does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def run_setup(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run setup.py, with changes to the environment."""
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_source_distribution_holds_all_that_the_build_needs(tmp_path: Path) -> None:
    result = run_setup("-q", "egg_info", "--egg-base", str(tmp_path), "sdist", "-d", str(tmp_path))
    assert result.returncode == 0, result.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    needed = {path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    model = ROOT / "lvlm_va/critique/tiny/model"
    pages = [path for path in (ROOT / "lvlm_va/review").glob("[st]*/*") if path.suffix != ".pyc"]
    needed |= {path.relative_to(ROOT) for path in (*model.iterdir(), *pages)}
    needed |= {Path(name) for name in ("setup.py", "pyproject.toml", "LICENSE", "lvlm_va/py.typed")}
    assert needed <= held


@pytest.mark.parametrize("required", ["0", "1"])
def test_without_a_compiler_only_a_required_build_fails(tmp_path: Path, required: str) -> None:
    folders = ["--build-temp", str(tmp_path / "temp"), "--build-lib", str(tmp_path / "lib")]
    missing = {"CC": "no-such-compiler", "CXX": "no-such-compiler"}
    result = run_setup("build_ext", *folders, LVLM_VA_REQUIRE_NATIVE=required, LVLM_VA_CUDA="0", **missing)
    assert not list(tmp_path.rglob("*.so"))
    if required == "1":
        assert result.returncode != 0
    else:
        assert result.returncode == 0, result.stderr
        assert "The compiled kernels were not built" in result.stderr


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_insisting_on_cuda_without_it_fails() -> None:
    result = run_setup("--version", LVLM_VA_CUDA="1")
    assert result.returncode != 0
    assert "LVLM_VA_CUDA=1 asks for CUDA kernels, but this torch has no CUDA" in result.stderr
