// Checks and allocation of the rule of max-pooling, the same for every device: `run` gets the arrays.
#pragma once

#include "maxpool_rescale.h"
#include "pairs_op.h"

namespace lvlm_va {

inline void check_indices(const Tensor& indices, const char* name, const Tensor& values, int64_t windows) {
  check_dtype_and_device(indices, name, ScalarType::Long, values);
  const int64_t last = values.dim() - 1;
  STD_TORCH_CHECK(
      rest_is(indices, values, last) && indices.size(0) == values.size(0) &&
          indices.size(1) == values.size(1) && indices.size(last) == windows,
      "The '", name, "' argument must have one position for each of the ", windows, " windows.");
}

template <typename Run>
Tensor maxpool_rescale_op(
    const Tensor& grad_output, const Tensor& input, const Tensor& reference, const Tensor& input_indices,
    const Tensor& reference_indices, const Run& run) {
  const bool pooled = true;
  const PairSize pairs =
      check_pairs({"grad_output", "input", "reference"}, grad_output, input, reference, pooled);
  const int64_t windows = grad_output.size(grad_output.dim() - 1);
  check_indices(input_indices, "input_indices", input, windows);
  check_indices(reference_indices, "reference_indices", reference, windows);
  const Tensor g = with_whole_rows(grad_output);
  const Tensor u = with_whole_rows(input);
  const Tensor r = with_whole_rows(reference);
  const Tensor i = with_whole_rows(input_indices);
  const Tensor j = with_whole_rows(reference_indices);
  const Tensor multipliers = torch::stable::new_empty(u, pair_shape(pairs, u));
  const int64_t positions = u.size(u.dim() - 1);
  int64_t planes = 1;
  for (int64_t d = 2; d < u.dim() - 1; ++d) planes *= u.size(d);
  dispatch_floating(u, "input", [&](auto zero) {
    using scalar_t = decltype(zero);
    if (pairs.references * pairs.images * planes == 0) return;
    run(PoolArrays<scalar_t>{
        pair_rows<scalar_t>(g), pair_rows<scalar_t>(u), pair_rows<scalar_t>(r), pair_rows<int64_t>(i),
        pair_rows<int64_t>(j), multipliers.mutable_data_ptr<scalar_t>(),
        PoolSize{pairs, planes, windows, positions}});
  });
  return multipliers;
}

}  // namespace lvlm_va
