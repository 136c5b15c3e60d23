// Tensors of the attribution ops, (references, images, *rest), where both leading dimensions may broadcast.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace lvlm_va {

struct PairSize {
  int64_t references, images;
  int64_t inner;  // values of one pair
};

// The values of each pair lie together; from one pair to the next is any stride, 0 where they share one.
template <typename T>
struct PairRows {
  const T* data;
  int64_t per_reference, per_image;

  LVLM_VA_HOST_DEVICE_INLINE const T* operator()(int64_t reference, int64_t image) const {
    return data + reference * per_reference + image * per_image;
  }
};

}  // namespace lvlm_va
