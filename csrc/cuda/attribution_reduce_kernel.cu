#include "../ops/attribution_reduce.h"
#include "launch.cuh"
#include "pairs.cuh"

namespace lvlm_va {
namespace {

// One thread per contribution adds up its references in their order.
template <typename scalar_t>
__global__ void __launch_bounds__(kPairThreads) reduce_kernel(const ReduceArrays<scalar_t> arrays) {
  const PairSize& size = arrays.size;
  for_each_value({1, size.images, size.inner}, [&](int64_t, int64_t n, int64_t i) {
    const double x = static_cast<double>(arrays.images(0, n)[i]);
    double sum = 0.0;
    for (int64_t b = 0; b < size.references; ++b) {
      const double change = x - static_cast<double>(arrays.references(b, n)[i]);
      sum += change * static_cast<double>(arrays.multipliers(b, n)[i]);
    }
    arrays.contributions[n * size.inner + i] =
        static_cast<scalar_t>(sum / static_cast<double>(size.references));
  });
}

}  // namespace

template <typename scalar_t>
const char* launch_attribution_reduce(const ReduceArrays<scalar_t>& arrays, void* stream) {
  const dim3 grid = pair_grid({1, arrays.size.images, arrays.size.inner});
  reduce_kernel<<<grid, kPairThreads, 0, static_cast<cudaStream_t>(stream)>>>(arrays);
  return launch_error();
}

template const char* launch_attribution_reduce(const ReduceArrays<float>&, void*);
template const char* launch_attribution_reduce(const ReduceArrays<double>&, void*);

}  // namespace lvlm_va
