#include "common_cuda.h"
#include "maxpool_rescale_op.h"

namespace lvlm_va {
namespace {

Tensor maxpool_rescale(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, const Tensor& input_indices,
    const Tensor& reference_indices) {
  const auto run = [&](const auto& arrays) {
    on_current_stream(input, "maxpool_rescale", [&](void* stream) {
      return launch_maxpool_rescale(arrays, stream);
    });
  };
  return maxpool_rescale_op(grad_output, input, reference, input_indices, reference_indices, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("maxpool_rescale", TORCH_BOX(&lvlm_va::maxpool_rescale));
}
