// exp and log in plain arithmetic, so that the compiler turns a loop of them into vector instructions, which
// it cannot do with those of the C library. Within 2 units in the last place, on the ranges that EM needs.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__GNUC__)
#define LVLM_VA_INLINE inline __attribute__((always_inline))
#else
#define LVLM_VA_INLINE inline
#endif

namespace lvlm_va {

LVLM_VA_INLINE int64_t bits_of(double x) {
  int64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

LVLM_VA_INLINE double from_bits(int64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Added to a double of moderate size, this leaves the nearest integer in the low bits of the sum.
constexpr double kRounder = 0x1.8p52;
constexpr double kLn2High = 0x1.62e42fefa38p-1;
constexpr double kLn2Low = 0x1.ef35793c7673p-45;

// exp(x) for x <= 0, -infinity included; no smaller than exp(-708), about 3e-308.
LVLM_VA_INLINE double exp_of_nonpositive(double x) {
  constexpr double kLog2E = 0x1.71547652b82fep0;
  x = x > -708.0 ? x : -708.0;
  const double rounded = x * kLog2E + kRounder;
  const double k = rounded - kRounder;
  const double r = (x - k * kLn2High) - k * kLn2Low;
  // Taylor's series: on |r| <= ln(2) / 2 the first term left out is below 5e-18.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // Multiply by 2^k: the low bits of `rounded` move into the exponent.
  return from_bits(
      static_cast<int64_t>(
          static_cast<uint64_t>(bits_of(p)) + (static_cast<uint64_t>(bits_of(rounded)) << 52)));
}

// log(x) for finite x >= 1.
LVLM_VA_INLINE double log_of_at_least_one(double x) {
  // x = 2^k m with m in [sqrt(1/2), sqrt(2)).
  constexpr int64_t kSqrtHalf = 0x3fe6a09e667f3bcd;
  const uint64_t shifted = static_cast<uint64_t>(bits_of(x) - kSqrtHalf);
  // The exponent k >= 0, as a double, by the rounder's low bits.
  const double k = from_bits(static_cast<int64_t>((shifted >> 52) | 0x4330000000000000)) - 0x1p52;
  const double m = from_bits(static_cast<int64_t>((shifted & 0x000fffffffffffff) + kSqrtHalf));
  // log(m) = 2 atanh(s) = 2 (s + s^3 / 3 + ...): with |s| <= 0.172 the first term left out is below 1e-18.
  const double s = (m - 1.0) / (m + 1.0);
  const double q = s * s;
  double p = 1.0 / 23.0;
  p = p * q + 1.0 / 21.0;
  p = p * q + 1.0 / 19.0;
  p = p * q + 1.0 / 17.0;
  p = p * q + 1.0 / 15.0;
  p = p * q + 1.0 / 13.0;
  p = p * q + 1.0 / 11.0;
  p = p * q + 1.0 / 9.0;
  p = p * q + 1.0 / 7.0;
  p = p * q + 1.0 / 5.0;
  p = p * q + 1.0 / 3.0;
  p = p * q;
  return k * kLn2High + (2.0 * s + (2.0 * s * p + k * kLn2Low));
}

}  // namespace lvlm_va
