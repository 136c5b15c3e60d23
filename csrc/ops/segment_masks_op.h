// Checks and allocation of the masks, the same for every device: `run` gets the pointers and sizes.
#pragma once

#include "common.h"
#include "segment_masks.h"

namespace lvlm_va {

// Calls function(one) with the bits of 1 in `dtype`, as an unsigned integer of its size.
template <typename Function>
void dispatch_mask(ScalarType dtype, const Function& function) {
  switch (dtype) {
    case ScalarType::Bool:
    case ScalarType::Byte:
    case ScalarType::Char:
      return function(uint8_t{1});
    case ScalarType::Short:
      return function(uint16_t{1});
    case ScalarType::Int:
      return function(uint32_t{1});
    case ScalarType::Long:
      return function(uint64_t{1});
    case ScalarType::Half:
      return function(uint16_t{0x3c00});
    case ScalarType::BFloat16:
      return function(uint16_t{0x3f80});
    case ScalarType::Float:
      return function(uint32_t{0x3f800000});
    case ScalarType::Double:
      return function(uint64_t{0x3ff0000000000000});
    default:
      STD_TORCH_CHECK(
          false, "The 'dtype' argument must be bool, uint8, int8 to int64, float16, bfloat16, float32 or ",
          "float64.");
  }
}

template <typename Run>
Tensor segment_masks_op(const Tensor& labels, const Tensor& spurious, ScalarType dtype, const Run& run) {
  STD_TORCH_CHECK(labels.dim() == 3, "The 'labels' argument must have shape (n, H, W).");
  STD_TORCH_CHECK(
      spurious.dim() == 2 && spurious.size(0) == labels.size(0),
      "The 'spurious' argument must have shape (n, J), with one row per image.");
  check_dtype_and_device(labels, "labels", ScalarType::Long, labels);
  check_dtype_and_device(spurious, "spurious", ScalarType::Bool, labels);
  const Tensor l = torch::stable::contiguous(labels);
  const Tensor s = torch::stable::contiguous(spurious);
  const Tensor masks = torch::stable::new_empty(l, l.sizes(), dtype);
  const MaskSize size = {l.size(0), l.size(1) * l.size(2), s.size(1)};
  dispatch_mask(dtype, [&](auto one) {
    if (masks.numel() == 0) return;
    run(l.const_data_ptr<int64_t>(), s.const_data_ptr<bool>(), one,
        static_cast<decltype(one)*>(masks.mutable_data_ptr()), size);
  });
  return masks;
}

}  // namespace lvlm_va
