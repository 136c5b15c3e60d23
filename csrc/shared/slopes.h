// Slopes (f(u) - f(r)) / (u - r) of the activations f, the same on CPU and GPU.
//
// Where the plain quotient of rounded values would lose its digits near u = r, an algebraic identity takes
// its place; at u = r it is the derivative. A NaN among u and r comes out, through u - r.
#pragma once

#include "elementary.h"

namespace lvlm_va {

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T larger(T a, T b) {
  return a > b ? a : b;
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T smaller(T a, T b) {
  return a < b ? a : b;
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T quotient(T rise, T run, T at_zero) {
  return run == T(0) ? at_zero : rise / run;
}

// The multiplier of the input: where the output has none, or the input does not change along an infinite slope, 0.
template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T carried(T multiplier, T slope, T u, T r) {
  const bool is_finite = slope - slope == T(0);
  const bool counts = multiplier != T(0) && (u != r || is_finite);
  return counts ? slope * multiplier : T(0);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T relu_slope(T u, T r) {
  return quotient(larger(u, T(0)) - larger(r, T(0)), u - r, u > T(0) ? T(1) : T(0));
}

// Where both ends lie inside, rise and run are the same numbers: nothing is lost to rounding.
template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T hardtanh_slope(T u, T r, T low, T high) {
  const T rise = smaller(larger(u, low), high) - smaller(larger(r, low), high);
  return quotient(rise, u - r, u > low && u <= high ? T(1) : T(0));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T hardswish_slope(T u, T r) {
  // x relu6(x + 3) / 6 by the symmetric product rule
  const T gates = smaller(larger(u + T(3), T(0)), T(6)) + smaller(larger(r + T(3), T(0)), T(6));
  return ((u + r) * hardtanh_slope(u, r, T(-3), T(3)) + gates) / T(12);
}

// (1 - exp(-gap)) / gap for gap >= 0: the slope of exp relative to its larger end.
template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T decay(T gap) {
  return quotient(-expm1_of_nonpositive(-gap), gap, T(1));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T exp_slope(T u, T r) {
  return exp_of_any(larger(u, r)) * decay(std::fabs(u - r));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T elu_slope(T u, T r, T alpha, T scale, T input_scale) {
  const T positive = relu_slope(u, r);
  const T below = exp_slope(smaller(u, T(0)) * input_scale, smaller(r, T(0)) * input_scale);
  return scale * (positive + (T(1) - positive) * alpha * input_scale * below);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T sigmoid(T x) {
  const T power = exp_of_nonpositive(-std::fabs(x));
  return (x < T(0) ? power : T(1)) / (T(1) + power);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T sigmoid_slope(T u, T r) {
  // s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)) for a >= b
  return sigmoid(larger(u, r)) * sigmoid(-smaller(u, r)) * decay(std::fabs(u - r));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T tanh_of(T x) {
  const T rest = expm1_of_nonpositive(T(-2) * std::fabs(x));
  return std::copysign(-rest / (T(2) + rest), x);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T tanh_slope(T u, T r) {
  return T(4) * sigmoid_slope(T(2) * u, T(2) * r);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T silu_slope(T u, T r) {
  return T(0.5) * ((u + r) * sigmoid_slope(u, r) + sigmoid(u) + sigmoid(r));
}

// Where two ends are so near that the derivative between them is nearer to the slope than the quotient: this
// errs by eps / |u - r|, the other by (u - r)^2 f''' / 24, and they meet where |u - r| = (24 eps)^(1/3).
template <typename T>
LVLM_VA_HOST_DEVICE_INLINE bool is_near(T run) {
  return std::fabs(run) < (sizeof(T) == sizeof(float) ? T(1.4197e-2) : T(1.7467e-5));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T softplus(T x, T beta, T threshold) {
  const T scaled = x * beta;
  const T soft = larger(scaled, T(0)) + log1p_of_nonnegative(exp_of_nonpositive(-std::fabs(scaled)));
  return scaled > threshold ? x : soft / beta;
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T softplus_slope(T u, T r, T beta, T threshold) {
  const T middle = T(0.5) * (u + r) * beta;
  const T derivative = middle > threshold ? T(1) : sigmoid(middle);
  const T far = (softplus(u, beta, threshold) - softplus(r, beta, threshold)) / (u - r);
  return is_near(u - r) ? derivative : far;
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T mish_slope(T u, T r) {
  const T soft_u = softplus(u, T(1), T(20)), soft_r = softplus(r, T(1), T(20));
  const T gate = tanh_slope(soft_u, soft_r) * softplus_slope(u, r, T(1), T(20));
  return T(0.5) * ((u + r) * gate + tanh_of(soft_u) + tanh_of(soft_r));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T erf_slope(T u, T r) {
  constexpr T kTwoOverRootPi = T(1.1283791670955125739);
  const T middle = T(0.5) * (u + r);
  const T derivative = kTwoOverRootPi * exp_of_nonpositive(-middle * middle);
  return is_near(u - r) ? derivative : (error_function(u) - error_function(r)) / (u - r);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T gelu_slope(T u, T r) {
  // x Phi(x) by the symmetric product rule, Phi(x) = (1 + erf(x / sqrt 2)) / 2
  constexpr T kRootHalf = T(0.70710678118654752440);
  const T a = u * kRootHalf, b = r * kRootHalf;
  const T gates = T(0.5) * (error_function(a) + error_function(b));
  return T(0.5) * ((a + b) * T(0.5) * erf_slope(a, b) + T(1) + gates);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T gelu_tanh_slope(T u, T r) {
  // 0.5 x (1 + tanh(k (x + c x^3))) by the symmetric product rule
  constexpr T k = T(0.79788456080286535588), c = T(0.044715);
  const T a = k * (u + c * u * u * u), b = k * (r + c * r * r * r);
  const T inner = k * (T(1) + c * (u * u + u * r + r * r));
  const T gates = T(0.5) * (tanh_of(a) + tanh_of(b));
  return T(0.5) * (T(0.5) * (u + r) * tanh_slope(a, b) * inner + T(1) + gates);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T log_slope(T u, T r) {
  const T lower = smaller(u, r);
  const T gap = std::fabs(u - r);
  const T slope = gap == T(0) || lower == T(0) ? T(1) / lower : log1p_of_nonnegative(gap / lower) / gap;
  // The vector log1p gives numbers below 0, where log has none.
  return lower >= T(0) ? slope : T(NAN);
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T sqrt_slope(T u, T r) {
  return T(1) / (std::sqrt(u) + std::sqrt(r));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T rsqrt_slope(T u, T r) {
  const T a = std::sqrt(u), b = std::sqrt(r);
  return T(-1) / (a * b * (a + b));
}

template <typename T>
LVLM_VA_HOST_DEVICE_INLINE T reciprocal_slope(T u, T r) {
  return T(-1) / (u * r);
}

}  // namespace lvlm_va
