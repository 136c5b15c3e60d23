// The elementary functions of the slopes, on the ranges on which the slopes call them.
//
// A GPU has fast ones of its own in both precisions; on a CPU those of vector_math.h keep a loop of them in
// vector registers, in double precision, also where the tensors are in single.
#pragma once

#include <cmath>

#include "host_device.h"
#if !defined(__CUDACC__)
#include "../cpu/vector_math.h"
#else

namespace lvlm_va {

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T exp_of_any(T x) {
  return std::exp(x);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T exp_of_nonpositive(T x) {
  return std::exp(x);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T expm1_of_nonpositive(T x) {
  return std::expm1(x);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T log1p_of_nonnegative(T x) {
  return std::log1p(x);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T error_function(T x) {
  return std::erf(x);
}

}  // namespace lvlm_va
#endif
