#include "masked_gradient_penalty_op.h"

namespace lvlm_va {
namespace {

Tensor masked_gradient_penalty(const Tensor& gradient, const Tensor& mask) {
  return penalty_op(gradient, mask, [](const auto* g, const auto* m, auto* penalty, PenaltySize size) {
    torch::stable::parallel_for(
        0, size.images, images_per_thread(size.channels * size.pixels),
        [&](int64_t begin, int64_t end) { masked_gradient_penalty_cpu(g, m, penalty, size, begin, end); });
  });
}

Tensor masked_gradient_penalty_backward(
    const Tensor& grad_output, const Tensor& gradient, const Tensor& mask) {
  return penalty_backward_op(
      grad_output, gradient, mask,
      [](const auto* o, const auto* g, const auto* m, auto* grad_gradient, PenaltySize size) {
        torch::stable::parallel_for(
            0, size.images, images_per_thread(size.channels * size.pixels), [&](int64_t begin, int64_t end) {
              masked_gradient_penalty_backward_cpu(o, g, m, grad_gradient, size, begin, end);
            });
      });
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CPU, library) {
  library.impl("masked_gradient_penalty", TORCH_BOX(&lvlm_va::masked_gradient_penalty));
  library.impl("masked_gradient_penalty_backward", TORCH_BOX(&lvlm_va::masked_gradient_penalty_backward));
}
