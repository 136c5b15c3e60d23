// Checks that the attribution ops share, and their tensors as the kernels see them.
#pragma once

#include <vector>

#include "common.h"
#include "../shared/pairs.h"

namespace lvlm_va {

// What the op at hand calls its tensors.
struct PairNames {
  const char *gradient, *input, *reference;
};

inline bool rest_is(const Tensor& tensor, const Tensor& other, int64_t last_dim) {
  if (tensor.dim() != other.dim()) return false;
  for (int64_t d = 2; d < last_dim; ++d) {
    if (tensor.size(d) != other.size(d)) return false;
  }
  return true;
}

// Raises unless the shapes are (B or 1, n, *rest), (1, n, *rest) and (B, n or 1, *rest). The last dimension
// of a pooled gradient is free.
inline PairSize check_pairs(
    const PairNames& names, const Tensor& g, const Tensor& u, const Tensor& r, bool pooled = false) {
  STD_TORCH_CHECK(
      u.dim() >= (pooled ? 3 : 2) && u.size(0) == 1, "The '", names.input,
      "' argument must have shape (1, n, *rest).");
  check_dtype_and_device(g, names.gradient, u.scalar_type(), u);
  check_dtype_and_device(r, names.reference, u.scalar_type(), u);
  STD_TORCH_CHECK(
      rest_is(r, u, u.dim()) && (r.size(1) == 1 || r.size(1) == u.size(1)), "The '", names.reference,
      "' argument must have shape (B, n or 1, *rest).");
  STD_TORCH_CHECK(
      rest_is(g, u, u.dim() - pooled) && (g.size(0) == 1 || g.size(0) == r.size(0)) && g.size(1) == u.size(1),
      "The '", names.gradient, "' argument must have shape (B or 1, n, *rest).");
  int64_t inner = 1;
  for (int64_t d = 2; d < u.dim(); ++d) inner *= u.size(d);
  return {r.size(0), u.size(1), inner};
}

inline std::vector<int64_t> pair_shape(const PairSize& size, const Tensor& input) {
  std::vector<int64_t> shape(input.sizes().begin(), input.sizes().end());
  shape[0] = size.references;
  shape[1] = size.images;
  return shape;
}

// The tensor itself where the values of each pair lie together, in order; else a contiguous copy.
inline Tensor with_whole_rows(const Tensor& tensor) {
  int64_t expected = 1;
  for (int64_t d = tensor.dim() - 1; d >= 2; --d) {
    if (tensor.size(d) != 1 && tensor.stride(d) != expected) return torch::stable::contiguous(tensor);
    expected *= tensor.size(d);
  }
  return tensor;
}

template <typename T>
PairRows<T> pair_rows(const Tensor& tensor) {
  return {
      tensor.const_data_ptr<T>(), tensor.size(0) == 1 ? 0 : tensor.stride(0),
      tensor.size(1) == 1 ? 0 : tensor.stride(1)};
}

}  // namespace lvlm_va
