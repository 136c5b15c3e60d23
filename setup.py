"""Build the compiled kernels; all else stands in pyproject.toml.

Without a working compiler the package installs all the same and runs on its plain-torch references.
LVLM_VA_REQUIRE_NATIVE=1 makes a failed build an error. CUDA kernels are built where torch has CUDA and the
toolkit is found, as a module of their own; LVLM_VA_CUDA=1 insists on them, LVLM_VA_CUDA=0 leaves them out.
LVLM_VA_CXXFLAGS are flags for the C++ compiler and the linker, after ours.

Both modules use CPython's limited API and torch's stable ABI only: one wheel serves every Python from 3.11 and every
torch from 2.10 on.
"""

import os
import shlex
import warnings
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

# The oldest torch whose stable ABI the kernels use (2.10); the build runs on it and on every later one.
TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"
# No -ffast-math: the values stay those of the source. Sums are reordered only where a pragma says so, and
# nobody asks for floating-point traps or errno.
WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter"]
FLAGS = ["-O3", "-g0", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno", *WARNINGS, TARGET]
CUDA_FLAGS = ["-O3", "-lineinfo", "-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter", TARGET, "-DUSE_CUDA"]


def with_cuda() -> bool:
    wish = os.environ.get("LVLM_VA_CUDA", "")
    possible = bool(torch.version.cuda and CUDA_HOME)
    if wish == "1" and not possible:
        raise RuntimeError(
            "LVLM_VA_CUDA=1 asks for CUDA kernels, but "
            + ("nvcc was not found; set CUDA_HOME." if torch.version.cuda else "this torch has no CUDA.")
        )
    return possible and wish != "0"


def extension(name: str, sources: list[Path], *, cuda: bool = False) -> Extension:
    added = shlex.split(os.environ.get("LVLM_VA_CXXFLAGS", ""))
    flags = [*FLAGS, *(["-DUSE_CUDA"] if cuda else []), *added]
    compile_args = {"cxx": [*flags, f'-DLVLM_VA_FLAGS="{" ".join(flags)}"'], "nvcc": CUDA_FLAGS}
    return (CUDAExtension if cuda else CppExtension)(
        name,
        [str(source) for source in sorted(sources)],
        extra_compile_args=compile_args,
        extra_link_args=added,
        optional=os.environ.get("LVLM_VA_REQUIRE_NATIVE") != "1" and os.environ.get("LVLM_VA_CUDA") != "1",
        py_limited_api=True,
    )


def extensions() -> list[Extension]:
    csrc = Path("csrc")
    wrappers, of_cuda = set(csrc.glob("ops/*.cpp")), set(csrc.glob("ops/*_cuda.cpp"))
    on_cpu = [csrc / "cpu_module.cpp", *(wrappers - of_cuda), *csrc.glob("cpu/*.cpp")]
    found = [extension("lvlm_va._C", on_cpu)]
    if with_cuda():
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
        on_cuda = [csrc / "cuda_module.cpp", *of_cuda, *csrc.glob("cuda/*.cu")]
        found.append(extension("lvlm_va._C_cuda", on_cuda, cuda=True))
    return found


class OptionalBuild(BuildExtension):
    """A build whose failure is a warning where the extension is optional."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if not all(extension.optional for extension in self.extensions):
                raise
            warnings.warn(
                f"The compiled kernels were not built; lvlm_va will run on plain torch, slower: {error}. "
                "LVLM_VA_CUDA=0 leaves out CUDA; LVLM_VA_REQUIRE_NATIVE=1 makes this an error.",
                stacklevel=1,
            )


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": OptionalBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
