"""Build the source distribution, of it the wheel, and try that where there is no compiler.

The wheel must serve every Python from 3.11 and every torch from 2.10 on: abi3audit and torch-abi-audit look whether its
modules use CPython's limited API and torch's stable ABI only. It is then put into a folder of its own, with this
environment's other packages but not its lvlm_va, and the tests of the native ops run on it. The wheel stays in dist/.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TESTS = ["tests/ops/test_native.py", "tests/ops/test_segment_masks.py"]
FROM_WHEEL = (
    "import sys; from pathlib import Path; from lvlm_va.ops import _native\n"
    "assert Path(_native.__file__).is_relative_to(sys.argv[1]), _native.__file__\n"
    "assert _native.has_native(), _native.load_error()"
)

logger = logging.getLogger("check_wheel")


def build() -> Path:
    """Return the wheel, built of the files that a source distribution holds."""
    shutil.rmtree(DIST, ignore_errors=True)
    _run("-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT))
    (wheel,) = DIST.glob("*.whl")
    if "-cp311-abi3-" not in wheel.name:
        raise SystemExit(f"The wheel is not for every Python from 3.11 on: {wheel.name}")
    return wheel


def audit(wheel: Path, unpacked: Path) -> None:
    """Exit unless the wheel's modules are as portable as its name, and pyproject.toml, say."""
    _run("-m", "abi3audit", "--strict", "--summary", str(wheel))
    found = _run(
        "-m", "torch_abi_audit.cli", "--json", "--check", "both", str(unpacked / "lvlm_va"), quiet=True
    )
    oldest = set(_values(json.loads(found), "min_torch_version"))
    logger.info("Oldest torch by torch-abi-audit: %s", ", ".join(oldest))
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (promised,) = (need.removeprefix("torch>=") for need in needs if need.startswith("torch>="))
    if oldest != {f"{promised}.0"}:
        raise SystemExit(f"pyproject.toml promises torch {promised}, the wheel needs {oldest}.")


def try_out(folder: Path) -> None:
    """Run tests on the wheel in a folder that holds it and the tests, without a compiler."""
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)  # pytest's settings
    environ = {
        "PATH": str(folder),
        "CXX": str(folder / "none"),
        "LVLM_VA_NATIVE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environ = os.environ | environ | {"PYTHONPATH": str(folder)}
    _run("-c", FROM_WHEEL, str(folder), cwd=folder, env=environ)
    _run("-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, cwd=folder, env=environ)


def _run(*arguments: str, quiet: bool = False, **options: Any) -> str:
    output = subprocess.PIPE if quiet else None
    done = subprocess.run([sys.executable, *arguments], stdout=output, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments[:3])} failed: exit status {done.returncode}. {done.stdout or ''}"
        )
    return done.stdout or ""


def _values(tree: Any, key: str) -> list[Any]:
    """Return all that stands under a key, anywhere."""
    if isinstance(tree, dict):
        here = [tree[key]] if tree.get(key) else []
        return here + [value for part in tree.values() for value in _values(part, key)]
    return [value for part in tree for value in _values(part, key)] if isinstance(tree, list) else []


def main() -> None:
    """Build, audit and try out."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wheel = build()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        _run("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel))
        audit(wheel, folder)
        try_out(folder)


if __name__ == "__main__":
    main()
