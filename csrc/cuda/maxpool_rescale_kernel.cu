#include <cmath>

#include "../ops/maxpool_rescale.h"
#include "../shared/window.h"
#include "launch.cuh"
#include "pairs.cuh"
#include "reduce.cuh"

namespace lvlm_va {
namespace {

constexpr int kPlanesPerBlock = 8;
constexpr unsigned int kWholeWarp = 0xffffffffu;

// Adds the lanes' values to multipliers[position], lanes of the same position one after the other, so that
// every position sums its windows in their order. Lanes without a window pass a position below 0.
template <typename scalar_t>
__device__ void add_in_order(scalar_t* multipliers, int64_t position, scalar_t value, int lane) {
  const unsigned int same = __match_any_sync(kWholeWarp, static_cast<unsigned long long>(position));
  const int turn = position < 0 ? -1 : __popc(same & ((1u << lane) - 1u));
  for (int now = 0; __any_sync(kWholeWarp, turn >= now); ++now) {
    if (turn == now) multipliers[position] += value;
    __syncwarp();
  }
}

// One warp per plane goes through the windows 32 at a time. No atomics: their order would differ every time.
template <typename scalar_t>
__global__ void __launch_bounds__(kPlanesPerBlock* kWarp) maxpool_rescale_kernel(
    const PoolArrays<scalar_t> arrays) {
  const PoolSize& size = arrays.size;
  const int lane = threadIdx.x % kWarp;
  const int64_t planes = size.pairs.references * size.pairs.images * size.planes;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kPlanesPerBlock;
  int64_t plane = static_cast<int64_t>(blockIdx.x) * kPlanesPerBlock + threadIdx.x / kWarp;
  for (; plane < planes; plane += stride) {
    const int64_t p = plane % size.planes, pair = plane / size.planes;
    const int64_t n = pair % size.pairs.images, b = pair / size.pairs.images;
    const scalar_t* grad_output = arrays.grad_output(b, n) + p * size.windows;
    const scalar_t* u = arrays.input(b, n) + p * size.positions;
    const scalar_t* r = arrays.reference(b, n) + p * size.positions;
    const int64_t* input_indices = arrays.input_indices(b, n) + p * size.windows;
    const int64_t* reference_indices = arrays.reference_indices(b, n) + p * size.windows;
    scalar_t* multipliers = arrays.multipliers + plane * size.positions;

    for (int64_t s = lane; s < size.positions; s += kWarp) multipliers[s] = scalar_t(0);
    __syncwarp();
    bool inside = true;
    for (int64_t first = 0; first < size.windows; first += kWarp) {
      const int64_t o = first + lane;
      WindowShare<scalar_t> window = {-1 - lane, scalar_t(0)};
      if (o < size.windows) {
        const int64_t i = input_indices[o], j = reference_indices[o];
        if (i >= 0 && i < size.positions && j >= 0 && j < size.positions) {
          window = window_share(u, r, i, j);
          window.share *= grad_output[o];
        } else {
          inside = false;
        }
      }
      add_in_order(multipliers, window.position, window.share, lane);
    }
    if (!__all_sync(kWholeWarp, inside)) {
      for (int64_t s = lane; s < size.positions; s += kWarp) multipliers[s] = scalar_t(NAN);
    }
  }
}

}  // namespace

template <typename scalar_t>
const char* launch_maxpool_rescale(const PoolArrays<scalar_t>& arrays, void* stream) {
  const PoolSize& size = arrays.size;
  const int64_t planes = size.pairs.references * size.pairs.images * size.planes;
  const unsigned int blocks = at_most((planes + kPlanesPerBlock - 1) / kPlanesPerBlock, 1 << 20);
  maxpool_rescale_kernel<<<blocks, kPlanesPerBlock * kWarp, 0, static_cast<cudaStream_t>(stream)>>>(arrays);
  return launch_error();
}

template const char* launch_maxpool_rescale(const PoolArrays<float>&, void*);
template const char* launch_maxpool_rescale(const PoolArrays<double>&, void*);

}  // namespace lvlm_va
