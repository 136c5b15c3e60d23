#include "common_cuda.h"
#include "masked_gradient_penalty_op.h"

namespace lvlm_va {
namespace {

Tensor masked_gradient_penalty(const Tensor& gradient, const Tensor& mask) {
  return penalty_op(gradient, mask, [&](const auto* g, const auto* m, auto* penalty, PenaltySize size) {
    on_current_stream(gradient, "masked_gradient_penalty", [&](void* stream) {
      return launch_masked_gradient_penalty(g, m, penalty, size, stream);
    });
  });
}

Tensor masked_gradient_penalty_backward(
    const Tensor& grad_output, const Tensor& gradient, const Tensor& mask) {
  return penalty_backward_op(
      grad_output, gradient, mask,
      [&](const auto* o, const auto* g, const auto* m, auto* grad_gradient, PenaltySize size) {
        on_current_stream(gradient, "masked_gradient_penalty_backward", [&](void* stream) {
          return launch_masked_gradient_penalty_backward(o, g, m, grad_gradient, size, stream);
        });
      });
}

}  // namespace
}  // namespace lvlm_va

STABLE_TORCH_LIBRARY_IMPL(lvlm_va, CUDA, library) {
  library.impl("masked_gradient_penalty", TORCH_BOX(&lvlm_va::masked_gradient_penalty));
  library.impl("masked_gradient_penalty_backward", TORCH_BOX(&lvlm_va::masked_gradient_penalty_backward));
}
