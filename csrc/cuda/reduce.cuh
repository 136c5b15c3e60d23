// Sums over a block, added in a fixed order: the same input gives the same bits every time.
#pragma once

#include <cuda_runtime.h>

namespace lvlm_va {

constexpr int kWarp = 32;

struct Sum {
  __device__ double operator()(double a, double b) const { return a + b; }
};

struct Largest {
  __device__ double operator()(double a, double b) const { return fmax(a, b); }
};

// Combines one value per thread and gives the result to every thread. The block has whole warps, at most 32.
template <typename Combine>
__device__ double block_reduce(double value, Combine combine) {
  __shared__ double of_warp[kWarp];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int warps = blockDim.x / kWarp;
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = combine(value, __shfl_down_sync(0xffffffffu, value, offset));
  }
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  double result = of_warp[0];
  for (int w = 1; w < warps; ++w) result = combine(result, of_warp[w]);
  // Nobody may write the next reduction's values before all have read these.
  __syncthreads();
  return result;
}

__device__ inline double block_sum(double value) {
  return block_reduce(value, Sum{});
}

}  // namespace lvlm_va
