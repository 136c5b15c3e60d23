#include <limits>

#include "common_cuda.h"
#include "ppeps_em_op.h"

namespace lvlm_va {
namespace {

EMTensors ppeps_em(
    const Tensor& weights, const Tensor& means, const Tensor& covariances, const Tensor& shares,
    double floor_row, double floor_column, int64_t max_iter, double tol) {
  const auto run = [&](const auto* w, const EMStart& start, const EMFit& fit, const EMSize& size,
                       const EMOptions& options) {
    const int64_t pixels = size.height * size.width;
    STD_TORCH_CHECK(
        size.components <= kMaxCudaComponents, "The 'shares' argument must have at most ", kMaxCudaComponents,
        " components on CUDA. Got ", size.components, " instead.");
    STD_TORCH_CHECK(
        pixels <= std::numeric_limits<int32_t>::max(),
        "The 'weights' argument must have less than 2^31 pixels.");
    const Tensor support = torch::stable::new_empty(weights, {size.images, pixels}, ScalarType::Int);
    const Tensor log_marginal = torch::stable::new_empty(weights, {size.images, pixels}, ScalarType::Double);
    on_current_stream(weights, "ppeps_em", [&](void* stream) {
      return launch_ppeps_em(
          w, start, fit, support.mutable_data_ptr<int32_t>(), log_marginal.mutable_data_ptr<double>(), size,
          options, stream);
    });
  };
  return em_op(weights, means, covariances, shares, floor_row, floor_column, max_iter, tol, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("ppeps_em", TORCH_BOX(&lvlm_va::ppeps_em));
}
