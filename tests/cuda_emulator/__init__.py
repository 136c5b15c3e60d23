"""The CUDA kernels of csrc/cuda, run on the CPU.

`cuda_runtime.h` here stands in for CUDA's: a fiber per thread of a block, one block after the other. `build.py`
rewrites what of CUDA is no C++ (launches, shared memory), compiles kernels and torch-facing files into a library of
their own, and keeps it in build/cuda_emulator under a hash of its sources. `emulated.py` puts these kernels in the
place of the CPU's, so that "emulated" is a device of the tests in tests/ops.

What is an error:

- Two threads touch the same byte, one of them writing, and no barrier lies between: in shared memory and in global
  memory, within a block and between blocks. The compiler reports every access (-fsanitize=thread), races.cpp keeps
  who touched a byte after which barrier. So an order of the threads that happens to be kind hides nothing. Votes,
  matches and shuffles order no memory, as on a GPU.
- Shared memory is read that the block has not written. It starts as bits of 1, NaN where it holds numbers. The
  tensors that an op allocates start as NaN, or the largest integer.
- A thread has left, or waits elsewhere, when others wait in a barrier; a vote that is not for a whole warp.
- A grid, a block or shared memory beyond the limits of a launch.
- Results that depend, in any bit, on the order of the threads: forward, reverse, and another at every barrier.
- With `make sanitize`, in one order and without the watch over races: reads and writes outside of tensors and of
  shared memory, and undefined behaviour.

What it cannot show:

- Rounding as on a GPU: nvcc fuses products and sums, and its exp, log or erf end in other bits than the C library's.
- The memory model: a GPU's caches and compiler may reorder more than fibers do. A program without races, which is what
  is checked, does not see it.
- Occupancy, registers, spills, bank conflicts, coalescing: anything about speed. Nor stack sizes, nor the time limit
  of a launch.
- Whether nvcc takes the sources (`make check-cuda`), streams, several devices, and the checks of arguments that the
  ops make only where tensors are on a GPU.
- Bytes that are accessed both alone and as part of a word: words are watched by their first byte.

`make gpu-check` is for a machine that has a GPU.
"""
