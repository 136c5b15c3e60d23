// What the torch-facing files share. Stable headers only.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>

namespace lvlm_va {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Calls function(float{}) or function(double{}), by the dtype of `tensor`.
template <typename Function>
void dispatch_floating(const Tensor& tensor, const char* name, Function&& function) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      function(float{});
      break;
    case ScalarType::Double:
      function(double{});
      break;
    default:
      STD_TORCH_CHECK(false, "The '", name, "' argument must be a float32 or float64 tensor.");
  }
}

inline void check_dtype_and_device(
    const Tensor& tensor, const char* name, ScalarType dtype, const Tensor& other) {
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, "The '", name, "' argument has the wrong dtype.");
  STD_TORCH_CHECK(
      tensor.is_cpu() == other.is_cpu() && tensor.get_device_index() == other.get_device_index(), "The '",
      name, "' argument must be on the same device as the others.");
}

// How many images a thread should take at least, so that its work outweighs its start.
inline int64_t images_per_thread(int64_t operations_per_image) {
  constexpr int64_t kLeastOperations = 32768;
  return std::max<int64_t>(1, kLeastOperations / std::max<int64_t>(1, operations_per_image));
}

}  // namespace lvlm_va
