#include "common_cuda.h"
#include "rescale_multipliers_op.h"

namespace lvlm_va {
namespace {

Tensor rescale_multipliers(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, StringHandle activation,
    const std::vector<double>& parameters) {
  const auto run = [&](const Activation& activation, const auto& arrays) {
    on_current_stream(input, "rescale_multipliers", [&](void* stream) {
      return launch_rescale_multipliers(activation, arrays, stream);
    });
  };
  return rescale_multipliers_op(grad_output, input, reference, activation, parameters, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("rescale_multipliers", TORCH_BOX(&lvlm_va::rescale_multipliers));
}
