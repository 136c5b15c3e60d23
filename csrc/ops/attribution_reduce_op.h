// Checks and allocation of the mean over references, the same for every device: `run` gets the arrays.
#pragma once

#include <vector>

#include "attribution_reduce.h"
#include "pairs_op.h"

namespace lvlm_va {

template <typename Run>
Tensor attribution_reduce_op(
    const Tensor& multipliers, const Tensor& images, const Tensor& references, const Run& run) {
  const PairSize size =
      check_pairs({"multipliers", "images", "references"}, multipliers, images, references);
  const Tensor m = with_whole_rows(multipliers);
  const Tensor x = with_whole_rows(images);
  const Tensor r = with_whole_rows(references);
  const std::vector<int64_t> shape(x.sizes().begin() + 1, x.sizes().end());
  const Tensor contributions = torch::stable::new_empty(x, shape);
  dispatch_floating(x, "images", [&](auto zero) {
    using scalar_t = decltype(zero);
    if (contributions.numel() == 0) return;
    run(ReduceArrays<scalar_t>{
        pair_rows<scalar_t>(m), pair_rows<scalar_t>(x), pair_rows<scalar_t>(r),
        contributions.mutable_data_ptr<scalar_t>(), size});
  });
  return contributions;
}

}  // namespace lvlm_va
