// Stands in for CUDA's header of this name: as much of CUDA as csrc/cuda uses, on the CPU. See __init__.py.
//
// `kernel<<<grid, block, bytes, stream>>>(arguments)` and `__shared__` are no C++; build.py has written them as
// emulator::launch and emulator::shared before this is read.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using dim3 = emulator::Size;
using emulator::blockDim, emulator::blockIdx, emulator::gridDim, emulator::threadIdx;

using cudaStream_t = void*;
using cudaError_t = const char*;
constexpr cudaError_t cudaSuccess = nullptr;

// What the last launch did wrong, in words. On a GPU most of it would go unnoticed.
inline cudaError_t cudaGetLastError() {
  return emulator::error();
}

inline const char* cudaGetErrorString(cudaError_t error) {
  return error;
}

inline int __popc(unsigned int bits) {
  return __builtin_popcount(bits);
}

// Where each is called is part of what threads must agree on.
#define EMULATOR_HERE(NAME) emulator::Site{NAME, __FILE__, __LINE__}
#define __syncthreads() emulator::sync_block(EMULATOR_HERE("__syncthreads"))
#define __syncwarp() emulator::sync_warp(EMULATOR_HERE("__syncwarp"))
#define __shfl_down_sync(mask, value, by) \
  emulator::shuffle_down(EMULATOR_HERE("__shfl_down_sync"), mask, value, by)
#define __match_any_sync(mask, value) emulator::match_any(EMULATOR_HERE("__match_any_sync"), mask, value)
#define __ballot_sync(mask, vote) emulator::ballot(EMULATOR_HERE("__ballot_sync"), mask, vote)
#define __any_sync(mask, vote) (emulator::ballot(EMULATOR_HERE("__any_sync"), mask, vote) != 0)
#define __all_sync(mask, vote) (emulator::ballot(EMULATOR_HERE("__all_sync"), mask, vote) == 0xffffffffu)

namespace emulator {

template <typename T>
std::uint64_t to_word(T value) {
  static_assert(sizeof value <= sizeof(std::uint64_t));
  std::uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  return word;
}

template <typename T>
T shuffle_down(Site site, unsigned int mask, T value, unsigned int by) {
  const unsigned int lane = threadIdx.x % kWarpSize;
  const std::uint64_t* words = meet(site, mask, to_word(value));
  std::memcpy(&value, words + (lane + by < kWarpSize ? lane + by : lane), sizeof value);
  return value;
}

template <typename T>
unsigned int match_any(Site site, unsigned int mask, T value) {
  const std::uint64_t* words = meet(site, mask, to_word(value));
  unsigned int same = 0;
  for (unsigned int lane = 0; lane < kWarpSize; ++lane) {
    same |= static_cast<unsigned int>(words[lane] == to_word(value)) << lane;
  }
  return same;
}

inline unsigned int ballot(Site site, unsigned int mask, bool vote) {
  const std::uint64_t* words = meet(site, mask, vote);
  unsigned int votes = 0;
  for (unsigned int lane = 0; lane < kWarpSize; ++lane) votes |= static_cast<unsigned int>(words[lane]) << lane;
  return votes;
}

}  // namespace emulator
