// One thread per value of a pair: along x the values, along y the images, along z the references; where a
// grid may not be that large, its threads stride over the rest. No index is found by a division.
#pragma once

#include <cuda_runtime.h>

#include "../shared/pairs.h"

namespace lvlm_va {

constexpr int kPairThreads = 256;

inline unsigned int at_most(int64_t wanted, int64_t most) {
  return static_cast<unsigned int>(wanted < most ? wanted : most);
}

// Within the limits of a grid: 2^31 - 1 along x, 65535 along y and z.
inline dim3 pair_grid(const PairSize& size) {
  const int64_t blocks = (size.inner + kPairThreads - 1) / kPairThreads;
  return dim3(at_most(blocks, 65536), at_most(size.images, 65535), at_most(size.references, 65535));
}

// Calls function(reference, image, i) for each value that is this thread's.
template <typename Function>
__device__ __forceinline__ void for_each_value(const PairSize& size, const Function& function) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t b = blockIdx.z; b < size.references; b += gridDim.z) {
    for (int64_t n = blockIdx.y; n < size.images; n += gridDim.y) {
      for (int64_t i = first; i < size.inner; i += stride) function(b, n, i);
    }
  }
}

}  // namespace lvlm_va
