#include "rescale_multipliers_op.h"

namespace lvlm_va {
namespace {

Tensor rescale_multipliers(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, StringHandle activation,
    const std::vector<double>& parameters) {
  const auto run = [](const Activation& activation, const auto& arrays) {
    const PairSize& size = arrays.size;
    const int64_t pieces = rescale_multipliers_pieces(size);
    const int64_t values = size.references * size.images * size.inner / pieces;
    torch::stable::parallel_for(0, pieces, images_per_thread(values), [&](int64_t begin, int64_t end) {
      rescale_multipliers_cpu(activation, arrays, begin, end);
    });
  };
  return rescale_multipliers_op(grad_output, input, reference, activation, parameters, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("rescale_multipliers", TORCH_BOX(&lvlm_va::rescale_multipliers));
}
