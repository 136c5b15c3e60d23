"""Rewrite the CUDA sources for the emulator, and compile them for the CPU."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch.utils.cpp_extension import include_paths, library_paths

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
BUILDS = ROOT / "build" / "cuda_emulator"
COMPILER = shutil.which("c++")

FLAGS = ["-std=c++17", "-O2", "-g1", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter"]
# Several builds may be in one process, beside the package's own kernels: none may see another's functions.
FLAGS += [
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
]
EMULATOR = ["emulator.cpp", "races.cpp"]
TORCH = [*(f"-L{path}" for path in library_paths()), "-ltorch_cpu"]
# What the sources of kernels get: the branches for a GPU, and a call of races.cpp at every access to memory.
KERNEL_FLAGS = ["-D__CUDACC__", "-include", "cuda_runtime.h"]
# Nor may a loop become a memset, which would call nothing.
WATCH = ["-fsanitize=thread", "-fno-tree-loop-distribute-patterns"]

_LAUNCH = re.compile(r"(\w+)<<<(.*?)>>>\((.*?)\);", re.DOTALL)
_DYNAMIC = re.compile(r"extern __shared__ (\w+) (\w+)\[\];")
_STATIC = re.compile(r"(?<!extern )__shared__ (\w+) (\w+)(\[\w+\])?;")
_REGISTRATION = "STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA,"
_NOT_CPP = re.compile(r"<<<|__shared__|STABLE_TORCH_LIBRARY_IMPL\(lvlm_va,")


def rewrite(source: str, namespace: str) -> str:
    """Return a CUDA source as C++, line by line as it was, with its ops registered in `namespace`."""
    source = _LAUNCH.sub(r"emulator::launch(\2, [&] { \1(\3); });", source)
    source = _DYNAMIC.sub(r"\1* \2 = static_cast<\1*>(emulator::dynamic_shared());", source)
    source = _STATIC.sub(r"auto& \2 = emulator::shared<\1\3>([] {});", source)
    source = source.replace(_REGISTRATION, f"STABLE_TORCH_LIBRARY_IMPL({namespace}, CPU,")
    left = _NOT_CPP.search(source)
    if left:
        raise ValueError(f"The emulator does not know what to make of {source[left.start() :][:60]!r}.")
    return source


def added_flags() -> list[str]:
    """Return the flags that the package's own kernels get, and the watch over races where nothing else watches."""
    added = shlex.split(os.environ.get("LVLM_VA_CXXFLAGS", ""))
    return added if any(flag.startswith("-fsanitize") for flag in added) else [*added, *WATCH]


def is_watched() -> bool:
    """Whether the emulated kernels are watched for races, not by another sanitizer."""
    return set(WATCH) <= set(added_flags())


def build(name: str, sources: dict[str, str], flags: list[str], link: list[str]) -> Path:
    """Compile sources, by their names under csrc, with the emulator; return what they were linked to.

    What has been built from the same sources is taken as it is.
    """
    own = [path.read_text() for path in sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp"), Path(__file__)])]
    folder = BUILDS / _digest(own, sources, flags, link)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / name).exists():
            for source, text in sources.items():
                path = folder / "csrc" / source
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            _compile([folder / "csrc" / source for source in sources], folder / "part", flags, link)
            (folder / "part").rename(folder / name)
    return folder / name


def _compile(sources: list[Path], output: Path, flags: list[str], link: list[str]) -> None:
    other = [flag for flag in flags if flag not in WATCH]
    includes = [f"-I{HERE}", *(f"-isystem{path}" for path in include_paths())]

    def compile_one(source: Path) -> str:
        own = [*KERNEL_FLAGS, *flags] if source.suffix == ".cu" else other
        built = f"{output.parent / source.name}.o"
        _call([str(COMPILER), *FLAGS, *includes, *own, "-xc++", "-c", str(source), "-o", built])
        return built

    sources = [path for path in sources if path.suffix in (".cu", ".cpp")]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [*sources, *(HERE / name for name in EMULATOR)]))
    # The library of -fsanitize=thread stays out: races.cpp has what is called.
    _call([str(COMPILER), *objects, *other, *link, "-o", str(output)])


def _call(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{shlex.join(command)}\n{result.stderr}")


def _digest(*parts: object) -> str:
    facts = (parts, FLAGS, COMPILER, include_paths())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _kernel_sources(namespace: str) -> dict[str, str]:
    """Return the CUDA kernels and their torch-facing files, rewritten, by their names under csrc."""
    patterns = ("cuda/*.cu*", "ops/*.h", "ops/*_cuda.cpp", "shared/*.h", "cpu/vector_math.h")
    paths = sorted(path for pattern in patterns for path in CSRC.glob(pattern))
    sources = {path.relative_to(CSRC).as_posix(): rewrite(path.read_text(), namespace) for path in paths}
    # There is no stream, and no device to guard.
    return sources | {"ops/common_cuda.h": (HERE / "common_cuda.h").read_text()}


def emulated_module() -> tuple[Any, str]:
    """Return the emulated kernels' module, and the namespace in which they have registered their ops."""
    import pybind11

    # One for each build: torch keeps all that were registered in a process.
    namespace = f"lvlm_va_emulated_{_digest(_kernel_sources(''), added_flags())}"
    sources = _kernel_sources(namespace) | {"module.cpp": (HERE / "module.cpp").read_text()}
    includes = [f"-isystem{path}" for path in (pybind11.get_include(), sysconfig.get_path("include"))]
    library = build("kernels.so", sources, [*added_flags(), *includes], ["-shared", *TORCH])
    spec = spec_from_file_location("kernels", library)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, namespace
