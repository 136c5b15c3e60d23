#include "ppeps_em_op.h"

namespace lvlm_va {
namespace {

EMTensors ppeps_em(
    const Tensor& weights, const Tensor& means, const Tensor& covariances, const Tensor& shares,
    double floor_row, double floor_column, int64_t max_iter, double tol) {
  const auto run = [](const auto* w, const EMStart& start, const EMFit& fit, const EMSize& size,
                      const EMOptions& options) {
    const int64_t operations = size.height * size.width * size.components * (options.max_iter + 1);
    torch::stable::parallel_for(
        0, size.images, images_per_thread(operations),
        [&](int64_t begin, int64_t end) { ppeps_em_cpu(w, start, fit, size, options, begin, end); });
  };
  return em_op(weights, means, covariances, shares, floor_row, floor_column, max_iter, tol, run);
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("ppeps_em", TORCH_BOX(&lvlm_va::ppeps_em));
}
