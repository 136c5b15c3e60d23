#include "maxpool_rescale_op.h"

#include <atomic>

namespace lvlm_va {
namespace {

Tensor maxpool_rescale(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, const Tensor& input_indices,
    const Tensor& reference_indices) {
  const auto run = [](const auto& arrays) {
    const PoolSize& size = arrays.size;
    const int64_t planes = size.pairs.references * size.pairs.images * size.planes;
    const int64_t operations = size.positions + 8 * size.windows;
    std::atomic<bool> inside{true};
    torch::stable::parallel_for(0, planes, images_per_thread(operations), [&](int64_t begin, int64_t end) {
      if (!maxpool_rescale_cpu(arrays, begin, end)) inside = false;
    });
    STD_TORCH_CHECK(
        inside, "The 'input_indices' and 'reference_indices' arguments must lie in [0, ", size.positions,
        "), the positions of 'input'.");
  };
  return maxpool_rescale_op(grad_output, input, reference, input_indices, reference_indices, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("maxpool_rescale", TORCH_BOX(&lvlm_va::maxpool_rescale));
}
