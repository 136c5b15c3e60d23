// Checks and allocation of the penalty and its derivative, the same for every device: `run` gets the raw
// pointers and the sizes.
#pragma once

#include "common.h"
#include "masked_gradient_penalty.h"

namespace lvlm_va {

inline PenaltySize check_penalty(const Tensor& gradient, const Tensor& mask) {
  STD_TORCH_CHECK(
      gradient.dim() >= 2, "The 'gradient' argument must have shape (n, C, *spatial). Got ", gradient.dim(),
      " dimensions instead.");
  check_dtype_and_device(mask, "mask", gradient.scalar_type(), gradient);
  bool fits = mask.dim() == gradient.dim() - 1 && mask.size(0) == gradient.size(0);
  int64_t pixels = 1;
  for (int64_t d = 2; d < gradient.dim(); ++d) {
    pixels *= gradient.size(d);
    fits = fits && mask.size(d - 1) == gradient.size(d);
  }
  STD_TORCH_CHECK(fits, "The 'mask' argument must have shape (n, *spatial) for a gradient (n, C, *spatial).");
  return {gradient.size(0), gradient.size(1), pixels};
}

template <typename Run>
Tensor penalty_op(const Tensor& gradient, const Tensor& mask, const Run& run) {
  const PenaltySize size = check_penalty(gradient, mask);
  const Tensor g = torch::stable::contiguous(gradient);
  const Tensor m = torch::stable::contiguous(mask);
  const Tensor penalty = torch::stable::new_empty(g, {size.images});
  dispatch_floating(g, "gradient", [&](auto zero) {
    using scalar_t = decltype(zero);
    if (size.images == 0) return;
    run(g.const_data_ptr<scalar_t>(), m.const_data_ptr<scalar_t>(), penalty.mutable_data_ptr<scalar_t>(),
        size);
  });
  return penalty;
}

template <typename Run>
Tensor penalty_backward_op(
    const Tensor& grad_output, const Tensor& gradient, const Tensor& mask, const Run& run) {
  const PenaltySize size = check_penalty(gradient, mask);
  check_dtype_and_device(grad_output, "grad_output", gradient.scalar_type(), gradient);
  STD_TORCH_CHECK(
      grad_output.dim() == 1 && grad_output.size(0) == size.images,
      "The 'grad_output' argument must have shape (n,) for a gradient (n, C, *spatial).");
  const Tensor o = torch::stable::contiguous(grad_output);
  const Tensor g = torch::stable::contiguous(gradient);
  const Tensor m = torch::stable::contiguous(mask);
  const Tensor grad_gradient = torch::stable::new_empty(g, g.sizes());
  dispatch_floating(g, "gradient", [&](auto zero) {
    using scalar_t = decltype(zero);
    if (g.numel() == 0) return;
    run(o.const_data_ptr<scalar_t>(), g.const_data_ptr<scalar_t>(), m.const_data_ptr<scalar_t>(),
        grad_gradient.mutable_data_ptr<scalar_t>(), size);
  });
  return grad_gradient;
}

}  // namespace lvlm_va
