// The share of a pooled window's change, the same on CPU and GPU.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace lvlm_va {

template <typename scalar_t>
struct WindowShare {
  int64_t position;
  scalar_t share;  // in [0, 1]
};

// The window is highest at i in the image u and at j in the reference r. One that rises gives its change to
// i, one that falls to j: there the input changes at least as much as the output does, in the same direction.
template <typename scalar_t>
LVLM_VA_HOST_DEVICE_INLINE WindowShare<scalar_t> window_share(
    const scalar_t* u, const scalar_t* r, int64_t i, int64_t j) {
  const scalar_t rise = u[i] - r[j];
  // By arithmetic: a branch would be mispredicted for every other window, which tripled the time.
  const int64_t rises = u[i] >= r[j];
  const int64_t position = j + rises * (i - j);
  // No difference: those of infinities would be NaN.
  return {position, u[position] == r[position] ? scalar_t(1) : rise / (u[position] - r[position])};
}

}  // namespace lvlm_va
