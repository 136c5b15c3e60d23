#include "../ops/rescale_multipliers.h"
#include "launch.cuh"
#include "pairs.cuh"

namespace lvlm_va {
namespace {

template <typename Slope, typename scalar_t>
__global__ void __launch_bounds__(kPairThreads)
    rescale_kernel(const Slope slope, const RescaleArrays<scalar_t> arrays) {
  const PairSize& size = arrays.size;
  for_each_value(size, [&](int64_t b, int64_t n, int64_t i) {
    const scalar_t u = arrays.input(b, n)[i], r = arrays.reference(b, n)[i];
    arrays.multipliers[(b * size.images + n) * size.inner + i] =
        carried(arrays.grad_output(b, n)[i], slope(u, r), u, r);
  });
}

}  // namespace

template <typename scalar_t>
const char* launch_rescale_multipliers(
    const Activation& activation, const RescaleArrays<scalar_t>& arrays, void* stream) {
  const dim3 grid = pair_grid(arrays.size);
  with_slope(activation, [&](const auto slope) {
    rescale_kernel<<<grid, kPairThreads, 0, static_cast<cudaStream_t>(stream)>>>(slope, arrays);
  });
  return launch_error();
}

template const char* launch_rescale_multipliers(const Activation&, const RescaleArrays<float>&, void*);
template const char* launch_rescale_multipliers(const Activation&, const RescaleArrays<double>&, void*);

}  // namespace lvlm_va
