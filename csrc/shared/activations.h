// The activations by name: the one list of what `rescale_multipliers` knows, for CPU and GPU.
#pragma once

#include <cstring>

#include "slopes.h"

// Name, number of parameters (a, b, c in the formula), whether it needs elementary functions, slope.
#define LVLM_VA_ACTIVATIONS(X)                                             \
  X(abs, 0, false, T(2) * relu_slope(u, r) - T(1))                         \
  X(elu, 3, true, elu_slope(u, r, T(a), T(b), T(c)))                       \
  X(erf, 0, true, erf_slope(u, r))                                         \
  X(exp, 0, true, exp_slope(u, r))                                         \
  X(gelu, 0, true, gelu_slope(u, r))                                       \
  X(gelu_tanh, 0, true, gelu_tanh_slope(u, r))                             \
  X(hardswish, 0, false, hardswish_slope(u, r))                            \
  X(hardtanh, 2, false, hardtanh_slope(u, r, T(a), T(b)))                  \
  X(leaky_relu, 1, false, T(a) + (T(1) - T(a)) * relu_slope(u, r))         \
  X(log, 0, true, log_slope(u, r))                                         \
  X(mish, 0, true, mish_slope(u, r))                                       \
  X(reciprocal, 0, false, reciprocal_slope(u, r))                          \
  X(relu, 0, false, relu_slope(u, r))                                      \
  X(rsqrt, 0, false, rsqrt_slope(u, r))                                    \
  X(sigmoid, 0, true, sigmoid_slope(u, r))                                 \
  X(silu, 0, true, silu_slope(u, r))                                       \
  X(softplus, 2, true, softplus_slope(u, r, T(a), T(b)))                   \
  X(sqrt, 0, false, sqrt_slope(u, r))                                      \
  X(tanh, 0, true, tanh_slope(u, r))

namespace lvlm_va {

struct Activation {
  const char* name;
  double a, b, c;
};

// One function object per activation, named as it is: slope_of::relu{a, b, c}(u, r).
namespace slope_of {
#define LVLM_VA_DEFINE(NAME, N_PARAMETERS, IS_ELEMENTARY, SLOPE)     \
  struct NAME {                                                      \
    static constexpr bool is_elementary = IS_ELEMENTARY;             \
    double a, b, c;                                                  \
    template <typename T>                                            \
    LVLM_VA_HOST_DEVICE_INLINE T operator()(T u, T r) const {        \
      return SLOPE;                                                  \
    }                                                                \
  };
LVLM_VA_ACTIVATIONS(LVLM_VA_DEFINE)
#undef LVLM_VA_DEFINE
}  // namespace slope_of

// How many parameters the activation takes, -1 where there is none of that name.
inline int n_parameters(const char* name) {
#define LVLM_VA_COUNT(NAME, N_PARAMETERS, IS_ELEMENTARY, SLOPE) \
  if (std::strcmp(name, #NAME) == 0) return N_PARAMETERS;
  LVLM_VA_ACTIVATIONS(LVLM_VA_COUNT)
#undef LVLM_VA_COUNT
  return -1;
}

// Calls function(slope) with the function object of a known activation: the choice is made here, once, and
// the loop inside has the slope inlined.
template <typename Function>
void with_slope(const Activation& activation, const Function& function) {
#define LVLM_VA_CALL(NAME, N_PARAMETERS, IS_ELEMENTARY, SLOPE) \
  if (std::strcmp(activation.name, #NAME) == 0)                \
    return function(slope_of::NAME{activation.a, activation.b, activation.c});
  LVLM_VA_ACTIVATIONS(LVLM_VA_CALL)
#undef LVLM_VA_CALL
}

}  // namespace lvlm_va
